"""Where responses come from: the site itself, or an archive that replays it.

A source answers `fetch(url, timestamp)` with one response, follows no redirect of the page, and
turns every failure into a `FetchError` that names the outcome. Limits hold here: on the header, on
the body as it arrives, on the time from first to last byte. No cookie or credential is ever sent.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from webtext.addresses import NO_EXEMPTIONS, Exempt, blocked_reason, guarded_connector
from webtext.crawl_config import CrawlConfig
from webtext.crawl_urls import host_of
from webtext.host_turns import HostTurns
from webtext.warc import HeaderPairs, first_header

REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
"""Statuses of a live site that may pass with time."""

_MAX_HEADERS = 256
_MAX_FIELD_BYTES = 16 * 1024
"""Longest field; with the number of fields this bounds what is parsed before it is measured."""
_MAX_DRAINED_BYTES = 64 * 1024
"""A body that nobody wants is read up to this size to keep the connection, else it is closed."""
_MAX_DRAIN_S = 0.5
"""And this long: what such a body does later no longer matters to the response."""
_SLOW_WINDOW_S = 10.0
"""A body must come on by `min_body_bytes_per_s` in every such stretch of time."""

_CERTIFICATE_FAULTS = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "self-signed certificate",
    19: "self-signed certificate in the chain",
    20: "unknown issuer",
    21: "unknown issuer",
    62: "certificate of another host",
    64: "certificate of another address",
}
"""OpenSSL's X509_V_ERR codes (x509_vfy.h) in our words; its own may name the host asked."""

Wants = Callable[[int, HeaderPairs], bool]
"""Whether the body is to be read, by status and fields."""


class FetchError(Exception):
    """A fetch without a response. `outcome` names it; `transient` says that a retry may help."""

    def __init__(
        self,
        outcome: str,
        detail: str,
        *,
        transient: bool = False,
        retry_after_s: float = 0.0,
        refused: bool = False,
    ) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.refused = refused
        """Whether not even a connection was had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One response: status, fields and body as the site sent them."""

    url: str
    status: int
    reason: str
    headers: HeaderPairs
    body: bytes
    """Transfer coding removed, content coding still on."""
    truncated: bool
    """Whether the body was left out because nobody wanted it."""
    captured_at: datetime

    def header(self, name: str) -> str | None:
        """The first value of a field, whatever its case."""
        return first_header(self.headers, name)


class Source(Protocol):
    """What the crawl fetches from."""

    name: str
    """What captures say of where they come from."""
    retried_statuses: frozenset[int]
    """Statuses that are worth another attempt; none where responses are archived."""

    async def fetch(
        self, url: str, timestamp: int, wants: Wants, cut_at: int | None = None, /
    ) -> Fetched:
        """One response for `url`, nearest to `timestamp` (YYYYMMDDhhmmss) where that applies.

        A body is read up to `cut_at` bytes if given; else one beyond the config's limit is a
        `too_large`.
        """
        ...

    def hold(self, url: str, seconds: float, /) -> None:
        """Leave the host of `url` alone for a while."""
        ...

    def slow_down(self, url: str, seconds: float, /) -> None:
        """Keep at least this delay between requests to the host of `url`."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class LiveSource:
    """Fetches from the sites themselves, one request at a time per host."""

    name = "live"
    retried_statuses = RETRIED_STATUSES

    def __init__(
        self,
        config: CrawlConfig,
        *,
        concurrency: int,
        host_delay_s: float,
        politeness: Path,
        exempt: Exempt = NO_EXEMPTIONS,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`politeness` is the file by which crawls of one machine spare the same hosts."""
        self._config = config
        self._hosts = HostTurns(politeness, host_delay_s)
        self._session = open_session(config, concurrency, exempt, tls, resolver)

    async def fetch(
        self, url: str, _timestamp: int, wants: Wants, cut_at: int | None = None
    ) -> Fetched:
        """The site's response; the time asked for does not matter to it."""
        async with self._hosts.turn(host_of(url)):
            return await exchange(self._session, url, self._config, wants, cut_at)

    def hold(self, url: str, seconds: float) -> None:
        """See `Source.hold`."""
        self._hosts.hold(host_of(url), seconds)

    def slow_down(self, url: str, seconds: float) -> None:
        """See `Source.slow_down`."""
        self._hosts.slow_down(host_of(url), seconds)

    def free_at(self, host: str) -> float:
        """From when on `host` may be asked, in seconds since 1970."""
        return self._hosts.free_at(host)

    async def close(self) -> None:
        """See `Source.close`."""
        await self._session.close()
        self._hosts.close()


