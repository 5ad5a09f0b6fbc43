"""The rows of a corpus that somebody made before: files of Parquet or JSON lines.

JSON lines may be packed as dumps are (`webtext.dumps`). A row's fields are named by columns;
`meta.url` means the field `url` of the object `meta`. A row is known by its number in its file,
counted from 0, blank and broken lines included.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from webtext.dump_tables import is_table
from webtext.dumps import MAX_LINE_BYTES, DumpPosition, read_lines
from webtext.errors import SourceError

_BATCH_ROWS = 1_000

Row = dict[str, Any]
"""The values of the columns asked for; those that a row lacks are absent or None."""


def read_rows(
    file: Path, columns: Sequence[str], position: DumpPosition
) -> Iterator[list[Row | str]]:
    """Yield the rows of a file in batches: each its fields, or the reason why it has none.

    Reasons are `blank_line`, `line_too_long` and `broken_json`. `position` is brought up to date
    before each batch; its `row` is then the number of the batch's last row plus one.

    Raises:
        SourceError: the file is missing, of another kind, damaged, or a Parquet table that has none
            of the columns.
    """
    if is_table(file):
        yield from _read_table(file, columns, position)
        return
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for lines in read_lines(file, position):
        yield [_read_line(line, columns, decode) for line in lines]


def _read_line(line: bytes, columns: Sequence[str], decode: Any) -> Row | str:
    if not line or line.isspace():
        return "blank_line"
    if len(line) >= MAX_LINE_BYTES:
        return "line_too_long"
    try:
        fields = decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "broken_json"
    return {column: _find(fields, column) for column in columns}


def _find(value: Any, column: str) -> Any:
    """The field that a name leads to; a name with dots in it may also be a field's own."""
    if isinstance(value, dict) and column in value:
        return value[column]
    first, _, rest = column.partition(".")
    if not rest or not isinstance(value, dict):
        return None
    return _find(value.get(first), rest)


def _read_table(
    file: Path, columns: Sequence[str], position: DumpPosition
) -> Iterator[list[Row | str]]:
    if not file.is_file():
        raise SourceError(f"there is no file {file}; check the path")
    position.file_size = file.stat().st_size
    try:
        with pq.ParquetFile(file) as table:
            roots = _roots(file, table.schema_arrow, columns)
            rows = table.metadata.num_rows
            for batch in table.iter_batches(_BATCH_ROWS, columns=roots):
                position.row += batch.num_rows
                position.file_bytes = position.file_size * position.row // max(rows, 1)
                yield [
                    {column: _find(fields, column) for column in columns}
                    for fields in _plain_rows(batch)
                ]
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{file} is truncated or corrupt: reading stopped after row {position.row:,}: {error}. "
            "Download or copy the file again and compare its checksum.",
            damaged=True,
        ) from error


def _roots(file: Path, schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """The columns of a table that hold the fields asked for.

    Raises:
        SourceError: the first of them, the text, is not there.
    """
    found = []
    for column in columns:
        root = column if column in schema.names else column.partition(".")[0]
        if root in schema.names and root not in found:
            found.append(root)
    text = columns[0]
    if text not in found and text.partition(".")[0] not in found:
        raise SourceError(
            f"{file} has no column {text}; it has {', '.join(schema.names[:20])}. Name the one "
            "that holds the texts with --set rows.text_column=NAME"
        )
    return found


def _plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A batch as dictionaries; a text that is no UTF-8 counts as absent."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        rows = []
        for row in range(batch.num_rows):
            fields = {}
            for name in batch.schema.names:
                try:
                    fields[name] = batch.column(name)[row].as_py()
                except UnicodeDecodeError:
                    fields[name] = None
            rows.append(fields)
        return rows
