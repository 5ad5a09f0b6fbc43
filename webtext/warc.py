"""WARC 1.1 records: written with the same bytes every time, read back within limits.

One gzip member a record, so a record is a range of its file and members can be copied in another
order without compressing again. Nothing of a record depends on when or where it was written: the
date is given, the gzip header carries no time, and the record's id is a hash of what it records.
Header lines are cleaned of control characters, so a hostile page cannot forge one.

The body is stored as it was sent, after removal of the transfer coding: a gzip-encoded page stays
so, and `Response.page` decodes it. Fields that no longer fit the stored body are kept under a
`X-Crawler-` name, as Common Crawl does it.
"""

import base64
import hashlib
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import deflate
from fastwarc.warc import ArchiveIterator, WarcRecordType

from webtext.content_coding import decode_body
from webtext.errors import SourceError

HeaderPairs = tuple[tuple[str, str], ...]
"""Header fields in the order sent; a name may occur more than once."""

GZIP_LEVEL = 1
"""libdeflate's level. On 167 real pages (156 KB each) level 1 takes 0.6 ms and leaves 22.3 %, level
6 1.4 ms and 20.5 %; zlib's level 3 takes 1.5 ms and leaves 22.9 %, its level 6 3.2 ms and 20.6 %.
isal's 0.4 ms would be quicker, but what it writes may depend on the processor's instructions."""

REVISIT_PROFILE = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
"""WARC 1.1, 6.7.2."""

MAX_RECORD_HEADER_BYTES = 64 * 1024
"""Longest WARC header block that is read; ours are below 10 KB."""

_HEAD_BYTES = 4 * 1024
"""How much of a record is unpacked at a time to find where its headers end."""

_GZIP_WINDOW = 31
"""zlib's window argument for a gzip member of 32 KiB window."""

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
"""Control characters, line ends and marks of direction, with which a text can pass for another,
and surrogates, which no file can hold."""
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN_URL = re.compile(r"[A-Za-z0-9._%/:=&?~#+,;@-]*")
_URL_SAFE = "%/:=&?~#+!$,;'@()*[]|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A written record: its gzip member and what a table says of it."""

    compressed: bytes
    """The whole gzip member."""
    record_id: str
    """`urn:uuid:…`, without angle brackets."""
    payload_digest: str
    """`sha1:` and the base 32 digest of the body; empty for records without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response as a WARC record holds it."""

    url: str
    date: datetime
    status: int
    reason: str
    headers: HeaderPairs
    payload: bytes
    """The body as stored: transfer coding removed, content coding (gzip) still on."""
    refers_to: tuple[str, int] | None = None
    """Of a revisit record, which has no body: address and timestamp of the capture that has it."""
    digest: str = ""
    """The payload digest that the record states, in lower case; empty where it states none."""

    def header(self, name: str) -> str | None:
        """The first value of a header field, whatever its case; None where it is missing."""
        return first_header(self.headers, name)

    def page(self, *, max_bytes: int) -> bytes:
        """The body without content coding; `BodyError` beyond `max_bytes` or if damaged."""
        return decode_body(self.payload, self.header("content-encoding"), max_bytes=max_bytes)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where a response lies in a WARC file."""

    url: str
    timestamp: int
    """YYYYMMDDhhmmss as a number, as archives write it."""
    offset: int
    length: int


def first_header(headers: HeaderPairs, name: str) -> str | None:
    """The first value of the field `name` in any case; None where it is missing."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


def payload_digest(payload: bytes) -> str:
    """The digest of a body as WARC files state it: `sha1:` and base 32."""
    digest = hashlib.sha1(payload, usedforsecurity=False).digest()
    return "sha1:" + base64.b32encode(digest).decode()


