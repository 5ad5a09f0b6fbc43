"""Which network addresses a crawl may talk to: public ones, and nothing else.

Links come from strangers, so a link or redirect may name the machine's own services, its network's
or a cloud's metadata server. A name is therefore judged after resolution, by the address, and the
connection goes to the very address that was judged: the socket is made only for an address that
passes, so a second, different answer of a name server is judged as well.

    BlockedAddressError (an OSError, so that the HTTP client hands it on unchanged)

With a gateway no crawled name is resolved; `refuse_host` then judges what can be judged of the
text: addresses in any notation and names that mean this machine.
"""

import ipaddress
import re
import socket
import unicodedata
from typing import Any

from aiohttp import ClientError, TCPConnector, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Exempt = frozenset[tuple[str, int]]
"""(address, port) pairs that may be reached although they are not public."""

NO_EXEMPTIONS: Exempt = frozenset()

_BLOCKED_V4 = tuple(
    (ipaddress.IPv4Network(network), why)
    for network, why in (
        # IANA's registry of special-purpose IPv4 addresses (RFC 6890 and later), and multicast.
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),  # Azure's, public in form only
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 block from which public addresses are given out."""

_BLOCKED_V6 = tuple(
    (ipaddress.IPv6Network(network), why)
    for network, why in (
        ("2001::/23", "protocol assignments"),  # Teredo and ORCHID among them
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
    )
)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
"""The third quarter of an address that carries an IPv4 one in its last (RFC 5214, 6.1)."""

_LOCAL_NAMES = (
    *("localhost", "local", "internal", "home.arpa", "onion"),
    *("localdomain", "ip6-localhost", "ip6-loopback", "metadata", "instance-data"),
)
"""Names for this machine or network, and everything below them: RFC 6761, 6762, 8375, 7686 and
ICANN's `internal`; then what hosts files and clouds' metadata servers are called by habit."""


class BlockedAddressError(OSError):
    """An address that a crawl must not reach; the text says why."""


def why_blocked(address: Address) -> str | None:
    """Why `address` is not to be reached, in a word or two; None for a public address.

    IPv4 addresses inside IPv6 ones (mapped, NAT64, ISATAP) are judged as what they lead to. 6to4,
    Teredo, IPv4-compatible, site-local and NAT64's local-use addresses are refused whole.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return next((why for network, why in _BLOCKED_V4 if address in network), None)
    inner = address.ipv4_mapped
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return why_blocked(inner)
    if address not in _PUBLIC_V6:
        return "not a public IPv6 address"
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        why = why_blocked(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if why is not None:
            return why
    return next((why for network, why in _BLOCKED_V6 if address in network), None)


def literal_address(host: str) -> Address | None:
    """The address that `host` writes out, in any notation that a resolver takes; None for a name.

    Beside the usual forms these are decimal, octal and hexadecimal numbers, fewer than four parts
    (`127.1`), brackets, a zone (`fe80::1%eth0`) and Unicode digits.
    """
    text = _folded(host).strip("[]").partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fx.]+", text):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except OSError:
        return None


def refuse_host(host: str, port: int, exempt: Exempt = NO_EXEMPTIONS) -> None:
    """Raise `BlockedAddressError` where the text of `host` alone shows that it is not public."""
    address = literal_address(host)
    if address is not None:
        refuse_address(address, port, exempt)
        return
    name = _folded(host).rstrip(".")
    if any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES):
        raise BlockedAddressError(f"{name[:100]}: a name of the local network")


def refuse_address(address: Address, port: int, exempt: Exempt = NO_EXEMPTIONS) -> None:
    """Raise `BlockedAddressError` where `address` is neither public nor exempt."""
    why = why_blocked(address)
    if why is not None and (str(address), port) not in exempt:
        raise BlockedAddressError(f"{address}: {why}")


class GuardedResolver(AbstractResolver):
    """Resolves names and leaves out the addresses that are not public."""

    def __init__(
        self, exempt: Exempt = NO_EXEMPTIONS, inner: AbstractResolver | None = None
    ) -> None:
        self._inner = inner or ThreadedResolver()
        self._exempt = exempt

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public addresses of `host`; `BlockedAddressError` where it has others only."""
        refuse_host(host, port, self._exempt)
        found = await self._inner.resolve(host, port, family)
        allowed: list[ResolveResult] = []
        refusal: BlockedAddressError | None = None
        for result in found:
            try:
                refuse_address(_address(result["host"]), port, self._exempt)
            except BlockedAddressError as error:
                refusal = error
            else:
                allowed.append(result)
        if refusal is not None and not allowed:
            raise refusal
        return allowed

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()


def guarded_connector(
    exempt: Exempt = NO_EXEMPTIONS,
    *,
    limit: int,
    resolver: AbstractResolver | None = None,
    **settings: Any,
) -> TCPConnector:
    """A connector of at most `limit` connections that reaches public and exempt addresses only."""

    def guarded_socket(addr_info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        refuse_address(_address(sockaddr[0]), sockaddr[1], exempt)
        return socket.socket(family, kind, protocol)

    return TCPConnector(
        resolver=GuardedResolver(exempt, resolver),
        socket_factory=guarded_socket,
        limit=limit,
        **settings,
    )


def blocked_reason(error: BaseException | None) -> str | None:
    """The reason inside a client's error that an address was blocked; None for other errors."""
    seen = 0
    while error is not None and seen < 10:  # a chain of causes has no business being longer
        if isinstance(error, BlockedAddressError):
            return str(error)
        inner = getattr(error, "os_error", None) if isinstance(error, ClientError) else None
        error = inner or error.__cause__ or error.__context__
        seen += 1
    return None


def _folded(host: str) -> str:
    """Lower case, with the letters, digits and full stops that IDNA takes for ASCII ones."""
    return unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])
