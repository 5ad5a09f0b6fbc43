"""Reading few rows of large tables: by the row groups whose statistics say that they may be there.

The tables are those of docs/reference/tables.md, sorted by their key, so that a row group or two
are read of a partition. Rows come as dictionaries, times in them as whole numbers.

What makes pyarrow import pandas, which takes half a second, is gone around: its conversions of
single values, numpy arrays and times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.errors import CorruptArtifact

Row = dict[str, Any]


def find_rows(
    path: Path, column: str, values: Sequence[Any], columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """The rows whose `column` is one of `values`, in the table's order.

    Only row groups whose statistics allow for a value are read, and of those the other `columns`
    (all by default) only where one is there.

    Raises:
        CorruptArtifact: the file is missing or no such table.
    """
    if not values:
        return
    low, high = min(values), max(values)
    with open_table(path) as file:
        schema = file.schema_arrow
        place = schema.get_field_index(column)
        wanted = value_set(values, schema.field(column).type)
        for number in range(file.metadata.num_row_groups):
            if not _may_hold(file.metadata.row_group(number).column(place), low, high):
                continue
            keys = file.read_row_group(number, columns=[column])[column]
            found = pc.indices_nonzero(pc.is_in(keys, value_set=wanted))
            if len(found):
                group = file.read_row_group(number, columns=list(columns or schema.names))
                yield from _timeless(group.take(found)).to_pylist()


def find_row(
    path: Path, column: str, value: Any, columns: Sequence[str] | None = None
) -> Row | None:
    """The one row whose `column` is `value`, or None."""
    return next(find_rows(path, column, [value], columns), None)


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a whole partition. Raises CorruptArtifact where it cannot be read."""
    with open_table(path) as file:
        return file.read(columns=list(columns))


def open_table(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises CorruptArtifact where it is missing or none."""
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorruptArtifact(
            f"cannot read the table {path}: {error}; `webtext verify` says what else is wrong"
        ) from error


def partition_groups(file: pq.ParquetFile, partition: int) -> Iterator[int]:
    """The row groups of a table sorted by `partition` that may hold rows of one."""
    for group in range(file.metadata.num_row_groups):
        if _may_hold(file.metadata.row_group(group).column(0), partition, partition):
            yield group


def find_submissions(dumps: Sequence[Path], partition: int, link_id: bytes) -> Iterator[Row]:
    """The submissions of a link: dumps are sorted by partition, `link_id` and id."""
    for number, dump in enumerate(dumps):
        with open_table(dump) as file:
            for group in partition_groups(file, partition):
                columns = file.metadata.row_group(group)
                ends = columns.column(0).statistics
                one = ends is not None and ends.min == ends.max
                if one and not _may_hold(columns.column(1), link_id, link_id):
                    continue
                table = file.read_row_group(group)
                here = pc.is_in(table["link_id"], value_set=value_set([link_id], pa.binary(16)))
                yield from (row | {"dump": number} for row in table.filter(here).to_pylist())


def whole_numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of whole numbers without nulls as an array."""
    parts = [np.empty(0, dtype=np.int64)]
    for chunk in column.chunks:
        kind = f"i{column.type.bit_width // 8}"
        raw = np.frombuffer(chunk.buffers()[1] or b"", dtype=kind)
        parts.append(raw[chunk.offset : chunk.offset + len(chunk)].astype(np.int64))
    return np.concatenate(parts)


def value_set(values: Sequence[Any] | NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    """Keys, texts or whole numbers as an array to look for."""
    if pa.types.is_integer(kind):
        numbers = np.array(values, dtype=f"i{kind.bit_width // 8}")
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(numbers)])
    encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
    content = pa.py_buffer(b"".join(encoded))
    if pa.types.is_fixed_size_binary(kind):
        return pa.Array.from_buffers(kind, len(values), [None, content])
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    text = pa.Array.from_buffers(pa.string(), len(values), [None, pa.py_buffer(ends), content])
    return text.cast(kind)


def _timeless(rows: pa.Table) -> pa.Table:
    """Times as whole numbers, in their columns' unit since 1970."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            rows = rows.set_column(place, field.name, rows.column(place).cast(pa.int64()))
    return rows


def _may_hold(column: Any, low: Any, high: Any) -> bool:
    """Whether a row group may hold a value between two, by its statistics."""
    found = column.statistics
    if found is None or not found.has_min_max:
        return True
    return bool(found.min <= high and found.max >= low)