def response_member(
    *,
    url: str,
    date: datetime,
    status: int,
    reason: str,
    headers: HeaderPairs,
    payload: bytes,
    identity: bytes,
    truncated: bool = False,
    gzip_level: int = GZIP_LEVEL,
) -> Member:
    """Write a response record.

    `identity` is what tells this record from others of the same address, time and body (the link
    and the number of the redirect). `truncated` says that the body was left out on purpose.
    """
    digest = payload_digest(payload)
    http = _http_block(status, reason, fit_headers(headers, len(payload)))
    record_id = _record_id(b"response", url.encode(), identity, digest.encode(), http)
    fields = [
        ("WARC-Type", "response"),
        ("WARC-Record-ID", f"<{record_id}>"),
        ("WARC-Date", format_date(date)),
        ("WARC-Target-URI", clean_target(url)),
        ("WARC-Payload-Digest", digest),
        *([("WARC-Truncated", "unspecified")] if truncated else []),
        ("Content-Type", "application/http; msgtype=response"),
    ]
    member = _gzip_record(fields, (http, payload), gzip_level)
    return Member(compressed=member, record_id=record_id, payload_digest=digest)


def revisit_member(
    *, member: bytes, payload_digest: str, refers_to: tuple[str, datetime], gzip_level: int
) -> bytes:
    """The revisit record for a response record whose body another record has already.

    `member` is the response record's gzip member. Its record id, date, address and HTTP fields
    stay; the body goes (WARC 1.1, 6.7.2, profile identical-payload-digest). `refers_to` is the
    address and date of the record with the body.
    """
    head, http = _read_heads(member)
    kept = [
        (name, value)
        for name, value in _parse_fields(head.split(b"\r\n")[1:])
        if name in {"WARC-Record-ID", "WARC-Date", "WARC-Target-URI"}
    ]
    url, date = refers_to
    fields = [
        ("WARC-Type", "revisit"),
        *kept,
        ("WARC-Payload-Digest", payload_digest),
        ("WARC-Profile", REVISIT_PROFILE),
        ("WARC-Refers-To-Target-URI", clean_target(url)),
        ("WARC-Refers-To-Date", format_date(date)),
        ("Content-Type", "application/http; msgtype=response"),
    ]
    return _gzip_record(fields, (http,), gzip_level)


def _read_heads(member: bytes) -> tuple[bytes, bytes]:
    """The WARC and the HTTP header of a response record of ours; its body is not unpacked."""
    gunzip = zlib.decompressobj(_GZIP_WINDOW)
    start = b""
    while start.count(b"\r\n\r\n") < 2 and not gunzip.eof:
        start += gunzip.decompress(gunzip.unconsumed_tail or member, _HEAD_BYTES)
    head, _, block = start.partition(b"\r\n\r\n")
    http, end, _ = block.partition(b"\r\n\r\n")
    return head, http + end


def metadata_member(
    *,
    url: str,
    date: datetime,
    concurrent_to: str,
    fields: Iterable[tuple[str, str]],
    gzip_level: int = GZIP_LEVEL,
) -> Member:
    """Write a metadata record about the record `concurrent_to`: `name: value` lines."""
    block = "".join(f"{clean_name(name)}: {clean_value(value)}\r\n" for name, value in fields)
    record_id = _record_id(b"metadata", concurrent_to.encode(), block.encode())
    header = [
        ("WARC-Type", "metadata"),
        ("WARC-Record-ID", f"<{record_id}>"),
        ("WARC-Date", format_date(date)),
        ("WARC-Target-URI", clean_target(url)),
        ("WARC-Concurrent-To", f"<{concurrent_to}>"),
        ("Content-Type", "application/warc-fields"),
    ]
    member = _gzip_record(header, (block.encode(),), gzip_level)
    return Member(compressed=member, record_id=record_id, payload_digest="")


