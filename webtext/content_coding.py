"""Content codings of HTTP bodies (gzip, deflate), undone within a limit on size.

A few kilobytes of gzip can stand for gigabytes, so nothing is decompressed beyond the limit.
"""

import zlib

_MAX_CODINGS = 3
"""Codings on top of each other; more is an attack, two occur by mistake."""

_MAX_MEMBERS = 100
"""gzip members in a body; each costs a copy of the rest, so many tiny ones would cost hours."""


class BodyError(Exception):
    """A body that cannot be had as it was meant; `too_large` tells a bomb from damage."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def decode_body(body: bytes, content_encoding: str | None, *, max_bytes: int) -> bytes:
    """The body without its content codings.

    Raises `BodyError` where it would exceed `max_bytes`, is damaged, or the coding is not one that
    we ask for.
    """
    if len(body) > max_bytes:
        raise BodyError(f"body of more than {max_bytes} bytes", too_large=True)
    codings = [name.strip().lower() for name in (content_encoding or "").split(",")]
    codings = [name for name in codings if name not in {"", "identity", "utf-8", "none"}]
    if len(codings) > _MAX_CODINGS:
        raise BodyError(f"{len(codings)} content codings")
    for coding in reversed(codings):
        if coding in {"gzip", "x-gzip"}:
            body = _gunzip(body, max_bytes)
        elif coding == "deflate":
            body = _inflate(body, max_bytes)
        else:
            raise BodyError(f"content coding {coding[:40]!r}")
    return body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """Undo gzip, all members; a body that is none is taken as it is (servers do mislabel)."""
    if body and not body.startswith(b"\x1f\x8b"):
        return body
    pieces: list[bytes] = []
    room = max_bytes
    while body.startswith(b"\x1f\x8b"):
        if len(pieces) == _MAX_MEMBERS:
            raise BodyError(f"more than {_MAX_MEMBERS} gzip members")
        piece, body = _decompress(body, 31, room)
        room -= len(piece)
        pieces.append(piece)
    return b"".join(pieces)


def _inflate(body: bytes, max_bytes: int) -> bytes:
    """Undo deflate, in the zlib wrapper that the standard asks for or bare, as many send it."""
    if not body:
        return body
    wrapped = body[0] & 0x0F == 8 and len(body) > 1 and (body[0] * 256 + body[1]) % 31 == 0
    return _decompress(body, 15 if wrapped else -15, max_bytes)[0]


def _decompress(body: bytes, window: int, max_bytes: int) -> tuple[bytes, bytes]:
    """One compressed stream and what follows it."""
    stream = zlib.decompressobj(window)
    try:
        plain = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BodyError(f"damaged compressed body ({error})") from error
    if len(plain) > max_bytes:
        raise BodyError(f"more than {max_bytes} bytes when decompressed", too_large=True)
    if not stream.eof:
        raise BodyError("compressed body ends early")
    return plain, stream.unused_data
