"""Documents: the main text of every page that passed the filters, and why the others did not.

Made from captures (with their WARC records) and links, a partition at a time. Every `ok` capture
comes out exactly once: as a row of `documents` or, with its reason, as a row of `rejected`. Pages
are handled by a worker with limits (`webtext.extract_worker`); what a page gives depends on the
page and the config alone, never on the pages before it.

The filters in their order: the page's limits, Wikipedia by canonical link, no text, fewer tokens
than `min_tokens`, another language. Text is Unicode NFC.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from webtext.counts import Counts, Progress
from webtext.errors import SourceError
from webtext.extract_worker import ExtractionWorker, PageRequest, PageResult, WorkerConfig
from webtext.tables import DOCUMENTS, REJECTED, part_name, write_rows
from webtext.warc import read_capture
from webtext.wikimedia import is_wikipedia

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
_LINK_COLUMNS = ["link_id", "url", "domain", "karma", "first_created_utc"]


class DocumentsConfig(WorkerConfig):
    """Which pages become documents."""

    min_tokens: int = Field(default=128, ge=1)
    """Fewest GPT-2 tokens of a document: `too_short` below. OpenWebText's number."""
    languages: tuple[str, ...] = ("en",)
    """Languages to keep, as ISO 639-1 codes: `language` for the others. Empty keeps all."""
    strip_wikimedia: bool = False
    """Whether a page whose canonical link leads to any Wikimedia project is stripped, and not to
    Wikipedia alone."""


def extract_documents_partition(
    *,
    captures: Path,
    links: Path,
    partition: int,
    destination: Path,
    config: DocumentsConfig,
    progress: Progress,
) -> Counts:
    """Make one partition of documents and rejected from the captures and links artifacts.

    Raises SourceError where a table or a WARC record that the captures name cannot be read.
    """
    pages = _read_captures(captures, partition)
    facts_of_link = _read_links(links, partition)
    documents: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    page_bytes = 0
    with ExtractionWorker(config) as worker:
        results = _extract_pages(captures, pages, worker, config)
        for done, (page, result) in enumerate(results, 1):
            page_bytes += page["payload_bytes"] or 0
            reason, detail = judge_page(result, config)
            if reason is None:
                documents.append(_document_row(_link_of(page, facts_of_link), result))
            else:
                rejected.append(_rejected_row(page, reason, detail, result))
            if done % PAGES_A_REPORT == 0 or done == len(pages):
                progress(done, len(pages), documents=len(documents), page_bytes=page_bytes)
    write_rows(destination / "documents" / part_name(partition), DOCUMENTS, documents)
    write_rows(destination / "rejected" / part_name(partition), REJECTED, rejected)
    return _count(len(pages), documents, rejected, page_bytes)


def judge_page(result: PageResult, config: DocumentsConfig) -> tuple[str | None, str | None]:
    """The reason to reject a page and its detail; no reason for a document."""
    host = result.canonical_host
    if host and is_wikipedia(host, all_projects=config.strip_wikimedia):
        return "wikipedia", f"canonical link to {host[:200]}"
    if result.reason is not None:
        return result.reason, result.detail
    if (result.tokens or 0) < config.min_tokens:
        return "too_short", f"{result.tokens} tokens, at least {config.min_tokens} wanted"
    if config.languages and result.language not in config.languages:
        return "language", f"{result.language}, wanted {' '.join(config.languages)}"
    return None, None


def _extract_pages(
    captures: Path, pages: list[dict[str, Any]], worker: ExtractionWorker, config: WorkerConfig
) -> Iterator[tuple[dict[str, Any], PageResult]]:
    """Every page with its result, in order; the next record is read while the worker is busy."""
    busy_with: dict[str, Any] | None = None
    for page in pages:
        too_large = page["payload_bytes"] > config.max_page_bytes
        read = None if too_large else _read_page(captures, page)
        if busy_with is not None:
            yield busy_with, worker.receive()
            busy_with = None
        if read is None:
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
    table = _read_columns(captures / "captures" / part_name(partition), _CAPTURE_COLUMNS)
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["outcome"], "ok")).to_pylist()
    return rows


def _read_links(links: Path, partition: int) -> dict[bytes, dict[str, Any]]:
    table = _read_columns(links / "links" / part_name(partition), _LINK_COLUMNS)
    return {row["link_id"]: row for row in table.to_pylist()}


def _read_columns(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"cannot read the table {path}: {error}") from error


def _link_of(page: dict[str, Any], links: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    try:
        return links[page["link_id"]]
    except KeyError:
        raise SourceError(
            f"captures hold the link {page['link_id'].hex()}, but the links artifact does not: "
            f"they do not belong together. Give the links that the captures were made from."
        ) from None


def _document_row(link: dict[str, Any], result: PageResult) -> dict[str, Any]:
    return {
        **link,
        "title": result.title,
        "date": result.date,
        "language": result.language,
        "characters": len(result.text),
        "words": len(result.text.split()),
        "tokens": result.tokens,
        "text": result.text,
    }


def _rejected_row(
    page: dict[str, Any], reason: str, detail: str | None, result: PageResult
) -> dict[str, Any]:
    return {
        "link_id": page["link_id"],
        "reason": reason,
        "detail": detail,
        "language": result.language,
        "tokens": result.tokens,
    }


def _count(
    pages: int, documents: list[dict[str, Any]], rejected: list[dict[str, Any]], page_bytes: int
) -> Counts:
    losses: dict[str, int] = {}
    for row in rejected:
        losses[row["reason"]] = losses.get(row["reason"], 0) + 1
    return Counts(
        rows_in=pages,
        rows_out=len(documents),
        losses=dict(sorted(losses.items())),
        facts={
            "page_bytes": page_bytes,
            "characters": sum(row["characters"] for row in documents),
            "tokens": sum(row["tokens"] for row in documents),
        },
    )
