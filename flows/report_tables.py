"""Asking the tables of a store with DuckDB, in memory that does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from infra.errors import CorruptArtifact

MEMORY = "512MB"
"""What DuckDB may hold; grouping and sorting beyond it spill to the disk."""
_THREADS = 2


class Tables:
    """A connection that reads Parquet files and nothing else."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def rows(
        self, query: str, files: Sequence[Path], values: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of a query over `$files`; none where there are no files.

        Raises:
            CorruptArtifact: a file is missing or damaged.
        """
        if not files:
            return []
        given = {"files": [str(path) for path in files], **(values or {})}
        try:
            return self.connection.execute(query, given).fetchall()
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            first = str(error).splitlines()[0]
            raise CorruptArtifact(
                f"the tables in {files[0].parent} cannot be read: {first}; "
                "`webtext verify` says what is wrong"
            ) from error


@contextmanager
def open_tables(*, ordered: bool = False) -> Iterator[Tables]:
    """Connect for the block; what is spilled goes to a folder that ends with it.

    With `ordered`, rows come in the order of the files, and a query with a limit ends early.
    """
    with (
        tempfile.TemporaryDirectory(prefix="webtext-report-") as spill,
        duckdb.connect(config=_settings(spill, ordered)) as connection,
    ):
        yield Tables(connection)


def _settings(spill: str, ordered: bool) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": MEMORY,
        "threads": _THREADS,
        "temp_directory": spill,
        "preserve_insertion_order": ordered,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
