"""Removals: what is named goes, wherever it is written how; records are overwritten in place."""

import json
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

from tests.webtext.small_web import page, record, write_archive
from webtext.errors import SourceError
from webtext.removals import (
    Removal,
    RemovalsConfig,
    RemovedPages,
    deal_removals,
    make_removal,
    read_removals,
)
from webtext.tables import part_name
from webtext.urls import link_id, link_partition
from webtext.warc_purge import is_tombstone, purge_record

FACTS = {"date": "2026-11-25", "reason": "asked for"}


def test_a_page_is_named_in_any_spelling() -> None:
    removal = make_removal("HTTPS://Example.org:443/a/../b?utm_source=x#y", "url", **FACTS)
    assert removal.url == "https://example.org/b"
    removed = RemovedPages.of([removal])
    assert removed.find(link_id("http://example.org/b"), "example.org") == "2026-11-25: asked for"
    assert removed.find(link_id("http://example.org/c"), "example.org") is None


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reason_is_wanted_and_has_a_length(reason: str) -> None:
    with pytest.raises(SourceError, match="say why in 1 to 500"):
        make_removal("example.org", "domain", date="2026-11-25", reason=reason)


def test_a_domain_takes_the_hosts_below_it() -> None:
    removed = RemovedPages.of([make_removal("Example.ORG", "domain", **FACTS)])
    for host in ("example.org", "www.example.org", "a.b.example.org"):
        assert removed.find(b"x", host)
    for host in ("anexample.org", "example.org.evil.com", "org", ""):
        assert removed.find(b"x", host) is None


def test_a_host_takes_itself_alone() -> None:
    removed = RemovedPages.of([make_removal("blog.example.org", "domain", **FACTS)])
    assert removed.find(b"x", "blog.example.org")
    assert removed.find(b"x", "example.org") is None


@pytest.mark.parametrize(("value", "kind"), [("no url", "url"), ("a b", "domain"), ("", "domain")])
def test_what_is_none_is_refused(value: str, kind: str) -> None:
    with pytest.raises(SourceError, match=f"is no {kind}"):
        make_removal(value, kind, **FACTS)


def test_the_list_is_dealt_as_links_are(tmp_path: Path) -> None:
    removals = [
        make_removal("http://a.example/1", "url", **FACTS),
        make_removal("blog.b.example", "domain", **FACTS),
        make_removal("row://" + "ab" * 32 + "/7", "url", **FACTS),
        make_removal("http://a.example/1", "url", date="2027-01-01", reason="again"),
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(removal.model_dump_json() + "\n" for removal in removals))
    assert read_removals(path) == removals
    counts = deal_removals(
        list_file=path, destination=tmp_path / "out", config=RemovalsConfig(partitions=16)
    )
    assert counts.rows_out == 4
    tables = [
        pq.read_table(tmp_path / "out/removals" / part_name(number)).to_pylist()
        for number in range(16)
    ]
    assert sum(map(len, tables)) == 3
    row = next(r for r in tables[link_partition("a.example", 16)] if r["link_id"])
    assert (row["date"], row["reason"]) == ("2026-11-25", "asked for")
    assert row["url"] == "http://a.example/1"
    removed = RemovedPages.read(tmp_path / "out", link_partition("b.example", 16))
    assert removed.find(b"x", "blog.b.example")
    row_url = removals[2].url or ""
    assert RemovedPages.read(tmp_path / "out", link_partition(row_url, 16)).find(
        link_id(row_url), ""
    )


@pytest.mark.parametrize(
    "line", ["{", '{"date":"2026-11-25","reason":"x"}', '{"date":"soon","reason":"x","url":"u"}']
)
def test_a_damaged_list_names_its_line(tmp_path: Path, line: str) -> None:
    good = Removal(url="http://a.example/", **FACTS).model_dump_json()
    (tmp_path / "list").write_text(f"{good}\n{line}\n")
    with pytest.raises(SourceError, match="line 2 of .* is no removal"):
        read_removals(tmp_path / "list")


def members(path: Path) -> list[tuple[int, int]]:
    data, offset, found = path.read_bytes(), 0, []
    while offset < len(data):
        unpacker = zlib.decompressobj(wbits=31)
        unpacker.decompress(data[offset:])
        length = len(data) - offset - len(unpacker.unused_data)
        found.append((offset, length))
        offset += length
    return found


def test_a_record_becomes_a_tombstone_of_its_length(tmp_path: Path) -> None:
    urls = [f"http://h{number}.example/" for number in range(3)]
    path = write_archive(
        tmp_path / "a.warc.gz", [record(url, page(f"secret of {url}")) for url in urls]
    )
    before, places = path.read_bytes(), members(path)
    offset, length = places[1]
    for _ in range(2):  # again gives the same
        purge_record(path, offset, length, date="2026-11-25", reason="asked für")
    after = path.read_bytes()
    assert members(path) == places
    assert after[:offset] == before[:offset]
    assert after[offset + length :] == before[offset + length :]
    assert [is_tombstone(path, *place) for place in places] == [False, True, False]
    assert b"secret of http://h1" not in zlib.decompress(after[offset : offset + length], wbits=31)
    with path.open("rb") as file:
        records = [
            (
                one.rec_type,
                one.rec_headers.get_header("WARC-Target-URI"),
                one.content_stream().read(),
            )
            for one in ArchiveIterator(file)
        ]
    assert [url for _, url, _ in records] == [urls[0], None, urls[2]]
    assert records[1][0] == "metadata"
    assert records[1][2].decode() == "removed on 2026-11-25: asked für\n"


def test_a_place_without_a_record_is_left(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.warc.gz", [record("http://a.example/", page("x"))])
    before = path.read_bytes()
    with pytest.raises(SourceError, match="no gzip member at byte 5"):
        purge_record(path, 5, 100, date="2026-11-25", reason="x")
    with pytest.raises(SourceError, match="too short"):
        purge_record(path, 0, 60, date="2026-11-25", reason="x")
    assert path.read_bytes() == before


def test_the_list_is_plain_json_lines() -> None:
    removal = Removal(domain="a.example", copy_of=None, **FACTS)
    assert json.loads(removal.model_dump_json(exclude_none=True)) == {
        "date": "2026-11-25", "reason": "asked for", "domain": "a.example",
    }  # fmt: skip
