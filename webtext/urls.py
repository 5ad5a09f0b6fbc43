"""One spelling for every way to write the same address, and the key that joins all tables.

`normalise_url` merges what names the same page and nothing else. It is idempotent, and does
exactly this (RFC 3986 section 6.2 unless said otherwise):

- only `http` and `https`; the scheme and the host in lower case; IDN hosts in punycode (UTS 46);
  numeric hosts (`0x7f.1`, `2130706433`) as the dotted address that browsers make of them; the
  trailing dot of the root and the default port are dropped; a backslash before the query is a
  slash (WHATWG URL, which browsers follow);
- an empty path is `/`; `.` and `..` segments are resolved; escapes are upper case, those of
  unreserved characters are undone, and characters that a URL cannot hold are escaped as UTF-8, as
  is `'` in a query (WHATWG URL);
- the fragment goes (it is never sent to a server), as do the parameters in `TRACKING_PARAMETERS`
  and those starting with `utm_`, and a `?` with nothing behind it.

It keeps what may lead elsewhere: the case of path and query, trailing slashes, `www.`, the order of
parameters, `index.html`.

`http` and `https` of an address are one link: `link_id` reads `https` as `http`. The URL itself
keeps the scheme it was posted with, so that it can be fetched; of both, links keep `https`.

A URL that cannot be used gives one of the reasons in `UrlReason` instead:

    not_http            another scheme, or none
    url_too_long        over MAX_URL_CHARACTERS, as given or as normalised
    url_credentials     a user name or password before the host
    control_character   a control character (C0, DEL, C1) or half a surrogate pair
    invalid_host        no host, or one that no resolver could know
    invalid_url         a port that is none, or no `//`
"""

import re
from functools import lru_cache
from hashlib import blake2b
from ipaddress import AddressValueError, IPv6Address
from typing import Literal, NamedTuple, get_args
from urllib.parse import unquote_to_bytes

import idna
import tldextract

MAX_URL_CHARACTERS = 2_000
"""Longer ones are no pages but payloads; browsers and proxies of 2017 ended at 2,083 or 4,096."""

TRACKING_PARAMETERS = frozenset(
    {
        "_hsenc", "_hsmi", "dclid", "fb_action_ids", "fb_action_types", "fb_ref", "fb_source",
        "fbclid", "gbraid", "gclid", "gclsrc", "igshid", "mc_cid", "mc_eid", "mkt_tok", "msclkid",
        "oly_anon_id", "oly_enc_id", "twclid", "vero_id", "wbraid", "yclid", "zanpid",
    }
)  # fmt: skip
"""Names (lower case) that mark where a visitor came from and choose no page."""

UrlReason = Literal[
    "not_http",
    "url_too_long",
    "url_credentials",
    "control_character",
    "invalid_host",
    "invalid_url",
]
"""Why a URL was refused; the module's docstring tells each."""

URL_REASONS: tuple[UrlReason, ...] = get_args(UrlReason)


class NormalisedUrl(NamedTuple):
    """A URL that may be fetched."""

    url: str
    """The one spelling; ASCII."""
    host: str
    """Its host: lower case, punycode; an IPv6 address without brackets."""
    domain: str
    """Registrable domain of `host` (public suffix list); an address is its own domain."""


