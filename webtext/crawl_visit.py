"""What becomes of one link: robots, redirects, retries, and the verdict on the response.

`Visitor.visit` talks to the network and never fails on a page: every end has a named outcome.
`write_visit` turns the result into WARC records and a journal entry; it is pure computation, fit
for a thread.
"""

import asyncio
import time
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec

from webtext.addresses import NO_EXEMPTIONS, BlockedAddressError, Exempt, refuse_host
from webtext.content_coding import BodyError, decode_body
from webtext.crawl_config import CrawlConfig
from webtext.crawl_urls import clean_url, host_of, join_url, port_of
from webtext.errors import SourceError
from webtext.fetch import (
    REDIRECTS,
    Fetched,
    FetchError,
    LiveSource,
    Source,
    Wants,
    parse_retry_after,
)
from webtext.optout import header_opt_out, meta_opt_out
from webtext.robots import MAX_ROBOTS_BYTES, RobotsCache
from webtext.tdmrep import TdmrepCache
from webtext.warc import (
    HeaderPairs,
    Member,
    clean_value,
    first_header,
    metadata_member,
    response_member,
    timestamp_of,
)
from webtext.wikimedia import is_wikipedia

OPTED_OUT = "opted_out"
"""The outcome of a page that its site wants left out."""

_MAX_DETAIL_CHARACTERS = 200
_PATIENCE_S = 2.0
"""Longest wait for a retry that is sat out; for a longer one the link is put back."""


class Postponed(Exception):  # noqa: N818
    """The link's host wants to be left alone for a while; the link is to be visited again.

    `attempts` were made to fetch the page; None where none was due in this visit.
    """

    def __init__(self, attempts: int | None) -> None:
        super().__init__(attempts)
        self.attempts = attempts


@dataclass(slots=True, kw_only=True)
class Visit:
    """Where following one link led, brought up to date on the way."""

    row: int
    """The link's row in its table."""
    source: str
    """What was asked: `live`, `gateway`, `warc` or `cdx`."""
    link_id: bytes
    outcome: str
    """`ok` where a response was had that may be a page; `write_visit` judges its body."""
    detail: str | None
    url: str
    """The last address asked for."""
    hops: tuple[Fetched, ...]
    """The redirects followed, in order."""
    final: Fetched | None
    """The response at the end, if there was one."""
    reserved: bool = False
    """Whether the site's tdmrep.json reserves the page."""


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of the journal: the link's row of the captures table, and where its records lie."""

    row: int
    outcome: str
    source: str
    """What was asked: `live`, `gateway`, `warc` or `cdx`."""
    url: str
    redirects: int = 0
    detail: str | None = None
    status: int | None = None
    content_type: str | None = None
    digest: str | None = None
    payload_bytes: int | None = None
    captured_at: int | None = None
    """Seconds since 1970."""
    offset: int = 0
    """First byte of the link's records in the scratch WARC file."""
    length: int = 0
    """Bytes of all its records."""
    record_start: int = 0
    """First byte of the final response's record, counted from `offset`."""
    record_length: int = 0
    crc: int = 0
    """CRC-32 of those `length` bytes."""


