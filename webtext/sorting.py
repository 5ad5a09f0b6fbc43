"""Sorts and groups larger than memory: DuckDB with a spill folder, written as our tables are.

DuckDB gets one thread's worth of memory budget, a folder of the caller's for what does not fit, and
no way to load extensions. Every query that is written must order its rows totally, so that threads
and spills never show in the bytes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

MEMORY_LIMIT = "1GB"
"""What a query may hold before it spills; runtime only, the bytes do not depend on it."""

ROW_GROUP_ROWS = 10_000
"""As in `webtext.tables.write_table`."""


@contextmanager
def open_sorter(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that spills into `scratch`, which is made here and removed at the end."""
    scratch.mkdir(parents=True)
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(scratch / "spill"),
            "threads": 2,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    try:
        yield connection
    finally:
        connection.close()
        rmtree(scratch)


def table_of(path: Path) -> str:
    """A Parquet file as a table of a query."""
    return f"read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')"


def write_query(
    path: Path, schema: pa.Schema, connection: duckdb.DuckDBPyConnection, query: str
) -> int:
    """Write the ordered rows of `query` as a table of `schema`; returns how many there were."""
    reader = connection.sql(query).to_arrow_reader(ROW_GROUP_ROWS)
    return write_tables(path, schema, (pa.Table.from_batches([batch]) for batch in reader))


def write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write the rows of tables one after the other; returns how many there were.

    Streams: row groups of `ROW_GROUP_ROWS` whatever tables come, so equal rows give equal bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in _regroup(tables, schema):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            rows += table.num_rows
    return rows


def _regroup(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of exactly `ROW_GROUP_ROWS` rows and a last one with the rest."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, _cast(table, schema)])
        while held.num_rows >= ROW_GROUP_ROWS:
            yield held.slice(0, ROW_GROUP_ROWS).combine_chunks()
            held = held.slice(ROW_GROUP_ROWS)
    if held.num_rows:
        yield held.combine_chunks()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
