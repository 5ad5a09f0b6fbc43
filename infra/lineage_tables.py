"""Reading few rows of large tables: by the row groups whose statistics say that they may be there.

The tables are those of docs/reference/tables.md, sorted by their key, so that a row group or two
are read of a partition. Rows come as dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
        wanted = _value_set(values, schema.field(column).type)
        for number in range(file.metadata.num_row_groups):
            if not _may_hold(file.metadata.row_group(number).column(place), low, high):
                continue
            keys = file.read_row_group(number, columns=[column])[column]
            found = pc.indices_nonzero(pc.is_in(keys, value_set=wanted))
            if len(found):
                group = file.read_row_group(number, columns=list(columns or schema.names))
                yield from group.take(found).to_pylist()


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
                here = pc.equal(table["link_id"], pa.scalar(link_id, pa.binary(16)))
                yield from (row | {"dump": number} for row in table.filter(here).to_pylist())


def _value_set(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    # Not pa.array, which imports pandas, a third of a second, to see whether it is given some.
    return pa.concat_arrays([pa.repeat(pa.scalar(value, kind), 1) for value in values])


def _may_hold(column: Any, low: Any, high: Any) -> bool:
    """Whether a row group may hold a value between two, by its statistics."""
    found = column.statistics
    if found is None or not found.has_min_max:
        return True
    return bool(found.min <= high and found.max >= low)
