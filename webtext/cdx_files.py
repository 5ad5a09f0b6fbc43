"""Looks up addresses in sorted index files on disk, by binary search: nothing is read in full.

Two kinds: a plain `.cdx` or `.cdxj`, and Common Crawl's two-level index, a `cluster.idx` whose
lines (`urlkey timestamp TAB file TAB offset TAB length TAB ...`) name gzip blocks of about 3,000
lines in the `cdx-NNNNN.gz` files beside it.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from webtext.cdx import DEFAULT_COLUMNS, CdxEntry, parse_line, read_columns, surt_key
from webtext.errors import SourceError

CLUSTER_NAME = "cluster.idx"
MAX_LINE_BYTES = 64 * 1024
_SCANNED_BYTES = 16 * 1024
"""What is left of a file's range when it is read through instead of halved."""
MAX_BLOCK_BYTES = 64 * 1024 * 1024
"""Largest block of a two-level index, unpacked; Common Crawl's have about 1 MB."""


class CdxIndex(Protocol):
    """What can be asked for the captures of an address."""

    def captures(self, url: str) -> Iterator[CdxEntry]:
        """All captures under the urlkey of `url`, which may be of other addresses too."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def open_index(path: Path) -> CdxIndex:
    """An index file; `SourceError` where it is missing or of a kind that cannot be searched."""
    if not path.is_file():
        raise SourceError(f"{path}: no such index file")
    if path.name.endswith(CLUSTER_NAME):
        return ClusterIndex(path)
    if path.suffix.lower() not in {".cdx", ".cdxj"}:
        raise SourceError(
            f"{path}: expected an unpacked .cdx or .cdxj, or the {CLUSTER_NAME} of a two-level "
            "index; unpack a .gz first"
        )
    return PlainIndex(path)


class PlainIndex:
    """A sorted `.cdx` or `.cdxj`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        first = self._file.readline(MAX_LINE_BYTES).decode("utf-8", "replace")
        self._columns = read_columns(first) or DEFAULT_COLUMNS

    def captures(self, url: str) -> Iterator[CdxEntry]:
        """See `CdxIndex`."""
        key = surt_key(url).encode() + b" "
        lines = _lines_from(self._file, find_line(self._file, key))
        return _entries_with(key, lines, self._columns)

    def close(self) -> None:
        """See `CdxIndex`."""
        self._file.close()


class ClusterIndex:
    """A two-level index."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")

    def captures(self, url: str) -> Iterator[CdxEntry]:
        """See `CdxIndex`."""
        key = surt_key(url).encode() + b" "
        return _entries_with(key, self._lines(key), DEFAULT_COLUMNS)

    def close(self) -> None:
        """See `CdxIndex`."""
        self._file.close()

    def _lines(self, key: bytes) -> Iterator[bytes]:
        """The lines from the first block that may hold `key` on."""
        # A block's line has its first key: what is sought may begin in the block before.
        start = find_line(self._file, key, before=True)
        for number, line in enumerate(_lines_from(self._file, start)):
            if number and line > key and not line.startswith(key):
                return
            yield from self._read_block(line)

    def _read_block(self, line: bytes) -> list[bytes]:
        try:
            _, name, offset, length, *_ = line.split(b"\t")
            path = self._path.with_name(Path(name.decode()).name)
            with path.open("rb") as file:
                file.seek(int(offset))
                unpacker = zlib.decompressobj(31)
                block = unpacker.decompress(file.read(int(length)), MAX_BLOCK_BYTES)
        except (ValueError, OSError, zlib.error) as error:
            raise SourceError(f"{self._path}: a block cannot be read ({error})") from error
        if not unpacker.eof:
            raise SourceError(
                f"{path}: the block at byte {int(offset):,} is cut short, or larger than "
                f"{MAX_BLOCK_BYTES:,} bytes; download the file again"
            )
        return block.splitlines(keepends=True)


def find_line(file: BinaryIO, key: bytes, *, before: bool = False) -> int:
    """Where the first line that is not below `key` starts, or with `before` the line before it.

    Lines are compared as bytes. Reads two lines for each halving of the file.
    """
    # A line starts at `low`, and none before it reaches the key; all that start from `high` on do.
    low, high = 0, file.seek(0, 2)
    while high - low > _SCANNED_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        start = middle + len(file.readline(MAX_LINE_BYTES))
        line = file.readline(MAX_LINE_BYTES)
        if line and start < high and line < key:
            low = start
        else:
            high = middle + 1
    file.seek(low)
    previous = low
    while (line := file.readline(MAX_LINE_BYTES)) and line < key:
        previous, low = low, low + len(line)
    return previous if before else low


def _lines_from(file: BinaryIO, start: int) -> Iterator[bytes]:
    file.seek(start)
    while line := file.readline(MAX_LINE_BYTES):
        yield line


def _entries_with(
    key: bytes, lines: Iterator[bytes], columns: tuple[str, ...]
) -> Iterator[CdxEntry]:
    """The captures on the lines that start with `key`, which follow each other."""
    for line in lines:
        if line.startswith(key):
            entry = parse_line(line.decode("utf-8", "replace"), columns)
            if entry is not None:
                yield entry
        elif line > key:
            return
