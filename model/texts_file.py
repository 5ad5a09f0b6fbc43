"""Texts from a file: a line of plain text each, a field of JSON lines, or a column of Parquet.

Every row of the file is one text, so that what is made of the texts can be put beside the rows; a
row that is no text is an error that names it, never left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import TextsError

MAX_LINE_BYTES = 64 * 2**20  # a text far beyond any context; it bounds memory
_BATCH_ROWS = 1024
_LINES = (".txt", ".jsonl", ".ndjson", ".json")


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """The texts of a file in its order.

    Args:
        path: `.txt` (UTF-8, a text a line), `.jsonl`, `.ndjson` or `.json` (an object a line) or
            `.parquet`.
        column: the field or column that holds the text; not read for `.txt`.

    Raises:
        TextsError: the file cannot be read, or a row holds no text.
    """
    if path.suffix not in (*_LINES, ".parquet"):
        raise TextsError(f"{path}: expected a file that ends in {', '.join(_LINES)} or .parquet")
    if not path.is_file():
        raise TextsError(f"there is no file {path}")
    if path.suffix == ".parquet":
        return _read_parquet(path, column)
    return _read_plain(path) if path.suffix == ".txt" else _read_json(path, column)


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise TextsError(f"{path} line {number} is longer than {MAX_LINE_BYTES} bytes")
            try:
                yield number, line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError as error:
                raise TextsError(f"{path} line {number} is not UTF-8: {error}") from error


def _read_plain(path: Path) -> Iterator[str]:
    for _number, line in _read_lines(path):
        yield line


def _read_json(path: Path, column: str) -> Iterator[str]:
    for number, line in _read_lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TextsError(f"{path} line {number} is not JSON: {error}") from error
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise TextsError(
                f"{path} line {number} has no text in {column!r}; name the field with --column"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TextsError(f"{path} line {number} is not Unicode text: {error}") from error
        yield text


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(path) as file:
            _check_column(path, file.schema_arrow, column)
            row = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
                for text in batch.column(0).to_pylist():
                    if text is None:
                        raise TextsError(f"{path} row {row} has no text in {column!r}")
                    yield text
                    row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TextsError(f"{path} cannot be read as Parquet: {error}") from error


def _check_column(path: Path, schema: pa.Schema, column: str) -> None:
    known = [
        f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    ]
    if column not in known:
        raise TextsError(
            f"{path} has no column of text {column!r}; name one with --column: {', '.join(known)}"
        )
