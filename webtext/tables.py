"""The Parquet tables that the stages hand on; docs/reference/tables.md tells them in words.

Every table is a folder of `part-NNNNN.parquet` files, one a partition (also when empty), sorted by
`link_id`. `link_id` joins them all: the 128-bit BLAKE2b hash of the normalised URL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from webtext.errors import SourceError
from webtext.quality_sets import MEASURES

LINK_ID = pa.binary(16)

SUBMISSIONS = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("subreddit", pa.string(), nullable=False),
        pa.field("karma", pa.int32(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
    ]
)

SUBMISSION = pa.struct(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("subreddit", pa.string(), nullable=False),
        pa.field("karma", pa.int32(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
    ]
)

LINKS = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("karma", pa.int32(), nullable=False),
        pa.field("first_created_utc", pa.int64(), nullable=False),
        pa.field("submissions", pa.list_(pa.field("item", SUBMISSION, nullable=False))),
    ]
)

KNOWN = pa.schema(
    [
        *LINKS,
        pa.field("month", pa.int32(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("captured_at", pa.timestamp("ms", tz="UTC")),
    ]
)

CAPTURES = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("status", pa.int16()),
        pa.field("final_url", pa.string()),
        pa.field("redirects", pa.int16()),
        pa.field("content_type", pa.string()),
        pa.field("warc_file", pa.string()),
        pa.field("warc_offset", pa.int64()),
        pa.field("warc_length", pa.int64()),
        pa.field("payload_offset", pa.int64()),
        pa.field("payload_length", pa.int64()),
        pa.field("payload_digest", pa.string()),
        pa.field("payload_bytes", pa.int64()),
        pa.field("captured_at", pa.timestamp("ms", tz="UTC")),
    ]
)

PAGES = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("title", pa.string()),
        pa.field("date", pa.string()),
        pa.field("author", pa.string()),
        pa.field("canonical_host", pa.string()),
        pa.field("language", pa.string()),
        pa.field("language_probability", pa.float32()),
        pa.field("characters", pa.int32()),
        pa.field("words", pa.int32()),
        pa.field("tokens", pa.int32()),
        pa.field("text", pa.large_string()),
    ]
)

DOCUMENTS = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("date", pa.string()),
        pa.field("author", pa.string()),
        pa.field("language", pa.string(), nullable=False),
        pa.field("karma", pa.int32(), nullable=False),
        pa.field("first_created_utc", pa.int64(), nullable=False),
        pa.field("characters", pa.int32(), nullable=False),
        pa.field("words", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

ROWS = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("karma", pa.int32(), nullable=False),
        pa.field("created_utc", pa.int64(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("date", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

REMOVALS = pa.schema(
    [
        pa.field("link_id", LINK_ID),
        pa.field("url", pa.string()),
        pa.field("host", pa.string()),
        pa.field("date", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("copy_of", pa.string()),
    ]
)

ORIGINS = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)

REJECTED = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("language", pa.string()),
        pa.field("tokens", pa.int32()),
    ]
)

ATTRIBUTES = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("canonical_host", pa.string()),
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_probability", pa.float32(), nullable=False),
        pa.field("characters", pa.int32(), nullable=False),
        pa.field("words", pa.int32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        *(pa.field(measure, pa.float64()) for measure in MEASURES),
    ]
)

DUPLICATES = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("survivor_link_id", LINK_ID, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)

SPANS = pa.schema(
    [
        pa.field("link_id", LINK_ID, nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("document_start", pa.int32(), nullable=False),
    ]
)


SIGNATURES_METADATA = b"webtext.signatures"
"""Where a signatures table's file says with which settings it was made, as JSON."""


def signatures_schema(permutations: int, settings: str | None = None) -> pa.Schema:
    """The signatures table: one MinHash of `permutations` little-endian uint32 a document."""
    metadata = {SIGNATURES_METADATA: settings.encode()} if settings else None
    return pa.schema(
        [
            pa.field("link_id", LINK_ID, nullable=False),
            pa.field("karma", pa.int32(), nullable=False),
            pa.field("first_created_utc", pa.int64(), nullable=False),
            pa.field("text_digest", pa.binary(16), nullable=False),
            pa.field("shingles", pa.int32(), nullable=False),
            pa.field("signature", pa.binary(4 * permutations), nullable=False),
        ],
        metadata=metadata,
    )


def part_name(partition: int) -> str:
    """The file name of a partition in every table: `part-00007.parquet`."""
    return f"part-{partition:05d}.parquet"


def write_table(path: Path, table: pa.Table, *, row_group_rows: int = 10_000) -> None:
    """Write `table` so that equal rows give equal bytes; parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", row_group_size=row_group_rows)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside the block a table that is missing or damaged is a SourceError that names it."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"cannot read the table {path}: {error}") from error


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of a table, all by default. Raises SourceError where it cannot be read."""
    with reading(path):
        return pq.read_table(path, columns=columns)


class RowWriter:
    """Writes dictionaries as a table of `schema`, a row group at a time."""

    def __init__(self, path: Path, schema: pa.Schema, *, row_group_rows: int = 1_000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._row_group_rows = row_group_rows
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; what it does not name is null."""
        self._rows.append(row)
        if len(self._rows) == self._row_group_rows:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write dictionaries as a table of `schema` and return how many there were."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    write_table(path, table)
    return int(table.num_rows)


def read_part(folder: Path, partition: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one partition of the table in `folder`."""
    return pq.read_table(folder / part_name(partition), columns=columns)