def warcinfo_member(*, filename: str, date: datetime, fields: Iterable[tuple[str, str]]) -> Member:
    """Write the record that opens a WARC file and says what made it."""
    block = "".join(f"{clean_name(name)}: {clean_value(value)}\r\n" for name, value in fields)
    record_id = _record_id(b"warcinfo", filename.encode(), block.encode())
    header = [
        ("WARC-Type", "warcinfo"),
        ("WARC-Record-ID", f"<{record_id}>"),
        ("WARC-Date", format_date(date)),
        ("WARC-Filename", clean_value(filename)),
        ("Content-Type", "application/warc-fields"),
    ]
    member = _gzip_record(header, (block.encode(),), GZIP_LEVEL)
    return Member(compressed=member, record_id=record_id, payload_digest="")


def read_response(path: Path, offset: int, length: int, *, max_bytes: int) -> Response:
    """Read the response record in `length` bytes at `offset` of a WARC file.

    `max_bytes` bounds the record both as it lies in the file and decompressed. Raises `SourceError`
    where there is no complete response record within the limit.
    """
    where = f"{path}, bytes {offset} to {offset + length}"
    if length > max_bytes:
        raise SourceError(f"{where}: a record of {length} bytes, the limit is {max_bytes}")
    with path.open("rb") as stream:
        stream.seek(offset)
        return parse_response(stream.read(length), max_bytes=max_bytes, where=where)


def read_capture(folder: Path, capture: Mapping[str, Any], *, max_bytes: int) -> Response:
    """Read the response that a row of a captures table names, with its body wherever that lies.

    `folder` is the captures artifact; see `read_response` for `max_bytes` and errors.
    """
    path = folder / capture["warc_file"]
    place = capture["warc_offset"], capture["warc_length"]
    response = read_response(path, *place, max_bytes=max_bytes)
    if response.refers_to is None:
        return response
    place = capture["payload_offset"], capture["payload_length"]
    return replace(response, payload=read_response(path, *place, max_bytes=max_bytes).payload)


def parse_response(member: bytes, *, max_bytes: int, where: str = "WARC record") -> Response:
    """Parse a response record, gzip or plain, given whole; see `read_response`."""
    record = _gunzip(member, max_bytes, where) if member[:2] == b"\x1f\x8b" else member
    head, _, block = record.partition(b"\r\n\r\n")
    lines = head[:MAX_RECORD_HEADER_BYTES].split(b"\r\n")
    if not lines[0].startswith(b"WARC/1."):
        raise SourceError(f"{where}: no WARC record begins here; is the index of another file?")
    fields = _parse_fields(lines[1:])
    declared = _declared_length(fields, where)
    if len(block) < declared:
        raise SourceError(f"{where}: record has {len(block)} of {declared} bytes; file truncated?")
    kind = (first_header(fields, "warc-type") or "").lower()
    if kind == "revisit" and _is_identical(fields):
        refers_to = _parse_reference(fields, where)
        return replace(_parse_http(fields, block[:declared], where), refers_to=refers_to)
    if kind != "response":
        raise SourceError(f"{where}: not a response record")
    return _parse_http(fields, block[:declared], where)


def _is_identical(fields: HeaderPairs) -> bool:
    """Whether a revisit record stands for a body equal to an earlier one."""
    return "identical-payload-digest" in (first_header(fields, "warc-profile") or "")


def _parse_reference(fields: HeaderPairs, where: str) -> tuple[str, int]:
    """Which capture a revisit record refers to; without a date, the latest before its own."""
    url = first_header(fields, "warc-refers-to-target-uri")
    own = first_header(fields, "warc-target-uri") or ""
    date = first_header(fields, "warc-refers-to-date") or first_header(fields, "warc-date") or ""
    return (url or own).strip("<>"), timestamp_of(_parse_date(date, where))


