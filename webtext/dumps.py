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

_CHUNK_BYTES = 2**17  # small enough to stay in the processor's cache: twice as fast as 2**20
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


def read_blocks(dump: Path, position: DumpPosition | None = None) -> Iterator[bytes]:
    """Yield the text of `dump` in blocks of whole lines, of about a megabyte each.

    Every block ends with a line feed; only the last may lack it. `position` is brought up to date
    before each but for its `row`: whoever takes blocks apart counts lines, and tells. Raises
    SourceError if the file is missing, of an unknown kind, truncated or corrupt, after the lines
    before that point.
    """
    position = position if position is not None else DumpPosition()
    try:
        with dump.open("rb") as file:
            position.file_size = dump.stat().st_size
            yield from _read_blocks(dump, file, position)
    except FileNotFoundError as error:
        raise SourceError(f"there is no dump at {dump}: give the path of a dump file") from error
    except IsADirectoryError as error:
        raise SourceError(f"{dump} is a folder: give the path of a dump file in it") from error


def read_lines(dump: Path, position: DumpPosition | None = None) -> Iterator[list[bytes]]:
    """Yield the lines of each block of `read_blocks`, without line ends, blank ones too."""
    position = position if position is not None else DumpPosition()
    for block in read_blocks(dump, position):
        lines = block.removesuffix(b"\n").split(b"\n")
        position.row += len(lines)
        yield lines


def _read_blocks(dump: Path, file: BinaryIO, position: DumpPosition) -> Iterator[bytes]:
    try:
        with closing(_open_text(dump, file, position.file_size)) as text:
            yield from _cut_blocks(text, file, position)
    except _BROKEN as error:
        position.file_bytes = min(file.tell(), position.file_size)
        raise SourceError(_describe_break(dump, position, error), damaged=True) from error


def _cut_blocks(text: "_Text", file: BinaryIO, position: DumpPosition) -> Iterator[bytes]:
    """Cut the text at line feeds alone; the start of a line waits for its end."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    # read1 hands on what is decoded, where read would lose it to a fault further on.
    while chunk := text.read1(_CHUNK_BYTES):
        position.text_bytes += len(chunk)
        position.file_bytes = min(file.tell(), position.file_size)
        end = chunk.find(b"\n") if waiting_bytes >= MAX_LINE_BYTES else chunk.rfind(b"\n")
        if waiting_bytes >= MAX_LINE_BYTES:
            # An over-long line: what is beyond the limit is left out, its end is looked for.
            if end < 0:
                continue
            waiting.append(b"\n")
            yield b"".join(waiting)
            chunk = chunk[end + 1 :]
            waiting, waiting_bytes = [], 0
            end = chunk.rfind(b"\n")
        if end >= 0:
            yield b"".join([*waiting, chunk[: end + 1]])
            waiting, waiting_bytes = [], 0
        waiting.append(chunk[end + 1 :])
        waiting_bytes += len(waiting[-1])
    if waiting_bytes:
        yield b"".join(waiting)


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
        seal_bytes = len(self._SEAL)
        while chunk := self._reader.read1(size):
            if len(chunk) < seal_bytes:  # only near the end
                chunk, self._held = self._held + chunk, b""
            # The last bytes wait, for they may be the seal's.
            text = b"".join((self._held, memoryview(chunk)[:-seal_bytes]))
            self._held = chunk[-seal_bytes:]
            if text:
                return text
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
