"""Rows: the texts of an existing corpus, in place of submissions and their pages.

One file (Parquet or JSON lines) becomes `rows/file-NNNNN.parquet`, sorted by partition, link_id and
row; `sources/file-NNNNN.json` says which file that was: its `sha256`, and its `origin` on a hub.
Each row of the file is either a row of it or counted under one of these reasons:

    blank_line       nothing on the line
    line_too_long    a line of 16 MiB or more
    broken_json      no JSON object
    no_text          the text is absent, not a string, or blank
    text_too_long    over `max_text_bytes`

A row with a URL is keyed by it, as a link is. One without (or with one that cannot be fetched) gets
the address `row://SHA256-OF-THE-FILE/NUMBER`, so that its key is the same wherever the file lies.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from webtext.cleaning import clean_text
from webtext.counts import Counts, Progress, silent
from webtext.dumps import DumpPosition
from webtext.row_config import RowsConfig
from webtext.row_files import Row, read_rows
from webtext.sorting import open_sorter, table_of, write_query
from webtext.tables import ROWS
from webtext.urls import link_id, link_partition, normalise_url

_BATCH_ROWS = 2_000
_MAX_INT32 = 2**31 - 1
_MAX_FIELD_CHARACTERS = 2_000


def read_row_file(
    *,
    file: Path,
    sha256: str,
    partition: int,
    destination: Path,
    config: RowsConfig,
    origin: str | None = None,
    progress: Progress = silent,
) -> Counts:
    """Read the file numbered `partition` into `destination`/rows/file-NNNNN.parquet.

    Streams: memory does not grow with the file, the sort spills to disk. Progress is in bytes of
    the file, whose digest is `sha256` and whose address on a hub, if it has one, is `origin`.
    Raises SourceError where it cannot be read to its end.
    """
    position, losses = DumpPosition(), Counter[str]()
    refused = Counter[str]()
    with open_sorter(destination / "scratch") as sorter:
        unsorted = destination / "scratch" / "unsorted.parquet"
        rows_out = 0
        with pq.ParquetWriter(unsorted, ROWS, compression="lz4", write_statistics=False) as writer:
            for table in _read_tables(file, sha256, position, config, losses, refused, progress):
                writer.write_table(table)
                rows_out += table.num_rows
        write_query(
            destination / "rows" / f"file-{partition:05d}.parquet",
            ROWS,
            sorter.cursor(),
            f"SELECT * FROM {table_of(unsorted)} "  # noqa: S608
            "ORDER BY partition, link_id, row",
        )
    record = json.dumps({"sha256": sha256, "origin": origin}) + "\n"
    (destination / "sources").mkdir(exist_ok=True)
    (destination / "sources" / f"file-{partition:05d}.json").write_text(record, encoding="utf-8")
    return Counts(
        rows_in=rows_out + losses.total(),
        rows_out=rows_out,
        losses=dict(sorted(losses.items())),
        facts={"file_bytes": position.file_size, "urls_refused": refused.total()},
    )


def _read_tables(
    file: Path,
    sha256: str,
    position: DumpPosition,
    config: RowsConfig,
    losses: Counter[str],
    refused: Counter[str],
    progress: Progress,
) -> Iterator[pa.Table]:
    kept: list[dict[str, Any]] = []
    number = 0
    for batch in read_rows(file, config.columns(), position):
        for row in batch:
            made = row if isinstance(row, str) else _make_row(row, sha256, number, config, refused)
            number += 1
            if isinstance(made, str):
                losses[made] += 1
            else:
                kept.append(made)
            if len(kept) == _BATCH_ROWS:
                yield pa.Table.from_pylist(kept, schema=ROWS)
                kept.clear()
        progress(position.file_bytes, position.file_size, rows=number)
    if kept:
        yield pa.Table.from_pylist(kept, schema=ROWS)


def _make_row(
    fields: Row, sha256: str, number: int, config: RowsConfig, refused: Counter[str]
) -> dict[str, Any] | str:
    """A row of the table, or why there is none."""
    text = fields.get(config.text_column)
    if not isinstance(text, str):
        return "no_text"
    if len(text) > config.max_text_bytes or len(text.encode(errors="replace")) > (
        config.max_text_bytes
    ):
        return "text_too_long"
    text = clean_text(text)
    if not text:
        return "no_text"
    given = _text(fields, config.url_column)
    known = normalise_url(given) if given else None
    if isinstance(known, str):
        refused[known] += 1
        known = None
    url = known.url if known else f"row://{sha256}/{number}"
    domain = known.domain if known else ""
    return {
        # A file's own rows have no domain in common that politeness would care for.
        "partition": link_partition(domain or url, config.partitions),
        "link_id": link_id(url),
        "row": number,
        "url": url,
        "host": known.host if known else "",
        "domain": domain,
        "karma": _number(fields, config.karma_column, _MAX_INT32),
        "created_utc": _number(fields, config.created_column, 2**53),
        "title": _text(fields, config.title_column),
        "date": _text(fields, config.date_column),
        "text": text,
    }


def _text(fields: Row, column: str | None) -> str | None:
    """A short text; times in ISO 8601, what is neither as JSON."""
    value = fields.get(column) if column else None
    if value is None or value == "":
        return None
    if isinstance(value, date | datetime):
        value = value.isoformat()
    if not isinstance(value, str):
        value = json.dumps(value, sort_keys=True, default=str)
    return clean_text(value[:_MAX_FIELD_CHARACTERS]) or None


def _number(fields: Row, column: str | None, limit: int) -> int:
    """A whole number within ±`limit`; 0 where there is none."""
    value = fields.get(column) if column else None
    if isinstance(value, datetime):
        value = value.timestamp()
    try:
        number = int(float(value)) if value is not None else 0
    except (TypeError, ValueError, OverflowError):
        return 0
    return max(-limit, min(limit, number))
