"""WARC records: equal bytes, foreign readers, hostile headers, limits."""

import gzip
import logging
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from webtext.content_coding import BodyError, decode_body
from webtext.errors import SourceError
from webtext.warc import (
    Member,
    date_of,
    fit_headers,
    index_warc,
    metadata_member,
    parse_response,
    read_response,
    response_member,
    timestamp_of,
    warcinfo_member,
)

DATE = datetime(2017, 9, 1, 12, 30, 5, tzinfo=UTC)
LIMIT = 1_000_000


def write(**changes: Any) -> Member:
    fields: dict[str, Any] = {
        "url": "http://a.example/page?x=1",
        "date": DATE,
        "status": 200,
        "reason": "OK",
        "headers": (("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")),
        "payload": b"<p>hello</p>",
        "identity": b"1",
    }
    return response_member(**(fields | changes))


def write_file(path: Path) -> list[Member]:
    response = write()
    members = [
        warcinfo_member(filename=path.name, date=DATE, fields=[("software", "tests")]),
        response,
        metadata_member(
            url="http://a.example/page?x=1",
            date=DATE,
            concurrent_to=response.record_id,
            fields=[("link-id", "ab")],
        ),
        write(url="https://b.example/", date=datetime(2018, 1, 2, tzinfo=UTC)),
    ]
    path.write_bytes(b"".join(member.compressed for member in members))
    return members


def test_equal_records_have_equal_bytes_and_others_another_id() -> None:
    assert write() == write()
    others = [write(identity=b"2"), write(url="http://b.example/"), write(payload=b"")]
    assert len({record.record_id for record in [write(), *others]}) == 4
    assert write().compressed[4:8] == bytes(4), "the gzip header carries a time"


def test_foreign_readers_read_our_files_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.warc.gz"
    write_file(path)
    with caplog.at_level(logging.WARNING), path.open("rb") as stream:
        seen = [(r.rec_type, r.content_stream().read()) for r in ArchiveIterator(stream)]
    page = ("response", b"<p>hello</p>")
    assert seen == [
        ("warcinfo", b"software: tests\r\n"),
        page,
        ("metadata", b"link-id: ab\r\n"),
        page,
    ]
    fast = [(r.headers["WARC-Type"], r.reader.read()) for r in FastIterator(str(path))]
    assert fast == seen
    with path.open("rb") as stream:
        assert all(r.verify_payload_digest() for r in FastIterator(stream) if r.is_http)
    checker = Checker(type("Arguments", (), {"verbose": False, "inputs": [str(path)]})())
    checker.process_all()
    assert checker.exit_value == 0
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def test_index_finds_each_response_and_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.warc.gz"
    members = write_file(path)
    entries = list(index_warc(path))
    assert [entry.url for entry in entries] == ["http://a.example/page?x=1", "https://b.example/"]
    assert [entry.timestamp for entry in entries] == [20170901123005, 20180102000000]
    for entry, member in zip(entries, (members[1], members[3]), strict=True):
        assert entry.length == len(member.compressed)
        read = read_response(path, entry.offset, entry.length, max_bytes=LIMIT)
        assert (read.url, read.payload, read.status) == (entry.url, b"<p>hello</p>", 200)
        assert timestamp_of(read.date) == entry.timestamp


def test_reads_what_others_wrote(real_data: Path) -> None:
    path = real_data / "real-web" / "pages.warc.gz"
    entries = list(index_warc(path))
    assert len(entries) == 1335
    records = FastIterator(str(path), parse_http=True)
    for number, record in zip(range(60), records, strict=False):
        entry = entries[number]
        ours = read_response(path, entry.offset, entry.length, max_bytes=20 * LIMIT)
        assert ours.payload == record.reader.read()
        assert ours.url == record.headers["WARC-Target-URI"]
        assert dict(ours.headers) == record.http_headers.asdict()


def test_reads_a_plain_file_with_bare_line_ends_in_the_http_part(tmp_path: Path) -> None:
    http = b"HTTP/1.0 404\nX: 1\n\nbody"
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: <http://a.example/>\r\n"
        f"WARC-Date: 2017-09-01T00:00:00.123Z\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    path = tmp_path / "plain.warc"
    path.write_bytes(head.encode() + http + b"\r\n\r\n")
    (entry,) = index_warc(path)
    read = read_response(path, entry.offset, entry.length, max_bytes=LIMIT)
    assert (read.url, read.status, read.payload) == ("http://a.example/", 404, b"body")
    assert read.headers == (("X", "1"),)