_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNRESERVED = r"A-Za-z0-9._~\-"
_NOT_PATH = re.compile(rf"%([0-9A-Fa-f]{{2}})|([^{_UNRESERVED}!$&'()*+,;=:@/])")
_NOT_QUERY = re.compile(rf"%([0-9A-Fa-f]{{2}})|([^{_UNRESERVED}!$&()*+,;=:@/?])")
_IS_UNRESERVED = re.compile(f"[{_UNRESERVED}]")
_TRACKING = re.compile("|".join(["utm_", *sorted(TRACKING_PARAMETERS)]), re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_NUMBER = re.compile(r"[0-9]{1,16}|0x[0-9a-f]{0,16}")
_MAX_AUTHORITY_CHARACTERS = 512  # bounds the cache below; a host name has at most 253
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SUFFIXES = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
"""The list that comes with tldextract: no download, no cache on disk."""


class UrlParts(NamedTuple):
    """A URL cut into what names its site and the rest, as posted."""

    scheme: str
    """`http` or `https`."""
    authority: str
    """Host and port."""
    path: str
    query: str | None

    def normalised(self, origin: str) -> str | None:
        """The one spelling, with the site's normalised origin; None where it is too long."""
        url = origin + _normalise_path(self.path) + _normalise_query(self.query)
        return url if len(url) <= MAX_URL_CHARACTERS else None


def normalise_url(url: str) -> NormalisedUrl | UrlReason:
    """The one spelling of `url` with its host and domain, or the reason why it has none.

    White space around `url` is ignored. Never raises, whatever the text.
    """
    parts = split_url(url)
    if isinstance(parts, str):
        return parts
    site = read_site(parts.scheme, parts.authority)
    if isinstance(site, str):
        return site
    origin, host, domain = site
    address = parts.normalised(origin)
    return "url_too_long" if address is None else NormalisedUrl(address, host, domain)


def split_url(url: str) -> UrlParts | UrlReason:
    """Cut `url` into its parts, or tell why it cannot be used; the site is not looked at."""
    url = url.strip(" \t\r\n\f")
    if len(url) > MAX_URL_CHARACTERS:
        return "url_too_long"
    if not url.isprintable() and _CONTROL.search(url):
        return "control_character"
    parts = _PARTS.match(url)
    scheme = parts[1].lower() if parts else ""
    if parts is None or scheme not in _DEFAULT_PORTS:
        return "not_http"
    hierarchy: str = parts[2].replace("\\", "/")
    if not hierarchy.startswith("//"):
        return "invalid_url"
    authority, slash, path = hierarchy[2:].partition("/")
    if len(authority) > _MAX_AUTHORITY_CHARACTERS:
        return "invalid_host"
    return UrlParts(scheme, authority, slash + path, parts[3])


def link_id(url: str) -> bytes:
    """The 16-byte key of a normalised URL: the BLAKE2b-128 of its UTF-8, `https` read as `http`."""
    if url.startswith("https:"):
        url = "http:" + url[6:]
    return blake2b(url.encode(), digest_size=16).digest()


def link_partition(domain: str, partitions: int) -> int:
    """The partition, 0 to `partitions` - 1, that holds every link of a registrable domain."""
    return int.from_bytes(blake2b(domain.encode()).digest()[:8], "big") % partitions


def names_above(host: str) -> list[str]:
    """The host itself and every name it lies below, the longest first: a.b.c, b.c, c."""
    labels = host.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def registrable_domain(host: str) -> str:
    """The name that someone registered: `bbc.co.uk` of `news.bbc.co.uk`.

    By the ICANN part of the public suffix list, under whose default rule an unknown last label is a
    suffix too (`notes.example`). A host without one (an address, `localhost`, `co.uk`) is its own.
    """
    found = _SUFFIXES.extract_str(host)
    if found.top_domain_under_public_suffix:
        return found.top_domain_under_public_suffix
    if found.suffix or ":" in host or _ENDS_IN_NUMBER.fullmatch(host):
        return host
    return ".".join(host.split(".")[-2:])


@lru_cache(maxsize=65_536)
def read_site(scheme: str, authority: str) -> tuple[str, str, str] | UrlReason:
    """Origin (`https://host:port`), host and domain; cached, for links come from few hosts.

    `authority` is what stands between `//` and the path; a reason where it names no site.
    """
    if "@" in authority:
        return "url_credentials"
    name, port_text = _split_port(authority)
    host = _normalise_host(name)
    if host is None:
        return "invalid_host"
    port = _read_port(scheme, port_text)
    if port is None:
        return "invalid_url"
    written = f"[{host}]" if ":" in host else host
    return f"{scheme}://{written}{port}", host, registrable_domain(host)


def _split_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        name, bracket, port = authority.partition("]")
        return name + bracket, port.removeprefix(":") if port[:1] in (":", "") else "?"
    name, _, port = authority.partition(":")
    return name, port


def _read_port(scheme: str, text: str) -> str | None:
    """The port as written in an origin (`:8080`, empty for the default), or None if it is none."""
    if not text:
        return ""
    if len(text) > 8 or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    if not 0 < port < 65_536:
        return None
    return "" if port == _DEFAULT_PORTS[scheme] else f":{port}"


def _normalise_host(name: str) -> str | None:
    if name.startswith("["):
        return _normalise_ipv6(name)
    if "%" in name:
        try:
            name = unquote_to_bytes(name).decode()
        except UnicodeDecodeError:
            return None
    name = _to_ascii(name).removesuffix(".")
    if _ENDS_IN_NUMBER.fullmatch(name):
        return _normalise_ipv4(name)
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        return None
    return name


def _to_ascii(name: str) -> str:
    """Lower case and punycode; empty if the name cannot be written so."""
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return ""


def _normalise_ipv6(name: str) -> str | None:
    try:
        address = IPv6Address(name[1:-1]) if name.endswith("]") else None
    except AddressValueError:
        return None
    return None if address is None or address.scope_id else address.compressed


def _normalise_ipv4(name: str) -> str | None:
    """The dotted form of `1.2.3.4`, `0x7f.1`, `017700000001`, by the WHATWG URL standard."""
    labels = name.split(".")
    if len(labels) > 4:
        return None
    try:
        numbers = [_read_number(label) for label in labels]
    except ValueError:
        return None
    *front, last = numbers
    if any(number > 255 for number in front) or last >= 256 ** (4 - len(front)):
        return None
    address = last + sum(number << (24 - 8 * place) for place, number in enumerate(front))
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def _read_number(label: str) -> int:
    if not _NUMBER.fullmatch(label):
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") and label != "0" else 10)


def _normalise_path(path: str) -> str:
    if not path:
        return "/"
    path = _NOT_PATH.sub(_mend_escape, path)
    return _resolve_dots(path) if "/." in path else path


def _resolve_dots(path: str) -> str:
    """RFC 3986 section 5.2.4 for a path that starts with `/`."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if path.endswith(("/.", "/..")):
        segments.append("")
    return "/" + "/".join(segments)


def _normalise_query(query: str | None) -> str:
    if not query:
        return ""
    query = _NOT_QUERY.sub(_mend_escape, query)
    if _TRACKING.search(query):
        query = "&".join(field for field in query.split("&") if not _is_tracking(field))
    return "?" + query if query else ""


def _is_tracking(field: str) -> bool:
    name = field.partition("=")[0].lower()
    return name.startswith("utm_") or name in TRACKING_PARAMETERS


def _mend_escape(found: re.Match[str]) -> str:
    """An escape as it should be written, or the escape of a character that needs one."""
    digits: str | None = found[1]
    if digits is None:
        return "".join(f"%{byte:02X}" for byte in found[2].encode())
    character = chr(int(digits, 16))
    return character if _IS_UNRESERVED.match(character) else f"%{digits.upper()}"
