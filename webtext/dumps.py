"""The lines of a submissions dump, whatever packed it, in bounded memory.

Real dumps are JSON lines in `.zst` (with a window of up to 2 GiB, which the decompressor must be
allowed and may then use), `.xz`, `.bz2` or `.gz`, or plain. Bytes are split at line feeds before
anything decodes them, so no character is cut; a line over `MAX_LINE_BYTES` is passed on cut short,
so that it is counted as the broken row it is. A truncated or corrupt archive gives every line that
can be read, then a `SourceError` that says how far it came.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from webtext.errors import SourceError

MAX_LINE_BYTES = 16 * 2**20
"""Over the longest submission on record (a self post of 40,000 characters, all escaped) by far."""

MAX_WINDOW_BYTES = 2**31
"""The window that the published dumps declare (`zstd --long=31`)."""

_CHUNK_BYTES = 2**20
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError)


@dataclass
class DumpPosition:
    """How far the reading of a dump has come."""

    row: int = 0
    """Lines handed out, blank ones included."""
    text_bytes: int = 0
    """Bytes of text after decompression."""
    file_bytes: int = 0
    """Bytes read of the file itself; compare with `file_size` for progress."""
    file_size: int = 0
    """Bytes of the file."""


def read_lines(dump: Path, position: DumpPosition | None = None) -> Iterator[list[bytes]]:
    """Yield the lines of `dump` in batches of about a megabyte, without line ends.

    Blank lines are handed out too; what follows the last line feed is a line if it is not empty.
    `position` is brought up to date before each batch. Raises SourceError if the file is missing,
    of an unknown kind, truncated or corrupt, after the lines before that point.
    """
    position = position if position is not None else DumpPosition()
    try:
        with dump.open("rb") as file:
            position.file_size = dump.stat().st_size
            yield from _split_lines(_read_chunks(dump, file, position), position)
    except FileNotFoundError as error:
        raise SourceError(f"there is no dump at {dump}: give the path of a dump file") from error
    except IsADirectoryError as error:
        raise SourceError(f"{dump} is a folder: give the path of a dump file in it") from error


def _split_lines(chunks: Iterator[bytes], position: DumpPosition) -> Iterator[list[bytes]]:
    """Cut at line feeds alone; a failing source still gives up its whole lines first."""
    rest: list[bytes] = []
    rest_bytes = 0
    for chunk in chunks:
        lines = chunk.split(b"\n")
        if rest_bytes < MAX_LINE_BYTES:
            rest.append(lines[0][: MAX_LINE_BYTES - rest_bytes])
            rest_bytes += len(rest[-1])
        if len(lines) == 1:
            continue
        lines[0] = b"".join(rest)
        rest = [lines.pop()]
        rest_bytes = len(rest[0])
        position.row += len(lines)
        yield lines
    if rest_bytes:
        position.row += 1
        yield [b"".join(rest)]


def _read_chunks(dump: Path, file: BinaryIO, position: DumpPosition) -> Iterator[bytes]:
    try:
        with closing(_open_text(dump, file, position.file_size)) as text:
            # read1 hands on what is decoded, where read would lose it to a fault further on.
            while chunk := text.read1(_CHUNK_BYTES):
                position.text_bytes += len(chunk)
                position.file_bytes = min(file.tell(), position.file_size)
                yield chunk
    except _BROKEN as error:
        position.file_bytes = min(file.tell(), position.file_size)
        raise SourceError(_describe_break(dump, position, error)) from error


class _Text(Protocol):
    """What the decompressing readers have in common."""

    def read1(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


def _open_text(dump: Path, file: BinaryIO, size: int) -> _Text:
    suffix = dump.suffix.lower()
    if suffix not in _OPENERS:
        known = ", ".join(known for known in _OPENERS if known)
        raise SourceError(f"{dump} is no dump by its name: expected one ending in {known}")
    if size == 0:
        raise EOFError("the file is empty")
    return _OPENERS[suffix](file)


class _ZstdText:
    """Reads zstd frames one after the other and knows a cut frame from a finished one.

    The library's bounded reader ends quietly where a frame is cut short. So a small frame of our
    own is read after the file's last byte: its text comes out at the end only if every frame
    before it was whole.
    """

    _SEAL = bytes.fromhex("00ff5ea10d00ff5ea10d00ff5ea10d00")

    def __init__(self, file: BinaryIO) -> None:
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        self._file = file
        self._seal_frame = compressor.compress(self._SEAL)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._reader = decompressor.stream_reader(
            self,  # type: ignore[arg-type]
            read_across_frames=True,
            closefd=False,
        )
        self._held = b""

    def read(self, size: int) -> bytes:
        """Packed bytes, for the decompressor: the file's, then the seal's."""
        packed = self._file.read(size)
        if not packed:
            packed, self._seal_frame = self._seal_frame, b""
        return packed

    def read1(self, size: int, /) -> bytes:
        while chunk := self._reader.read1(size):
            text = self._held + chunk
            self._held = text[-len(self._SEAL) :]
            if len(text) > len(self._SEAL):
                return text[: -len(self._SEAL)]
        if self._held != self._SEAL:
            raise EOFError("the last zstd frame has no end")
        return b""

    def close(self) -> None:
        self._reader.close()  # type: ignore[no-untyped-call]


_OPENERS: dict[str, Callable[[BinaryIO], _Text]] = {
    ".zst": _ZstdText,
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".jsonl": io.BufferedReader,  # type: ignore[dict-item]
    ".ndjson": io.BufferedReader,  # type: ignore[dict-item]
    ".json": io.BufferedReader,  # type: ignore[dict-item]
    "": io.BufferedReader,  # type: ignore[dict-item]
}
"""How to read each kind; dumps of old were also handed round unpacked, without an ending."""


def _describe_break(dump: Path, position: DumpPosition, error: BaseException) -> str:
    return (
        f"{dump} is truncated or corrupt: reading stopped at byte {position.file_bytes:,} of "
        f"{position.file_size:,}, after row {position.row:,} ({position.text_bytes:,} bytes of "
        f"text): {error}. Download or copy the file again and compare its checksum."
    )
