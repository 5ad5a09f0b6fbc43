"""Pages: the text of every page that was captured, or why it has none.

Made from captures (with their WARC records), a partition at a time: one row for every `ok` capture,
with what was measured of it. A page on the list of removals is not read: its reason is `removed`.
Pages are handled by a worker with limits (`webtext.extract_worker`); what a page gives depends on
the page and the config alone, never on the pages before it.

Which pages become documents is decided by the next stage (`webtext.documents`), so that a filter
can be changed without extracting anything again. Text is Unicode NFC.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from webtext.counts import Counts, Progress
from webtext.extract_worker import ExtractionWorker, PageRequest, PageResult, WorkerConfig
from webtext.removals import RemovedPages
from webtext.tables import PAGES, RowWriter, part_name, read_table
from webtext.warc import read_capture

PAGES_A_REPORT = 50
"""Progress is told after so many pages: about once a second."""

# Room for the WARC and HTTP headers of a record (the crawl keeps them far below).
_HEADER_BYTES = 2 << 20
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{2,40})""", re.IGNORECASE)

_CAPTURE_COLUMNS = [
    "link_id",
    "outcome",
    "final_url",
    "content_type",
    "warc_file",
    "warc_offset",
    "warc_length",
    "payload_offset",
    "payload_length",
    "payload_bytes",
]


class PagesConfig(WorkerConfig):
    """How pages are extracted, and what that may cost."""


def extract_pages_partition(
    *,
    captures: Path,
    partition: int,
    destination: Path,
    config: PagesConfig,
    progress: Progress,
    removals: Path | None = None,
) -> Counts:
    """Make one partition of pages from the captures artifact.

    Pages on the list of `removals`, the artifact of that name, are not read.

    Raises SourceError where a table or a WARC record that the captures name cannot be read.
    """
    pages = _read_captures(captures, partition)
    removed = RemovedPages.read(removals, partition)
    facts = {"extracted": 0, "page_bytes": 0, "characters": 0, "tokens": 0}
    with (
        RowWriter(destination / "pages" / part_name(partition), PAGES) as table,
        ExtractionWorker(config) as worker,
    ):
        results = _extract(captures, pages, removed, worker, config)
        for done, (page, result) in enumerate(results, 1):
            table.write(_page_row(page, result))
            facts["extracted"] += result.reason is None
            facts["page_bytes"] += page["payload_bytes"] or 0
            facts["characters"] += len(result.text)
            facts["tokens"] += result.tokens or 0
            if done % PAGES_A_REPORT == 0 or done == len(pages):
                progress(done, len(pages), **facts)
    return Counts(rows_in=len(pages), rows_out=len(pages), facts=facts)


def _extract(
    captures: Path,
    pages: list[dict[str, Any]],
    removed: RemovedPages,
    worker: ExtractionWorker,
    config: WorkerConfig,
) -> Iterator[tuple[dict[str, Any], PageResult]]:
    """Every page with its result, in order; the next record is read while the worker is busy."""
    busy_with: dict[str, Any] | None = None
    for page in pages:
        too_large = page["payload_bytes"] > config.max_page_bytes
        takedown = removed.find(page["link_id"])
        read = None if too_large or takedown is not None else _read_page(captures, page)
        if busy_with is not None:
            yield busy_with, worker.receive()
            busy_with = None
        if takedown is not None:
            yield page, PageResult("removed", takedown)
        elif read is None:
            detail = f"page of {page['payload_bytes']} bytes, limit {config.max_page_bytes}"
            yield page, PageResult("extraction_limit", detail)
        else:
            worker.send(*read)
            busy_with = page
    if busy_with is not None:
        yield busy_with, worker.receive()


def _read_page(captures: Path, page: dict[str, Any]) -> tuple[PageRequest, bytes]:
    """The response that a row of captures names, and what its headers say of the body."""
    response = read_capture(captures, page, max_bytes=page["payload_bytes"] + _HEADER_BYTES)
    charset = _CHARSET.search(response.header("content-type") or "")
    request = PageRequest(
        url=page["final_url"],
        media_type=page["content_type"],
        charset=charset[1] if charset else None,
        content_encoding=response.header("content-encoding"),
    )
    return request, response.payload


def _read_captures(captures: Path, partition: int) -> list[dict[str, Any]]:
    """The `ok` captures of a partition, by `link_id`."""
    path = captures / "captures" / part_name(partition)
    table = read_table(path, _CAPTURE_COLUMNS)
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["outcome"], "ok")).to_pylist()
    return rows


def _page_row(page: dict[str, Any], result: PageResult) -> dict[str, Any]:
    row: dict[str, Any] = {"link_id": page["link_id"], **result._asdict()}
    if result.reason is not None:
        return row | {"text": None}
    return row | {"characters": len(result.text), "words": len(result.text.split())}