class Visitor:
    """Follows links by one config from one source."""

    def __init__(self, config: CrawlConfig, source: Source, exempt: Exempt = NO_EXEMPTIONS) -> None:
        self._config = config
        self._source = source
        self._exempt = exempt
        self._is_live = source.name == "live"
        self._refuse_site = lru_cache(maxsize=65_536)(self._refuse_site_uncached)
        self._robots = RobotsCache(self._fetch_robots, config.robots_name)
        self._tdmrep = TdmrepCache(self._fetch_tdmrep)
        self._file_attempts: dict[str, int] = {}
        """How often a site's robots.txt or tdmrep.json was asked for before it was put off."""

    async def visit(
        self, row: int, link_id: bytes, url: str, timestamp: int, *, postponed: int | None = None
    ) -> Visit:
        """Follow one link to its end; if it was put off, after `postponed` attempts at its page.

        Raises `Postponed` where its host asks for more than a moment, `SourceError` where the
        gateway itself is gone.
        """
        visit = Visit(
            row=row,
            source=self._source.name,
            link_id=link_id,
            outcome="ok",
            detail=None,
            url=url,
            hops=(),
            final=None,
        )
        try:
            visit.url = clean_url(url)
            return await self._follow(visit, timestamp, postponed)
        except ValueError as error:
            return _ended(visit, "bad_response", str(error))

    async def _follow(self, visit: Visit, timestamp: int, postponed: int | None) -> Visit:
        while True:
            refusal = await self._refusal(visit.url, timestamp)
            if refusal is not None:
                return _ended(visit, *refusal)
            if not visit.hops and postponed is None:
                await self._step_aside(visit.url, timestamp)
            try:
                response = await self._fetch(
                    visit.url, timestamp, self._wants_page, attempts=postponed or 0
                )
            except FetchError as error:
                return _ended(visit, error.outcome, error.detail)
            location = response.header("location")
            if response.status not in REDIRECTS or location is None:
                visit.final = response
                await self._note_reservation(visit, timestamp)
                return visit
            visit.hops = (*visit.hops, response)
            if len(visit.hops) > self._config.max_redirects:
                return _ended(visit, "too_many_redirects", f"more than {len(visit.hops) - 1}")
            try:
                visit.url = join_url(visit.url, location)
            except ValueError as error:
                return _ended(visit, "bad_response", f"redirect to an {error}")

    async def _step_aside(self, url: str, timestamp: int) -> None:
        """Put a link off once rather than sit out a delay that its host's files have caused.

        The last of these files is asked for here, so that no wait for it comes after the page.
        """
        if not isinstance(self._source, LiveSource):
            return
        if self._config.obey_tdmrep:
            await self._tdmrep.reservations(url, timestamp)
        if self._source.free_at(host_of(url)) - time.time() > _PATIENCE_S:
            raise Postponed(None)

    async def _refusal(self, url: str, timestamp: int) -> tuple[str, str] | None:
        """Outcome and detail where `url` must not be fetched."""
        refusal = self._refuse_address(url)
        if refusal is not None or not self._config.obey_robots:
            return refusal
        rules = await self._robots.rules(url, timestamp)
        name = self._config.robots_name
        delay_s = min(rules.crawl_delay_s(name), self._config.max_crawl_delay_s)
        if delay_s > 0:
            self._source.slow_down(url, delay_s)
        return rules.refuses(url, name)

    async def _note_reservation(self, visit: Visit, timestamp: int) -> None:
        """Mark the page where the site's tdmrep.json reserves it."""
        assert visit.final is not None
        if not self._config.obey_tdmrep or not self._wants_page(
            visit.final.status, visit.final.headers
        ):
            return
        while True:
            try:
                rules = await self._tdmrep.reservations(visit.url, timestamp)
            except Postponed:  # sat out by the next attempt, for the page would be lost
                continue
            visit.reserved = rules.reserves(visit.url)
            return

    async def _fetch_tdmrep(self, url: str, timestamp: int) -> Fetched:
        refusal = await self._refusal(url, timestamp)
        if refusal is not None:
            raise FetchError(*refusal)
        return await self._fetch_file(url, timestamp)

    def _refuse_address(self, url: str) -> tuple[str, str] | None:
        return self._refuse_site(host_of(url), port_of(url))

    def _refuse_site_uncached(self, host: str, port: int) -> tuple[str, str] | None:
        if is_wikipedia(host, all_projects=self._config.strip_wikimedia):
            return "wikipedia_redirect", host
        try:
            refuse_host(host, port, self._exempt)
        except BlockedAddressError as error:
            return "blocked_address", str(error)
        return None

    async def _fetch_robots(self, url: str, timestamp: int) -> Fetched:
        refusal = self._refuse_address(url)
        if refusal is not None:
            raise FetchError(*refusal)
        return await self._fetch_file(url, timestamp)

    async def _fetch_file(self, url: str, timestamp: int) -> Fetched:
        """A file about the site. A long wait for it puts the link off, without counting for it."""
        attempts = self._file_attempts.pop(url, 0)
        try:
            return await self._fetch(
                url, timestamp, _wants_success, cut_at=4 * MAX_ROBOTS_BYTES, attempts=attempts
            )
        except Postponed as error:
            self._file_attempts[url] = error.attempts or 0
            raise Postponed(None) from error

    async def _fetch(
        self,
        url: str,
        timestamp: int,
        wants: Wants,
        cut_at: int | None = None,
        *,
        attempts: int,
    ) -> Fetched:
        """One response, after retries where they may help; `attempts` were made before.

        Raises `Postponed` where a live host asks for more than a moment before the next.
        """
        config, source = self._config, self._source
        for attempt in range(attempts, config.retries + 1):
            last = attempt == config.retries
            try:
                response = await source.fetch(url, timestamp, wants, cut_at)
            except FetchError as error:
                if last and error.refused and not self._is_live:
                    raise SourceError(
                        f"the gateway does not answer ({error.detail}); is it running?"
                    ) from error
                if last or not error.transient:
                    raise
                wait_s = error.retry_after_s
            else:
                if last or response.status not in source.retried_statuses:
                    return response
                wait_s = parse_retry_after(response.headers, response.captured_at)
            wait_s = max(wait_s, config.retry_delay_s * 2**attempt)
            wait_s = min(wait_s, config.max_retry_after_s)
            source.hold(url, wait_s)
            if wait_s > _PATIENCE_S and self._is_live:
                raise Postponed(attempt + 1)
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _wants_page(self, status: int, headers: HeaderPairs) -> bool:
        if not 200 <= status < 300:
            return False
        media_type = media_type_of(first_header(headers, "content-type"))
        return media_type is None or media_type in self._config.content_types