@settings(deadline=None, max_examples=60)
@given(
    url=st.text(max_size=60),
    reason=st.text(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=6),
    payload=st.binary(max_size=400),
)
def test_hostile_text_stays_on_its_line(
    url: str, reason: str, headers: list[tuple[str, str]], payload: bytes
) -> None:
    member = write(url=url, reason=reason, headers=tuple(headers), payload=payload)
    record = gzip.decompress(member.compressed)
    warc_head, _, rest = record.partition(b"\r\n\r\n")
    assert len(warc_head.split(b"\r\n")) == 8, "a WARC field was forged"
    http_head, _, body = rest.partition(b"\r\n\r\n")
    assert body == payload + b"\r\n\r\n"
    assert not set(http_head.replace(b"\r\n", b"")) & set(b"\r\n\0")
    read = parse_response(member.compressed, max_bytes=LIMIT)
    assert read.payload == payload
    declared = [value for name, value in read.headers if name.lower() == "content-length"]
    assert declared == [str(len(payload))] * len(declared)


def test_fields_that_do_not_fit_the_stored_body_are_renamed() -> None:
    headers = (("Transfer-Encoding", "chunked"), ("content-length", "99"), ("X", "1"))
    assert fit_headers(headers, 3) == (
        ("X-Crawler-Transfer-Encoding", "chunked"),
        ("X-Crawler-content-length", "99"),
        ("X", "1"),
        ("Content-Length", "3"),
    )
    assert fit_headers(fit_headers(headers, 3), 3) == fit_headers(headers, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda member: member[:-20], "does not end"),
        (lambda member: member[:40] + b"\xff\xff\xff" + member[43:], "damaged gzip"),
        (lambda _: b"<html>no record</html>", "no WARC record begins here"),
        (lambda member: gzip.compress(gzip.decompress(member)[:-30]), "truncated"),
        (
            lambda member: gzip.compress(
                gzip.decompress(member).replace(b"Length: 1", b"Length: -")
            ),
            "not a number",
        ),
    ],
)
def test_a_damaged_record_is_one_clear_error(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "damaged.warc.gz"
    content = damage(write().compressed)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_response(path, 0, len(content), max_bytes=LIMIT)


def test_a_record_that_decompresses_beyond_the_limit_is_refused() -> None:
    member = write(payload=bytes(5_000_000))
    assert len(member.compressed) < 30_000
    with pytest.raises(SourceError, match="more than 1000000 bytes"):
        parse_response(member.compressed, max_bytes=LIMIT)


def test_a_file_that_is_no_warc_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<html>" * 100)
    with pytest.raises(SourceError, match=r"page\.html"):
        list(index_warc(path))
    with pytest.raises(SourceError, match="no such"):
        list(index_warc(tmp_path / "missing.warc.gz"))


@settings(deadline=None, max_examples=60)
@given(body=st.binary(max_size=3000))
def test_content_codings_are_undone(body: bytes) -> None:
    bare = zlib.compressobj(wbits=-15)
    raw_deflate = bare.compress(body) + bare.flush()
    for coding, encoded in [
        (None, body),
        ("gzip", gzip.compress(body)),
        ("X-GZIP", gzip.compress(body[:7]) + gzip.compress(body[7:])),
        ("deflate", zlib.compress(body)),
        ("deflate, gzip", gzip.compress(zlib.compress(body))),
    ]:
        assert decode_body(encoded, coding, max_bytes=5000) == body
    assert decode_body(raw_deflate, "deflate", max_bytes=5000) == body


@pytest.mark.parametrize(
    ("body", "coding", "too_large"),
    [
        (gzip.compress(bytes(2_000_000)), "gzip", True),
        (gzip.compress(gzip.compress(bytes(50_000_000))), "gzip, gzip", True),
        (zlib.compress(bytes(2_000_000)), "deflate", True),
        (bytes(LIMIT + 1), None, True),
        (gzip.compress(b"abc")[:-4], "gzip", False),
        (gzip.compress(b"") * 2000, "gzip", False),
        (b"abc", "br", False),
        (b"abc", "gzip, gzip, gzip, gzip", False),
    ],
)
def test_bombs_and_damage_are_told_apart(body: bytes, coding: str, too_large: bool) -> None:
    with pytest.raises(BodyError) as caught:
        decode_body(body, coding, max_bytes=LIMIT)
    assert caught.value.too_large == too_large


def test_timestamps_and_dates_are_inverse() -> None:
    assert timestamp_of(date_of(20170901123005)) == 20170901123005
    with pytest.raises(ValueError, match="month must be"):
        date_of(20171301000000)
