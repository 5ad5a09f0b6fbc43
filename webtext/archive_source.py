"""Fetches from an archive: the raw-replay form of the Wayback Machine, pywb and our own gateway.

Of an archive's answer only what the archived site said is kept (its `X-Archive-Orig-…` fields), so
that what is stored does not depend on the address of the archive or the time of asking.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from webtext.content_coding import BodyError, decode_body
from webtext.crawl_config import CrawlConfig
from webtext.crawl_urls import archive_form
from webtext.fetch import (
    REDIRECTS,
    RETRIED_STATUSES,
    Fetched,
    FetchError,
    Wants,
    exchange,
    open_session,
    parse_retry_after,
)
from webtext.turnstile import Turnstile
from webtext.warc import HeaderPairs, date_of, first_header, pad_timestamp

_ORIGINAL = "x-archive-orig-"
_MAX_GATEWAY_HOPS = 5
"""An archive sends on to the exact time of a capture; more than this is a loop."""
_ORIGINAL = "x-archive-orig-"
_GATEWAY_FIELDS = frozenset(
    {
        "connection",
        "content-location",
        "date",
        "keep-alive",
        "link",
        "memento-datetime",
        "server",
        "transfer-encoding",
        "vary",
        "via",
        "x-gateway-error",
    }
)
"""Fields that are the gateway's own where it does not mark the archived ones."""


class GatewaySource:
    """Fetches archived responses from a Wayback- or pywb-like replay address."""

    name = "gateway"
    retried_statuses: frozenset[int] = frozenset()

    def __init__(
        self, config: CrawlConfig, gateway: str, *, concurrency: int, host_delay_s: float
    ) -> None:
        self._config = config
        self._gateway = gateway.rstrip("/")
        parts = urlsplit(self._gateway)
        # A user and password in the address are for asking; what is sent back does not repeat them.
        public = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._prefix = re.compile(
            rf"(?:{re.escape(public)}|{re.escape(parts.path)})/([0-9]{{1,14}})(?:id_|)/(.+)",
            re.DOTALL,
        )
        self._turns = Turnstile(host_delay_s, concurrency)
        # Requests go to the configured address alone: it needs no guard, and may be private.
        self._session = open_session(config, concurrency, None)

    async def fetch(
        self, url: str, timestamp: int, wants: Wants, cut_at: int | None = None
    ) -> Fetched:
        """The archived response nearest to `timestamp`; `not_archived` where there is none."""
        for _ in range(_MAX_GATEWAY_HOPS):
            answer = await self._ask(url, timestamp, wants, cut_at)
            if _is_archived(answer.headers):
                return self._rebuild(answer, url, timestamp)
            onward = self._onward(answer, url)
            if onward is None:
                raise _gateway_error(answer)
            url, timestamp = onward
        raise FetchError("bad_response", "the archive sends on in a circle")

    def hold(self, _url: str, seconds: float) -> None:
        """See `Source.hold`; the host is the gateway."""
        self._turns.hold(seconds)

    def slow_down(self, _url: str, _seconds: float) -> None:
        """An archived site's wish for a delay does not concern the archive."""

    async def close(self) -> None:
        """See `Source.close`."""
        await self._session.close()

    async def _ask(self, url: str, timestamp: int, wants: Wants, cut_at: int | None) -> Fetched:
        address = f"{self._gateway}/{timestamp:014d}id_/{url}"
        async with self._turns.turn():
            return await exchange(
                self._session,
                address,
                self._config,
                lambda status, headers: wants(status, self._original(headers)),
                cut_at,
            )

    def _original(self, headers: HeaderPairs) -> HeaderPairs:
        """The fields of the archived site."""
        marked = tuple(
            (name[len(_ORIGINAL) :], value)
            for name, value in headers
            if name.lower().startswith(_ORIGINAL)
        )
        if marked:
            if first_header(marked, "location") is None:
                marked += self._location(headers)
            return marked
        own = tuple(
            (name, value)
            for name, value in headers
            if name.lower() not in _GATEWAY_FIELDS and name.lower() != "location"
        )
        return own + self._location(headers)

    def _location(self, headers: HeaderPairs) -> HeaderPairs:
        """The `Location` field without the gateway's prefix, if there is one."""
        location = first_header(headers, "location")
        if location is None:
            return ()
        match = self._prefix.fullmatch(location)
        return (("Location", match[2] if match else location),)

    def _rebuild(self, answer: Fetched, url: str, timestamp: int) -> Fetched:
        headers = self._original(answer.headers)
        body = answer.body
        sent, archived = (
            answer.header("content-encoding"),
            first_header(headers, "content-encoding"),
        )
        if sent is not None and archived is None:  # the gateway compressed for the transfer
            body = _decode(body, sent, self._config.max_body_bytes)
        elif sent is None and archived is not None:  # the gateway decompressed
            headers = tuple(
                (f"X-Crawler-{n}" if n.lower() == "content-encoding" else n, v) for n, v in headers
            )
        return Fetched(
            url=url,
            status=answer.status,
            reason=answer.reason,
            headers=headers,
            body=body,
            truncated=answer.truncated,
            captured_at=_memento_date(answer, timestamp),
        )

    def _onward(self, answer: Fetched, url: str) -> tuple[str, int] | None:
        """Where the archive itself sends on to: the same page at the time of its capture."""
        location = answer.header("location")
        if answer.status not in REDIRECTS or location is None:
            return None
        match = self._prefix.fullmatch(urljoin(answer.url, location))
        if match is None or archive_form(match[2]) != archive_form(url):
            return None
        return match[2], pad_timestamp(match[1])


def _is_archived(headers: HeaderPairs) -> bool:
    return any(
        name.lower() == "memento-datetime" or name.lower().startswith(_ORIGINAL)
        for name, _ in headers
    )


def _gateway_error(answer: Fetched) -> FetchError:
    """What an answer means that is the gateway's own and not an archived one."""
    detail = f"the archive answered {answer.status}"
    if answer.status == 404:
        return FetchError("not_archived", "no capture in the archive")
    if answer.status in RETRIED_STATUSES:
        wait = parse_retry_after(answer.headers, answer.captured_at)
        return FetchError("unreachable", detail, transient=True, retry_after_s=wait)
    return FetchError("bad_response", detail)


def _memento_date(answer: Fetched, timestamp: int) -> datetime:
    """When the archive captured the page; the time asked for where it does not say."""
    try:
        return parsedate_to_datetime(answer.header("memento-datetime") or "").astimezone(UTC)
    except ValueError:
        return date_of(timestamp)


def _decode(body: bytes, coding: str, max_bytes: int) -> bytes:
    try:
        return decode_body(body, coding, max_bytes=max_bytes)
    except BodyError as error:
        raise FetchError("too_large" if error.too_large else "bad_response", str(error)) from error