def write_visit(visit: Visit, config: CrawlConfig) -> tuple[Entry, bytes]:
    """The journal entry of a visit and its WARC records, one gzip member each, in order.

    Of a page that its site wants left out, the body is not kept.
    """
    entry = _judge(visit, config)
    if entry.outcome == OPTED_OUT and visit.final is not None:
        visit = replace(visit, final=replace(visit.final, body=b"", truncated=True))
        entry.payload_bytes = 0
    members = [_write_response(visit, number, config) for number in range(len(visit.hops))]
    records = b"".join(member.compressed for member in members)
    if visit.final is not None:
        final = _write_response(visit, len(visit.hops), config)
        about = _write_metadata(visit, entry, final, config)
        entry.record_start, entry.record_length = len(records), len(final.compressed)
        entry.digest = final.payload_digest
        records = b"".join((records, final.compressed, about.compressed))
    entry.length, entry.crc = len(records), zlib.crc32(records)
    return entry, records


def media_type_of(content_type: str | None) -> str | None:
    """`text/html` of `Text/HTML; charset=x`; None where there is no such field or it is empty."""
    return clean_value((content_type or "").partition(";")[0]).lower()[:100] or None


def _ended(visit: Visit, outcome: str, detail: str) -> Visit:
    visit.outcome, visit.detail, visit.final = outcome, detail, None
    return visit


def _wants_success(status: int, _headers: HeaderPairs) -> bool:
    return 200 <= status < 300


def _judge(visit: Visit, config: CrawlConfig) -> Entry:
    """The entry of a visit, its outcome decided by the response; nothing about records yet."""
    last = visit.final or (visit.hops[-1] if visit.hops else None)
    outcome, detail, media_type = visit.outcome, visit.detail, None
    if visit.final is not None:
        media_type = media_type_of(visit.final.header("content-type"))
        outcome, detail = _judge_response(visit, visit.final, media_type, config)
    return Entry(
        row=visit.row,
        outcome=outcome,
        source=visit.source,
        detail=clean_value(detail)[:_MAX_DETAIL_CHARACTERS] if detail else None,
        url=visit.url,
        redirects=min(len(visit.hops), config.max_redirects),
        status=last.status if last else None,
        content_type=media_type,
        payload_bytes=len(visit.final.body) if visit.final else None,
        captured_at=int(last.captured_at.timestamp()) if last else None,
    )


def _judge_response(
    visit: Visit, response: Fetched, media_type: str | None, config: CrawlConfig
) -> tuple[str, str | None]:
    status = response.status
    if status in {404, 410}:
        return "not_found", str(status)
    if not 200 <= status < 300:
        return "http_error", clean_value(f"{status} {response.reason}")
    if media_type is not None and media_type not in config.content_types:
        return "wrong_content_type", media_type
    try:
        page = decode_body(
            response.body,
            response.header("content-encoding"),
            max_bytes=config.max_body_bytes,
            max_ratio=config.max_compression_ratio,
        )
    except BodyError as error:
        return ("too_large" if error.too_large else "bad_response"), str(error)
    if not page or page.isspace():
        return "empty", None
    if media_type is None and not page[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "wrong_content_type", "none named, and it does not begin with <"
    signal = _find_opt_out(visit, response, page, config)
    return (OPTED_OUT, signal) if signal else ("ok", None)


def _find_opt_out(visit: Visit, response: Fetched, page: bytes, config: CrawlConfig) -> str | None:
    """The signal by which the site wants a page left out."""
    robot, tags, tdm = config.robots_name, config.opt_out_tags, config.obey_tdmrep
    if visit.reserved:
        return "tdmrep.json"
    return header_opt_out(response.headers, robot, tags, tdm=tdm) or meta_opt_out(
        page, robot, tags, tdm=tdm
    )


def _write_response(visit: Visit, number: int, config: CrawlConfig) -> Member:
    """Record the redirect `number`, or the final response after the last of them."""
    response = visit.hops[number] if number < len(visit.hops) else visit.final
    assert response is not None
    return response_member(
        url=response.url,
        date=response.captured_at,
        status=response.status,
        reason=response.reason,
        headers=response.headers,
        payload=response.body,
        identity=visit.link_id + bytes([number]),
        truncated=response.truncated,
        gzip_level=config.gzip_level,
    )


def _write_metadata(visit: Visit, entry: Entry, final: Member, config: CrawlConfig) -> Member:
    """What the response is to the crawl: so that a WARC file alone tells which link led to it."""
    assert visit.final is not None
    first = visit.hops[0] if visit.hops else visit.final
    return metadata_member(
        url=visit.url,
        date=visit.final.captured_at,
        concurrent_to=final.record_id,
        fields=[
            ("link-id", visit.link_id.hex()),
            ("outcome", entry.outcome),
            ("source", entry.source),
            *([("via", first.url)] if visit.hops else []),
            *(("hop", f"{timestamp_of(hop.captured_at)} {hop.url}") for hop in visit.hops),
        ],
        gzip_level=config.gzip_level,
    )
