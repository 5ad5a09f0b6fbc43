"""Overwriting a record of a WARC file by a tombstone of the same length.

Other records keep their offsets, so tables that name them stay true. The tombstone is a gzip member
(RFC 1952) of a `metadata` record that says what stood there and why it went; the rest of the
length is the member's comment, which every reader passes over.
"""

import os
import struct
import zlib
from pathlib import Path

from webtext.errors import SourceError

_FCOMMENT = 0x10  # RFC 1952 section 2.3.1
_HEADER = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, _FCOMMENT, 0, 0, 255)
_MARK = "webtext:removed"


def is_tombstone(path: Path, offset: int, length: int) -> bool:
    """Whether the member there is one already. Raises SourceError where the file cannot be read."""
    return _MARK.encode() in _unpack(_read(path, offset, length))


def purge_record(path: Path, offset: int, length: int, *, date: str, reason: str) -> None:
    """Overwrite the gzip member of `length` bytes at `offset`; what it held is gone for good.

    Done again it gives the same bytes, so an interrupted purge is begun anew.

    Raises:
        SourceError: there is no member, or it is too short for a tombstone.
    """
    if not _read(path, offset, 3) == _HEADER[:3]:
        raise SourceError(f"{path} has no gzip member at byte {offset:,}; verify the captures")
    tombstone = _tombstone(length, date, reason)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(tombstone)
        file.flush()
        os.fsync(file.fileno())


def _tombstone(length: int, date: str, reason: str) -> bytes:
    # Characters outside ASCII would not survive in a header; the body is UTF-8.
    body = f"removed on {date}: {reason}\n".encode()
    head = (
        f"WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <{_MARK}>\r\n"
        f"WARC-Date: {date}T00:00:00Z\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    record = head.encode() + body + b"\r\n\r\n"
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(record) + packer.flush()
    trailer = struct.pack("<II", zlib.crc32(record), len(record))
    room = length - len(_HEADER) - 1 - len(packed) - len(trailer)
    if room < 0:
        if reason:
            return _tombstone(length, date, reason[: len(reason) // 2])
        raise SourceError(f"a record of {length} bytes is too short to be overwritten")
    return _HEADER + b" " * room + b"\0" + packed + trailer


def _read(path: Path, offset: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _unpack(member: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(member, 1 << 12)
    except zlib.error:
        return b""