def index_warc(path: Path) -> Iterator[IndexEntry]:
    """Yield every HTTP response of a WARC file with its place, revisits of equal bodies too.

    The file is read once, streaming.

    Raises `SourceError` where the file is missing or is no WARC file.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such WARC file")
    size = path.stat().st_size
    pending: IndexEntry | None = None
    records = 0
    try:
        for record in ArchiveIterator(str(path), WarcRecordType.any_type, parse_http=False):
            records += 1
            if pending is not None:
                yield _ending_at(pending, record.stream_pos)
            pending = _index_entry(record)
    except OSError as error:
        raise SourceError(f"{path}: damaged after {records} records ({error})") from error
    if records == 0 and size > 0:
        raise SourceError(f"{path}: {size} bytes, but no WARC record in them")
    if pending is not None:
        yield _ending_at(pending, size)


def fit_headers(headers: HeaderPairs, stored_bytes: int) -> HeaderPairs:
    """Header fields that describe a stored body; those that no longer fit it are renamed.

    The body has no transfer coding any more, and its length may differ from the one declared.
    """
    fitted: list[tuple[str, str]] = []
    length = str(stored_bytes)
    for name, value in headers:
        low = name.lower()
        if low == "transfer-encoding" or (low == "content-length" and value.strip() != length):
            fitted.append((f"X-Crawler-{name}", value))
        else:
            fitted.append((name, value))
    if first_header(tuple(fitted), "content-length") is None:
        fitted.append(("Content-Length", length))
    return tuple(fitted)


def join_chunks(body: bytes) -> bytes:
    """A body without the chunked transfer coding (RFC 9112, 7.1); one that has none stays."""
    chunks: list[bytes] = []
    at = 0
    while (size := _CHUNK.match(body, at)) is not None:
        start, length = size.end(), int(size[1], 16)
        if length == 0:
            return b"".join(chunks)
        if body[start + length : start + length + 2] != b"\r\n":
            return body
        chunks.append(body[start : start + length])
        at = start + length + 2
    return body


def clean_value(value: str) -> str:
    """A header value or table cell on one line: control characters become one space."""
    return _CONTROL.sub(" ", value).strip()


def clean_name(name: str) -> str:
    """A header name of token characters alone; `X-Invalid` where nothing is left of it."""
    return "".join(_NAME.findall(name)) or "X-Invalid"


def clean_target(url: str) -> str:
    """A URL for a header line: whatever is not printable ASCII is percent-encoded."""
    return url if _PLAIN_URL.fullmatch(url) else quote(url, safe=_URL_SAFE)


def format_date(date: datetime) -> str:
    """A WARC date: UTC, whole seconds."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp_of(date: datetime) -> int:
    """The archive timestamp YYYYMMDDhhmmss of a date, as a number."""
    date = date.astimezone(UTC)
    day = date.year * 10_000 + date.month * 100 + date.day
    return day * 1_000_000 + date.hour * 10_000 + date.minute * 100 + date.second


def pad_timestamp(digits: str) -> int:
    """A timestamp of 1 to 14 digits as one of 14: what is missing is the earliest it may be."""
    return int(digits + "10000101000000"[len(digits) :])


def date_of(timestamp: int) -> datetime:
    """The date of an archive timestamp of 14 digits; `ValueError` where there is no such date."""
    day, time = divmod(timestamp, 1_000_000)
    return datetime(
        day // 10_000,
        day // 100 % 100,
        day % 100,
        time // 10_000,
        time // 100 % 100,
        time % 100,
        tzinfo=UTC,
    )


