"""Takes responses from a web archive by its index: look up the capture, read its range of a WARC.

Common Crawl is laid out so: indexes (`cluster.idx` with its blocks, or a server) name for each
capture a WARC file with offset and length, and the files lie below one address (or folder) from
which ranges can be read. Of several indexes, say of several months, all captures count and the one
nearest to the time asked for is taken.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from webtext.cdx import CdxEntry, choose_entry, is_address, parse_line
from webtext.cdx_files import CdxIndex, open_index
from webtext.content_coding import BodyError, decode_body
from webtext.crawl_config import CrawlConfig
from webtext.crawl_urls import archive_form
from webtext.errors import ConfigError, SourceError
from webtext.fetch import (
    RETRIED_STATUSES,
    Fetched,
    FetchError,
    Wants,
    exchange,
    open_session,
    parse_retry_after,
)
from webtext.turnstile import Turnstile
from webtext.warc import Response, parse_response
from webtext.warc_index import MAX_RECORD_BYTES, has_body_of
from webtext.warc_source import fetched_of

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Largest answer of an index server: a few thousand captures."""
_MAX_TWINS = 20
"""Captures of one address in one second that are read to find a revisit's body."""


@dataclass(frozen=True, kw_only=True)
class CdxAddresses:
    """Where an archive's indexes and records are."""

    indexes: tuple[str, ...]
    """Index files (`.cdx`, `.cdxj`, `cluster.idx`) and addresses of index servers, as in
    `https://index.commoncrawl.org/CC-MAIN-2017-39-index`."""
    records: str
    """Address or folder that the WARC files' names are relative to, as in
    `https://data.commoncrawl.org/`."""

    def files(self) -> list[Path]:
        """The indexes that are files."""
        return [Path(index) for index in self.indexes if not is_address(index)]


