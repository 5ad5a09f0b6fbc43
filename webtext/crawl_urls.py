"""URLs as the crawl needs them: fit to be sent, and a key under which an archive finds a page.

A redirect's target is whatever a stranger's server wrote; `clean_url` makes a request line of it
or refuses. Nothing is removed from it beyond fragment and credentials: the address must stay the
one that the server named.
"""

import hashlib
import re
from functools import lru_cache
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MAX_URL_CHARACTERS = 4096
"""Longest address that is fetched; servers commonly refuse request lines above 8 KB."""

_PATH_SAFE = "%/:=&~+!$,;'@()*[]|"
_QUERY_SAFE = _PATH_SAFE + "?"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CLEAN = re.compile(
    # Possessive throughout: time is linear in whatever a stranger wrote.
    r"https?://[a-z0-9_-]++(?:\.[a-z0-9_-]++)*+(?::(?!80/|443/)[1-9][0-9]{0,3})?"
    r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]++|%[0-9A-F]{2})*+"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-F]{2})++)?"
)
"""Addresses that cleaning leaves as they are: a plain host, no default port, nothing to quote."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def clean_url(url: str) -> str:
    """`url` in ASCII, without fragment and credentials, its host in lower case and punycode.

    Raises `ValueError`, with a reason fit for a table, where it is no http or https address.
    """
    if len(url) <= MAX_URL_CHARACTERS and _CLEAN.fullmatch(url):
        return url  # as nearly all links are, being normalised already
    return _clean_any(url)


def _clean_any(url: str) -> str:
    # Browsers drop tabs and line ends inside an address and blanks around it (WHATWG URL, 4.4).
    url = re.sub(r"[\t\r\n]", "", url).strip("\x00\x20\x0b\x0c\x1f")
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"address of {len(url)} characters")
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"address with scheme {parts.scheme[:20]!r}")
    cleaned = f"{parts.scheme}://{_netloc(parts)}{_quote(parts.path, _PATH_SAFE) or '/'}"
    if parts.query:
        cleaned += f"?{_quote(parts.query, _QUERY_SAFE)}"
    if len(cleaned) > 3 * MAX_URL_CHARACTERS:
        raise ValueError(f"address of {len(cleaned)} characters")
    return cleaned


def join_url(base: str, target: str) -> str:
    """The cleaned address that `target` means on the page `base`; `ValueError` as `clean_url`."""
    return clean_url(urljoin(base, target.strip()))


def host_of(url: str) -> str:
    """The host of a cleaned address, lower case, without port and brackets."""
    return _site_of(origin_of(url))[0]


def port_of(url: str) -> int:
    """The port of a cleaned address, its scheme's own where it names none."""
    return _site_of(origin_of(url))[1]


def origin_of(url: str) -> str:
    """Scheme, host and port of a cleaned address: what a robots.txt rules over."""
    return url[: url.index("/", url.index("//") + 2)]


@lru_cache(maxsize=65_536)
def _site_of(origin: str) -> tuple[str, int]:
    """Host and port, read once for all pages of a site."""
    parts = urlsplit(origin)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def archive_key(url: str) -> int:
    """A 64-bit key that is equal for the forms of an address that archives hold to be one.

    Equal: http and https, any case of the host, a trailing dot, a default port, any fragment, an
    empty path and `/`, and escapes of characters that need none. An address that is no URL has a
    key as well: that of its text.
    """
    return int.from_bytes(hashlib.blake2b(archive_form(url).encode(), digest_size=8).digest())


def archive_form(url: str) -> str:
    """The text that `archive_key` hashes."""
    try:
        cleaned = clean_url(url)
    except ValueError:
        return url.encode("utf-8", "replace").decode()
    return _ESCAPE.sub(_plain_escape, cleaned.partition("://")[2])


def _plain_escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _quote(text: str, safe: str) -> str:
    return quote(_STRAY_PERCENT.sub("%25", text), safe=safe)


def _netloc(parts: SplitResult) -> str:
    """Host and port; `ValueError` where there is no host, or one that no name server knows."""
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise ValueError("address without a host")
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        host = _punycode(host)
    if not re.fullmatch(r"[a-z0-9._\[\]:%-]+", host) or ".." in host:
        raise ValueError("address with an invalid host")
    port = parts.port
    return host if port in {None, _DEFAULT_PORTS[parts.scheme]} else f"{host}:{port}"


def _punycode(host: str) -> str:
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError as error:
        raise ValueError("address with an invalid host") from error
