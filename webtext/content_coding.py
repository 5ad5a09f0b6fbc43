"""Content codings of HTTP bodies (gzip, deflate, br, zstd), undone within limits.

A few kilobytes can stand for gigabytes, so nothing is decompressed beyond the limit on size, nor
beyond a multiple of what was sent. We ask for gzip and deflate only, which every reader of WARC
files can undo; the other two are undone because servers and archives send them all the same.
"""

import zlib

import brotli
import zstandard

_MAX_CODINGS = 3
"""Codings on top of each other; more is an attack, two occur by mistake."""

_MAX_MEMBERS = 100
"""gzip members or zstd frames in a body; each gzip member costs a copy of the rest."""

_FREE_BYTES = 100_000
"""What any body may decompress to, whatever the ratio: short repetitive pages swell most."""

_MAX_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""Largest window of the content coding zstd (RFC 9659, 3)."""

_ZSTD_PIECE_BYTES = 64
"""Bytes decompressed at a time. A block of up to 128 KiB takes 4 bytes or more (RFC 8878,
3.1.1.2), so that at most 2 MiB come out between two looks at the limit."""


class BodyError(Exception):
    """A body that cannot be had as it was meant; `too_large` tells a bomb from damage."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def decode_body(
    body: bytes,
    content_encoding: str | None,
    *,
    max_bytes: int,
    max_ratio: float | None = None,
) -> bytes:
    """The body without its content codings.

    Raises `BodyError` where it would exceed `max_bytes`, or `max_ratio` times what was sent (all
    codings together; the first 100,000 bytes are free), is damaged, or the coding is unknown.
    """
    if len(body) > max_bytes:
        raise BodyError(f"body of more than {max_bytes} bytes", too_large=True)
    codings = [name.strip().lower() for name in (content_encoding or "").split(",")]
    codings = [name for name in codings if name not in {"", "identity", "utf-8", "none"}]
    if len(codings) > _MAX_CODINGS:
        raise BodyError(f"{len(codings)} content codings")
    limit = _Limit(max_bytes, len(body), max_ratio)
    for coding in reversed(codings):
        if coding in {"gzip", "x-gzip"}:
            body = _gunzip(body, limit)
        elif coding == "deflate":
            body = _inflate(body, limit)
        elif coding == "br":
            body = _unbrotli(body, limit)
        elif coding == "zstd":
            body = _unzstd(body, limit)
        else:
            raise BodyError(f"content coding {coding[:40]!r}")
    return body


class _Limit:
    """The most bytes that a body may decompress to, and the error beyond them."""

    def __init__(self, max_bytes: int, sent_bytes: int, max_ratio: float | None) -> None:
        self.bytes = max_bytes
        self.message = f"more than {max_bytes} bytes when decompressed"
        if max_ratio is not None:
            swollen = max(_FREE_BYTES, int(sent_bytes * max_ratio))
            if swollen < max_bytes:
                self.bytes = swollen
                self.message = f"decompresses to more than {max_ratio:g} times its size"

    def check(self, size: int) -> None:
        if size > self.bytes:
            raise BodyError(self.message, too_large=True)


def _gunzip(body: bytes, limit: _Limit) -> bytes:
    """Undo gzip, all members; a body that is none is taken as it is (servers do mislabel)."""
    if body and not body.startswith(b"\x1f\x8b"):
        return body
    pieces: list[bytes] = []
    size = 0
    while body.startswith(b"\x1f\x8b"):
        if len(pieces) == _MAX_MEMBERS:
            raise BodyError(f"more than {_MAX_MEMBERS} gzip members")
        piece, body = _decompress(body, 31, limit, size)
        size += len(piece)
        pieces.append(piece)
    return b"".join(pieces)


def _inflate(body: bytes, limit: _Limit) -> bytes:
    """Undo deflate, in the zlib wrapper that the standard asks for or bare, as many send it."""
    if not body:
        return body
    wrapped = body[0] & 0x0F == 8 and len(body) > 1 and (body[0] * 256 + body[1]) % 31 == 0
    return _decompress(body, 15 if wrapped else -15, limit, 0)[0]


def _decompress(body: bytes, window: int, limit: _Limit, before: int) -> tuple[bytes, bytes]:
    """One zlib stream, after `before` decompressed bytes, and what follows it."""
    stream = zlib.decompressobj(window)
    try:
        plain = stream.decompress(body, limit.bytes - before + 1)
    except zlib.error as error:
        raise BodyError(f"damaged compressed body ({error})") from error
    limit.check(before + len(plain))
    if not stream.eof:
        raise BodyError("compressed body ends early")
    return plain, stream.unused_data


def _unbrotli(body: bytes, limit: _Limit) -> bytes:
    """Undo Brotli (RFC 7932). Its windows end at 16 MiB; the large ones of later are off."""
    if not body:
        return body
    stream = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    try:
        while not stream.is_finished():
            piece = stream.process(body, output_buffer_limit=limit.bytes - size + 1)
            size += len(piece)
            limit.check(size)
            if not piece and stream.can_accept_more_data() and not stream.is_finished():
                raise BodyError("compressed body ends early")
            pieces.append(piece)
            body = b""
    except brotli.error as error:
        raise BodyError("damaged compressed body (brotli)") from error
    return b"".join(pieces)


def _unzstd(body: bytes, limit: _Limit) -> bytes:
    """Undo Zstandard (RFC 8878), all frames."""
    pieces: list[bytes] = []
    size = 0
    place = 0
    try:
        for _ in range(_MAX_MEMBERS):
            frame = zstandard.ZstdDecompressor(
                max_window_size=_MAX_ZSTD_WINDOW_BYTES
            ).decompressobj()
            while place < len(body) and not frame.eof:
                pieces.append(frame.decompress(body[place : place + _ZSTD_PIECE_BYTES]))
                place = min(place + _ZSTD_PIECE_BYTES, len(body)) - len(frame.unused_data)
                size += len(pieces[-1])
                limit.check(size)
            if place == len(body):
                if body and not frame.eof:
                    raise BodyError("compressed body ends early")
                return b"".join(pieces)
    except zstandard.ZstdError as error:
        raise BodyError("damaged compressed body (zstd)") from error
    raise BodyError(f"more than {_MAX_MEMBERS} zstd frames")
