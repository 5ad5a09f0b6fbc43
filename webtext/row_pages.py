"""Row pages: rows of an existing corpus as links and pages, for the filters that follow.

A partition of all files' rows becomes `links` and `pages` tables like those of a crawl, and
`origins`, which says of every key which row of which file it is. Of rows with one key (the same
URL), the first in the order of files and rows stays; the others are counted as `repeated_link`.
Language and tokens are measured as they are of a page's text.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from webtext.config import StageConfig
from webtext.counts import Counts, Progress, silent
from webtext.errors import SourceError
from webtext.language import identify_language
from webtext.removals import RemovedPages
from webtext.sorting import open_sorter, table_of
from webtext.tables import LINKS, ORIGINS, PAGES, RowWriter, part_name
from webtext.vocabulary import count_tokens

_BATCH_ROWS = 1_000
_ROWS_A_REPORT = 500


class RowPagesConfig(StageConfig):
    """How rows become pages: there is nothing to choose."""


def make_row_pages_partition(
    *,
    rows: Path,
    partition: int,
    destination: Path,
    config: RowPagesConfig,  # noqa: ARG001  every stage has one
    progress: Progress = silent,
    removals: Path | None = None,
) -> Counts:
    """Make one partition of links, pages and origins from the rows artifact.

    Rows on the list of `removals`, the artifact of that name, have no text: `removed`.

    Raises SourceError where it holds no table.
    """
    files = sorted((rows / "rows").glob("file-*.parquet"))
    if not files:
        raise SourceError(f"there are no rows/file-*.parquet in {rows}: read a file first")
    total = _count(files, partition)
    removed = RemovedPages.read(removals, partition)
    facts = {"pages": 0, "characters": 0, "tokens": 0}
    done = 0
    with open_sorter(destination / "scratch") as sorter, ExitStack() as stack:
        links, pages, origins = (
            stack.enter_context(RowWriter(destination / name / part_name(partition), schema))
            for name, schema in (("links", LINKS), ("pages", PAGES), ("origins", ORIGINS))
        )
        last = None
        for done, row in enumerate(_read_partition(sorter, files, partition), 1):
            if row["link_id"] != last:
                last = row["link_id"]
                takedown = removed.find(row["link_id"], row["host"])
                page = _page_row(row) if takedown is None else _removed_row(row, takedown)
                links.write(_link_row(row))
                pages.write(page)
                origins.write({name: row[name] for name in ORIGINS.names})
                facts["pages"] += 1
                facts["characters"] += page.get("characters", 0)
                facts["tokens"] += page.get("tokens", 0)
            if done % _ROWS_A_REPORT == 0:
                progress(done, total, pages=facts["pages"])
    progress(done, total, pages=facts["pages"])
    kept = facts.pop("pages")
    return Counts(rows_in=done, rows_out=kept, losses={"repeated_link": done - kept}, facts=facts)


def _count(files: list[Path], partition: int) -> int:
    """An upper bound of a partition's rows, from the row groups that may hold some of it."""
    total = 0
    for file in files:
        metadata = pq.read_metadata(file)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            found = group.column(0).statistics
            if found.min <= partition <= found.max:
                total += group.num_rows
    return total


def _read_partition(
    sorter: duckdb.DuckDBPyConnection, files: list[Path], partition: int
) -> Iterator[dict[str, Any]]:
    """The rows of a partition by key, file and number."""
    union = " UNION ALL ".join(
        f"SELECT * EXCLUDE (partition), {number}::INTEGER AS file "  # noqa: S608
        f"FROM {table_of(file)} WHERE partition = {partition}"
        for number, file in enumerate(files)
    )
    reader = sorter.sql(f"SELECT * FROM ({union}) ORDER BY link_id, file, row").to_arrow_reader(  # noqa: S608
        _BATCH_ROWS
    )
    for batch in reader:
        yield from batch.to_pylist()


def _link_row(row: dict[str, Any]) -> dict[str, Any]:
    names = ("link_id", "url", "host", "domain", "karma")
    link = {name: row[name] for name in names}
    return link | {"first_created_utc": row["created_utc"], "submissions": []}


def _removed_row(row: dict[str, Any], takedown: str) -> dict[str, Any]:
    return {"link_id": row["link_id"], "reason": "removed", "detail": takedown}


def _page_row(row: dict[str, Any]) -> dict[str, Any]:
    text = row["text"]
    language, probability = identify_language(text)
    return {
        "link_id": row["link_id"],
        "title": row["title"],
        "date": row["date"],
        # The address itself: whether it is Wikipedia's is judged where canonical links are.
        "canonical_host": row["host"] or None,
        "language": language,
        "language_probability": probability,
        "characters": len(text),
        "words": len(text.split()),
        "tokens": count_tokens(text),
        "text": text,
    }
