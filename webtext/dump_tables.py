"""Dumps that are Parquet tables, a submission a row, with the names that the JSON dumps have.

Columns may be of any type that holds their value; those that are not there count as absent. Row
groups are read one after the other, a few thousand rows at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from webtext.dumps import DumpPosition
from webtext.errors import SourceError
from webtext.submission_lines import FIELDS

_BATCH_ROWS = 4_096
_NEEDED = ("url", "score")
_IDS = ("id", "name")
"""Either names a submission."""


def is_table(dump: Path) -> bool:
    """Whether a dump is a Parquet table, by its name."""
    return dump.suffix.lower() == ".parquet"


def read_table_rows(dump: Path, position: DumpPosition) -> Iterator[dict[str, Any]]:
    """Yield every row's fields by name; `position` is brought up to date before each batch.

    Raises SourceError if the file is missing, lacks a column that is needed, or is damaged, after
    the rows before that point.
    """
    if not dump.is_file():
        raise SourceError(f"there is no dump at {dump}: give the path of a dump file")
    position.file_size = dump.stat().st_size
    try:
        with pq.ParquetFile(dump) as table:
            columns = _columns(dump, table.schema_arrow)
            for group in range(table.num_row_groups):
                yield from _read_group(table, group, columns, position)
                position.file_bytes += _packed_bytes(table.metadata.row_group(group))
                position.file_bytes = min(position.file_bytes, position.file_size)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{dump} is truncated or corrupt: reading stopped after row {position.row:,} "
            f"(byte {position.file_bytes:,} of {position.file_size:,}): {error}. Download or copy "
            "the file again and compare its checksum.",
            damaged=True,
        ) from error


def _columns(dump: Path, schema: pa.Schema) -> list[str]:
    missing = [name for name in _NEEDED if name not in schema.names]
    if not set(_IDS) & set(schema.names):
        missing.insert(0, "id")
    if missing:
        raise SourceError(
            f"{dump} is no table of submissions: it has no column {', '.join(missing)}; "
            f"expected {', '.join(FIELDS)}"
        )
    return [name for name in FIELDS if name in schema.names]


def _packed_bytes(group: pq.RowGroupMetaData) -> int:
    """Bytes of a row group in the file; its own total is that of the unpacked values."""
    return sum(group.column(place).total_compressed_size for place in range(group.num_columns))


def _read_group(
    table: pq.ParquetFile, group: int, columns: list[str], position: DumpPosition
) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
        fields = [_plain(batch.column(name)) for name in columns]
        position.row += batch.num_rows
        for values in zip(*fields, strict=True):
            yield dict(zip(columns, values, strict=True))


def _plain(column: pa.Array) -> list[Any]:
    """The values as JSON would hold them: a time is its whole seconds since 1970."""
    if pa.types.is_timestamp(column.type):
        seconds = column.cast(pa.timestamp("s", tz=column.type.tz), safe=False)
        return list(seconds.cast(pa.int64()).to_pylist())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _texts(column)
    return list(column.to_pylist())


def _texts(column: pa.Array) -> list[str | None]:
    """Text that is no UTF-8 counts as absent: a table may hold any bytes where it declares text."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        large = pa.types.is_large_string(column.type)
        raw = column.view(pa.large_binary() if large else pa.binary()).to_pylist()
        return [None if value is None else _text(value) for value in raw]


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