def _record_id(*parts: bytes) -> str:
    """A name-based UUID (version 5 in form) of length-prefixed parts."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return uuid.UUID(bytes=digest.digest(), version=5).urn


def _http_block(status: int, reason: str, headers: HeaderPairs) -> bytes:
    lines = [f"HTTP/1.1 {status:03d} {clean_value(reason)}"]
    lines += [f"{clean_name(name)}: {clean_value(value)}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _gzip_record(fields: list[tuple[str, str]], block: tuple[bytes, ...], gzip_level: int) -> bytes:
    length = sum(map(len, block))
    lines = [f"{name}: {value}\r\n" for name, value in (*fields, ("Content-Length", str(length)))]
    head = ("WARC/1.1\r\n" + "".join(lines) + "\r\n").encode()
    # Its gzip header has no file name and time 0.
    return bytes(deflate.gzip_compress(b"".join((head, *block, b"\r\n\r\n")), gzip_level))


def _gunzip(member: bytes, max_bytes: int, where: str) -> bytes:
    """The first gzip member, at most `max_bytes` of it."""
    gunzip = zlib.decompressobj(_GZIP_WINDOW)
    try:
        record = gunzip.decompress(member, max_bytes + 1)
    except zlib.error as error:
        raise SourceError(f"{where}: damaged gzip data ({error})") from error
    if len(record) > max_bytes:
        raise SourceError(f"{where}: more than {max_bytes} bytes when decompressed")
    if not gunzip.eof:
        raise SourceError(f"{where}: the gzip member does not end; is the file truncated?")
    return record


def _parse_fields(lines: list[bytes]) -> HeaderPairs:
    """`name: value` lines; folded lines are joined, lines without a colon left out."""
    fields: list[tuple[str, str]] = []
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if text[:1] in {" ", "\t"} and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value} {text.strip()}")
        elif ":" in text:
            name, _, value = text.partition(":")
            fields.append((name.strip(), value.strip()))
    return tuple(fields)


def _declared_length(fields: HeaderPairs, where: str) -> int:
    text = first_header(fields, "content-length") or ""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise SourceError(f"{where}: Content-Length is {text[:40]!r}, not a number of bytes")
    return int(text)


def _parse_http(fields: HeaderPairs, block: bytes, where: str) -> Response:
    lines, payload = _split_http(block)
    version, _, rest = lines[0].decode("latin-1").partition(" ")
    status, _, reason = rest.strip().partition(" ")
    if not version.upper().startswith("HTTP/") or not re.fullmatch("[0-9]{3}", status):
        raise SourceError(f"{where}: no HTTP status line in the record")
    # WARC 1.0 writers put the address in angle brackets, against the standard's intent.
    url = (first_header(fields, "warc-target-uri") or "").strip("<>")
    headers = _parse_fields(lines[1:])
    if "chunked" in (first_header(headers, "transfer-encoding") or "").lower():
        # Some crawlers store what came over the wire; most, and ours, what it meant.
        payload = join_chunks(payload) if payload else payload
        headers = fit_headers(headers, len(payload))
    return Response(
        url=url,
        date=_parse_date(first_header(fields, "warc-date") or "", where),
        status=int(status),
        reason=reason.strip(),
        headers=headers,
        payload=payload,
        digest=(first_header(fields, "warc-payload-digest") or "").lower(),
    )


def _split_http(block: bytes) -> tuple[list[bytes], bytes]:
    """Header lines and body; a bare LF ends a line too, as old servers send it."""
    end = re.search(rb"\r?\n\r?\n", block)
    head, payload = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    return head.split(b"\n"), payload


def _parse_date(text: str, where: str) -> datetime:
    digits = re.sub(r"[^0-9]", "", text)[:14]
    try:
        return date_of(int(digits.ljust(14, "0")))
    except ValueError as error:
        raise SourceError(f"{where}: WARC-Date is {text[:40]!r}, not a date") from error


def _index_entry(record: object) -> IndexEntry | None:
    """The entry of an HTTP response record, its length not yet known; None for other records."""
    headers = record.headers  # type: ignore[attr-defined]
    kind = (headers.get("WARC-Type") or "").lower()
    identical = "identical-payload-digest" in (headers.get("WARC-Profile") or "")
    if kind != "response" and not (kind == "revisit" and identical):
        return None
    url = (headers.get("WARC-Target-URI") or "").strip("<>")
    digits = re.sub(r"[^0-9]", "", headers.get("WARC-Date") or "")[:14]
    if not url.lower().startswith(("http:", "https:")) or len(digits) < 14:
        return None
    return IndexEntry(url, int(digits), record.stream_pos, 0)  # type: ignore[attr-defined]


def _ending_at(entry: IndexEntry, end: int) -> IndexEntry:
    return IndexEntry(entry.url, entry.timestamp, entry.offset, end - entry.offset)