def parse_retry_after(headers: HeaderPairs, now: datetime) -> float:
    """Seconds to wait by a `Retry-After` field (RFC 9110, 10.2.3); 0 where there is none.

    A date is compared with the server's own `Date`, so that its clock need not agree with ours;
    with `now` where it sends none.
    """
    text = (first_header(headers, "retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    until = _http_date(text)
    if until is None:
        return 0.0
    sent = _http_date(first_header(headers, "date") or "") or now
    return max(0.0, (until - sent).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def open_session(
    config: CrawlConfig,
    concurrency: int,
    exempt: Exempt | None,
    tls: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
) -> aiohttp.ClientSession:
    """A session without cookies, credentials, proxies or decompression.

    Without `exempt` any address may be reached. `tls` takes the place of `verifying_tls()`, and
    `resolver` that of the system's, whose answers are believed for ten seconds.
    """
    tls = tls or verifying_tls()
    connector = (
        aiohttp.TCPConnector(limit=concurrency, ssl=tls)
        if exempt is None
        else guarded_connector(
            exempt, limit=concurrency, resolver=resolver, use_dns_cache=resolver is None, ssl=tls
        )
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "User-Agent": config.user_agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1",
            "Accept-Encoding": "gzip, deflate",
        },
        timeout=aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=config.connect_timeout_s
        ),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        max_line_size=config.max_header_bytes,
        max_field_size=min(config.max_header_bytes, _MAX_FIELD_BYTES),
        max_headers=_MAX_HEADERS,
    )


def verifying_tls() -> ssl.SSLContext:
    """TLS 1.2 or newer, with the system's authorities, the host's name and dates checked."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def exchange(
    session: aiohttp.ClientSession,
    url: str,
    config: CrawlConfig,
    wants: Wants,
    cut_at: int | None,
    headers: dict[str, str] | None = None,
) -> Fetched:
    """One request and its response within the limits; every failure is a `FetchError`."""
    try:
        async with asyncio.timeout(config.total_timeout_s):
            request = session.get(URL(url, encoded=True), allow_redirects=False, headers=headers)
            async with request as response:
                return await _read(response, url, config, wants, cut_at)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise _explain(error) from error


async def _read(
    response: aiohttp.ClientResponse,
    url: str,
    config: CrawlConfig,
    wants: Wants,
    cut_at: int | None,
) -> Fetched:
    raw = response.raw_headers
    if sum(len(name) + len(value) + 4 for name, value in raw) > config.max_header_bytes:
        response.close()
        raise FetchError("bad_response", f"header of more than {config.max_header_bytes} bytes")
    headers = tuple((_text(name), _text(value)) for name, value in raw)
    wanted = wants(response.status, headers)
    body = b""
    if wanted:
        body = await _read_body(response, config, cut_at)
    else:
        await _leave_body(response)
    return Fetched(
        url=url,
        status=response.status,
        # The client decodes it with surrogates, which no table and no file can hold.
        reason=_text((response.reason or "").encode("utf-8", "surrogateescape")),
        headers=headers,
        body=body,
        truncated=not wanted,
        captured_at=datetime.fromtimestamp(int(time.time()), UTC),
    )


async def _leave_body(response: aiohttp.ClientResponse) -> None:
    """Be done with a body that nobody wants, whatever it is: the response stands without it."""
    length = response.content_length
    if length is None or length >= _MAX_DRAINED_BYTES:
        response.close()
        return
    try:
        async with asyncio.timeout(_MAX_DRAIN_S):
            await response.content.read()
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        response.close()


async def _read_body(
    response: aiohttp.ClientResponse, config: CrawlConfig, cut_at: int | None
) -> bytes:
    """The body within its limits on size and pace."""
    least = config.min_body_bytes_per_s
    loop = asyncio.get_running_loop()
    pace = asyncio.timeout(_SLOW_WINDOW_S)
    window_bytes = 0

    def came(size: int) -> None:
        nonlocal window_bytes
        window_bytes += size
        if window_bytes >= least * _SLOW_WINDOW_S:
            window_bytes = 0
            pace.reschedule(loop.time() + _SLOW_WINDOW_S)

    try:
        async with pace:
            return await _collect_body(response, config.max_body_bytes, cut_at, came)
    except TimeoutError as error:
        if not pace.expired():
            raise
        raise FetchError("timeout", f"body slower than {least} bytes a second") from error


async def _collect_body(
    response: aiohttp.ClientResponse,
    max_bytes: int,
    cut_at: int | None,
    came: Callable[[int], None],
) -> bytes:
    too_large = FetchError("too_large", f"body of more than {max_bytes} bytes")
    if cut_at is None and (response.content_length or 0) > max_bytes:
        response.close()
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        came(len(chunk))
        if cut_at is not None and size >= cut_at:
            response.close()
            return b"".join((*chunks, chunk))[:cut_at]
        if cut_at is None and size > max_bytes:
            response.close()
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)


def _explain(error: Exception) -> FetchError:
    """The outcome that a client's error means.

    No text of the error itself is kept: it may name the gateway's address, which must not leak
    into the tables.
    """
    blocked = blocked_reason(error)
    if blocked is not None:
        return FetchError("blocked_address", blocked)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return FetchError("timeout", "no connection in time", transient=True)
    if isinstance(error, TimeoutError):
        return FetchError("timeout", "no complete response in time", transient=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchError("unreachable", "name not resolved", transient=True, refused=True)
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return FetchError("unreachable", f"TLS failed: {_tls_fault(error)}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FetchError("unreachable", "no connection", transient=True, refused=True)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return FetchError("unreachable", "closed without an answer", transient=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return FetchError("bad_response", "body incomplete or malformed", transient=True)
    if isinstance(error, aiohttp.ClientOSError | OSError):
        return FetchError("unreachable", "connection broken", transient=True)
    return FetchError("bad_response", "malformed response")


def _tls_fault(error: BaseException) -> str:
    """What is wrong with a server's TLS, in words that name neither host nor address."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _CERTIFICATE_FAULTS.get(cause.verify_code, "certificate not valid")
    reason = getattr(cause, "reason", None)  # OpenSSL's constant, e.g. WRONG_VERSION_NUMBER
    return str(reason).lower().replace("_", " ") if reason else "handshake broken"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