class CdxSource:
    """Answers with captures of an archive, each nearest to the time asked for."""

    name = "cdx"
    retried_statuses: frozenset[int] = frozenset()

    def __init__(
        self,
        config: CrawlConfig,
        addresses: CdxAddresses,
        *,
        concurrency: int,
        delay_s: float,
    ) -> None:
        """`delay_s` passes between the starts of two requests to the archive."""
        if not addresses.indexes:
            raise ConfigError("source is 'cdx', but no index is given: name a file or a server")
        self._config = config
        self._records = addresses.records
        self._servers = [index for index in addresses.indexes if is_address(index)]
        self._indexes: list[CdxIndex] = [open_index(path) for path in addresses.files()]
        self._turns = Turnstile(delay_s, concurrency)
        # The configured addresses alone are asked: they need no guard, and may be private.
        self._session = open_session(config, concurrency, None)

    async def fetch(
        self, url: str, timestamp: int, wants: Wants, cut_at: int | None = None
    ) -> Fetched:
        """The archived response nearest to `timestamp`; `not_archived` where there is none."""
        entry = choose_entry(await self._captures(url), url, timestamp)
        if entry is None:
            raise FetchError("not_archived", "no capture in the index")
        response = await self._read(entry)
        if response.refers_to is not None:
            response = await self._with_earlier_body(response)
        return fetched_of(response, url, wants, cut_at)

    def hold(self, _url: str, seconds: float) -> None:
        """See `Source.hold`; the host is the archive."""
        self._turns.hold(seconds)

    def slow_down(self, _url: str, _seconds: float) -> None:
        """An archived site's wish for a delay does not concern its archive."""

    async def close(self) -> None:
        """Close connections and files."""
        await self._session.close()
        for index in self._indexes:
            index.close()

    async def _captures(self, url: str) -> Iterator[CdxEntry]:
        answers = [await self._ask_server(server, url) for server in self._servers]
        return itertools.chain(*answers, *(index.captures(url) for index in self._indexes))

    async def _ask_server(self, server: str, url: str) -> list[CdxEntry]:
        address = f"{server}?url={quote(url, safe='')}&output=json"
        answer = await self._exchange(address, _MAX_ANSWER_BYTES)
        if answer.status == 404:
            return []
        if answer.status != 200:
            raise _archive_error("the index", answer)
        if len(answer.body) >= _MAX_ANSWER_BYTES:
            raise FetchError(
                "too_large", f"the index's answer has more than {_MAX_ANSWER_BYTES:,} bytes"
            )
        lines = _decode(answer).decode("utf-8", "replace").splitlines()
        if lines and lines[0].lstrip().startswith("[["):
            raise FetchError(
                "bad_response",
                "the index names no WARC files: expected pywb's or Common Crawl's form",
            )
        found = [entry for entry in map(parse_line, lines) if entry is not None]
        if not found and lines and not _is_empty_answer(lines):
            raise FetchError("bad_response", "the index sent something that is no list of captures")
        return found

    async def _read(self, entry: CdxEntry) -> Response:
        if entry.length > MAX_RECORD_BYTES:
            raise FetchError("too_large", f"record of {entry.length} bytes")
        if is_address(self._records):
            member = await self._read_range(entry)
        else:
            member = await asyncio.to_thread(_read_file, Path(self._records), entry)
        try:
            response = parse_response(member, max_bytes=MAX_RECORD_BYTES, where=entry.filename)
        except SourceError as error:
            raise FetchError("bad_response", f"archive: {error}") from error
        if archive_form(response.url) != archive_form(entry.url):
            raise FetchError("bad_response", "archive: the record is of another address")
        return response

    async def _with_earlier_body(self, revisit: Response) -> Response:
        """The revisit with the body of the capture it refers to, told from others by its digest."""
        assert revisit.refers_to is not None
        url, timestamp = revisit.refers_to
        fitting = (
            entry
            for entry in await self._captures(url)
            if entry.timestamp == timestamp
            and entry.status is not None
            and archive_form(entry.url) == archive_form(url)
        )
        # Two indexes may name one place; the order of reading depends on neither.
        places = {(entry.filename, entry.offset): entry for entry in fitting}
        for place in sorted(places)[:_MAX_TWINS]:
            earlier = await self._read(places[place])
            if has_body_of(revisit, earlier):
                return replace(revisit, payload=earlier.payload, refers_to=None)
        raise FetchError("bad_response", "archive: what a revisit refers to is missing")

    async def _read_range(self, entry: CdxEntry) -> bytes:
        address = f"{self._records.rstrip('/')}/{entry.filename}"
        last = entry.offset + entry.length - 1
        wanted = f"bytes={entry.offset}-{last}"
        # A server that ignores the range and sends the whole file is cut off here.
        answer = await self._exchange(address, entry.length + 1, {"Range": wanted})
        if answer.status != 206:
            raise _archive_error("the archive", answer)
        sent = (answer.header("content-range") or "").partition("/")[0].strip()
        if sent != f"bytes {entry.offset}-{last}" or len(answer.body) != entry.length:
            raise FetchError("bad_response", "the archive sent another range than was asked for")
        return answer.body

    async def _exchange(
        self, address: str, cut_at: int, headers: dict[str, str] | None = None
    ) -> Fetched:
        async with self._turns.turn():
            return await exchange(
                self._session,
                address,
                self._config,
                lambda *_: True,
                cut_at,
                {"Accept-Encoding": "identity", **(headers or {})},
            )


def _read_file(root: Path, entry: CdxEntry) -> bytes:
    try:
        with (root / entry.filename).open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.length)
    except OSError as error:
        raise FetchError("bad_response", f"archive: {entry.filename}: {error.strerror}") from error


def _decode(answer: Fetched) -> bytes:
    """An answer that was compressed although we asked for none of that."""
    try:
        coding = answer.header("content-encoding")
        return decode_body(answer.body, coding, max_bytes=_MAX_ANSWER_BYTES)
    except BodyError as error:
        raise FetchError("bad_response", f"the index: {error}") from error


def _is_empty_answer(lines: Sequence[str]) -> bool:
    try:
        return all(json.loads(line) == [] or "message" in json.loads(line) for line in lines)
    except (ValueError, TypeError, RecursionError):
        return False


def _archive_error(what: str, answer: Fetched) -> FetchError:
    detail = f"{what} answered {answer.status}"
    if answer.status in RETRIED_STATUSES:
        wait_s = parse_retry_after(answer.headers, datetime.now(UTC))
        return FetchError("unreachable", detail, transient=True, retry_after_s=wait_s)
    return FetchError("bad_response", detail)
