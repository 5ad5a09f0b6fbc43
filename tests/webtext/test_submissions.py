"""Dumps and submissions: every line of every kind of archive is a row or has a reason."""

import bz2
import gzip
import io
import json
import lzma
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from webtext import dumps, sorting
from webtext.counts import Counts
from webtext.dump_tables import read_table_rows
from webtext.dumps import DumpPosition, read_lines
from webtext.errors import SourceError
from webtext.submission_rules import SUBMISSION_REASONS
from webtext.submissions import SubmissionsConfig, read_submissions_dump
from webtext.tables import SUBMISSIONS
from webtext.urls import link_id, link_partition


def _pack_zstd(text: bytes) -> bytes:
    """As published: a window of 2 GiB declared, no content size (RFC 8878, 3.1.1)."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    frame = bytearray(packer.compress(text) + packer.flush())
    frame[5] = (31 - 10) << 3
    return bytes(frame)


PACKERS = {
    ".zst": _pack_zstd,
    ".xz": lambda text: lzma.compress(text, preset=0),
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
    ".jsonl": bytes,
}


def _all_lines(dump: Path) -> list[bytes]:
    return [line for lines in read_lines(dump) for line in lines]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("text", [b"a\nb\n", b"a\n\nb", b"\n", b"\xc3\xa9\n" * 400_000])
def test_lines_come_out_of_every_archive(suffix: str, text: bytes, tmp_path: Path) -> None:
    dump = tmp_path / f"dump{suffix}"
    dump.write_bytes(PACKERS[suffix](text))
    expected = text.split(b"\n")
    assert _all_lines(dump) == (expected if expected[-1] else expected[:-1])


def test_zstd_frames_one_after_the_other_are_one_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump.zst"
    dump.write_bytes(_pack_zstd(b"a\nb") + zstandard.compress(b"c\nd\n"))
    assert _all_lines(dump) == [b"a", b"bc", b"d"]


@pytest.mark.parametrize("suffix", [".zst", ".xz", ".bz2", ".gz"])
@pytest.mark.parametrize("kept", [0.0, 0.6, 0.999])
def test_a_cut_archive_gives_its_lines_then_an_error(
    suffix: str, kept: float, tmp_path: Path
) -> None:
    lines = [b"%d %x" % (number, number**9) for number in range(40_000)]
    packed = PACKERS[suffix](b"\n".join(lines) + b"\n")
    dump = tmp_path / f"dump{suffix}"
    dump.write_bytes(packed[: int(len(packed) * kept)])
    got: list[bytes] = []
    position = DumpPosition()
    with pytest.raises(SourceError) as caught:
        for batch in read_lines(dump, position):
            got += batch
    assert got == lines[: len(got)]
    assert position.row == len(got)
    if kept:
        assert len(got) > 5_000
    message = str(caught.value)
    for part in (str(dump), f"row {len(got):,}", f"byte {position.file_bytes:,}"):
        assert part in message


@pytest.mark.parametrize("suffix", [".zst", ".xz", ".bz2", ".gz"])
def test_garbage_is_refused(suffix: str, tmp_path: Path) -> None:
    dump = tmp_path / f"dump{suffix}"
    dump.write_bytes(b"this is no archive at all" * 10)
    with pytest.raises(SourceError, match="truncated or corrupt"):
        _all_lines(dump)


def test_missing_and_unknown_dumps_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no dump at"):
        _all_lines(tmp_path / "none.zst")
    with pytest.raises(SourceError, match="is a folder"):
        _all_lines(tmp_path)
    (tmp_path / "dump.rar").write_bytes(b"Rar!")
    with pytest.raises(SourceError, match=r"ending in \.zst"):
        _all_lines(tmp_path / "dump.rar")


def test_a_line_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "MAX_LINE_BYTES", 3_000_000)
    dump = tmp_path / "dump.zst"
    dump.write_bytes(_pack_zstd(b"x" * 30_000_000 + b"\nshort\n"))
    first, second = _all_lines(dump)
    assert 3_000_000 <= len(first) < 5_000_000
    assert second == b"short"


def _row(**fields: Any) -> dict[str, Any]:
    return {
        "id": "abc1",
        "url": "http://www.example.com/a",
        "score": 5,
        "created_utc": 1_500_000_000,
        "subreddit": "Python",
        "is_self": False,
        "domain": "example.com",
        "over_18": False,
        "author": "somebody-with-a-name",
    } | fields


def _read(rows: list[Any], tmp_path: Path, **config: Any) -> tuple[list[dict[str, Any]], Counts]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    dump = tmp_path / "dump.jsonl"
    dump.write_bytes(b"".join(line + b"\n" for line in lines))
    destination = tmp_path / "out"
    destination.mkdir(exist_ok=True)
    counts = read_submissions_dump(
        dump=dump, partition=3, destination=destination, config=SubmissionsConfig(**config)
    )
    path = destination / "submissions" / "dump-00003.parquet"
    found = sorted(file for file in destination.rglob("*") if file.is_file())
    assert found == [path]
    table = pq.read_table(path)
    assert table.schema.equals(SUBMISSIONS)
    assert counts.rows_in == len(lines)
    assert counts.rows_out == table.num_rows
    path.unlink()
    return table.to_pylist(), counts


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"score": "12"}, {"karma": 12}),
        ({"score": 12.0}, {"karma": 12}),
        ({"score": -3}, {"karma": -3}),
        ({"created_utc": "1500000000"}, {"created_utc": 1_500_000_000}),
        ({"created_utc": 1500000000.0}, {"created_utc": 1_500_000_000}),
        ({"created_utc": None}, {"created_utc": 0}),
        ({"subreddit": None}, {"subreddit": ""}),
        ({"id": "t3_ABC1"}, {"id": "abc1"}),
        ({"id": None, "name": "t3_xyz9"}, {"id": "xyz9"}),
        ({"id": "", "name": "t3_xyz9"}, {"id": "xyz9"}),
        ({"name": "t3_xyz9"}, {"id": "abc1"}),
        ({"name": 7}, {"id": "abc1"}),
        ({"is_self": None}, {"id": "abc1"}),
        ({"is_self": "false"}, {"id": "abc1"}),
        ({"over_18": None}, {"id": "abc1"}),
        ({"domain": ["odd"]}, {"id": "abc1"}),
        ({"subreddit": "\ud800"}, {"subreddit": "?"}),
        ({"gilded": float("nan")}, {"id": "abc1"}),
        ({"title": "\ud800"}, {"id": "abc1"}),
        ({"url": "http://example.com/?a=1&amp;b=2"}, {"url": "http://example.com/?a=1&b=2"}),
    ],
)
def test_layouts_of_all_years_are_read(
    fields: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    rows, _ = _read([_row(**fields)], tmp_path)
    assert len(rows) == 1
    assert rows[0].items() >= expected.items()


def test_a_row_is_written_whole(tmp_path: Path) -> None:
    rows, _ = _read([_row()], tmp_path, partitions=5)
    assert rows == [
        {
            "partition": link_partition("example.com", 5),
            "link_id": link_id("http://www.example.com/a"),
            "url": "http://www.example.com/a",
            "host": "www.example.com",
            "domain": "example.com",
            "id": "abc1",
            "subreddit": "Python",
            "karma": 5,
            "created_utc": 1_500_000_000,
        }
    ]


@pytest.mark.parametrize(
    ("line", "config", "reason"),
    [
        (b"", {}, "blank_line"),
        (b" \r", {}, "blank_line"),
        (b"nonsense", {}, "broken_json"),
        (b'{"id":"a"', {}, "broken_json"),
        (b"[1]", {}, "broken_json"),
        (b"null", {}, "broken_json"),
        (b"\x00", {}, "broken_json"),
        (b'{"id":"a","url":"\xff","score":3}', {}, "broken_json"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, "broken_json"),
        (_row(is_self=True), {}, "self_post"),
        (_row(is_self="true"), {}, "self_post"),
        (_row(is_self=None, domain="self.Python"), {}, "self_post"),
        (_row(score=None), {}, "missing_field"),
        (_row(score="many"), {}, "missing_field"),
        (_row(score="nan"), {}, "missing_field"),
        (_row(score=True), {}, "missing_field"),
        (_row(score=2**40), {}, "missing_field"),
        (_row(url=None), {}, "missing_field"),
        (_row(url=""), {}, "missing_field"),
        (_row(url=7), {}, "missing_field"),
        (_row(id=None), {}, "missing_field"),
        (_row(id="no/id"), {}, "missing_field"),
        (_row(), {"created_from": date(2017, 7, 15)}, "outside_dates"),
        (_row(), {"created_to": date(2017, 7, 13)}, "outside_dates"),
        (_row(created_utc=None), {"created_to": date(2017, 7, 14)}, "outside_dates"),
        (_row(over_18=True), {"over_18": "drop"}, "over_18"),
        (_row(), {"subreddits_blocked": ("PYTHON",)}, "subreddit"),
        (_row(), {"subreddits_allowed": ("rust",)}, "subreddit"),
        (_row(url="ftp://example.com/"), {}, "not_http"),
        (_row(url="http://a@example.com/"), {}, "url_credentials"),
        (_row(url="https://de.m.wikipedia.org/wiki/A"), {}, "wikipedia"),
        (_row(url="https://commons.wikimedia.org/"), {"strip_wikimedia": True}, "wikipedia"),
        (_row(url="https://old.reddit.com/r/a"), {}, "blocked_domain"),
        (_row(url="https://a.b.example.com/"), {"blocked_domains": ("b.example.com",)},
         "blocked_domain"),
        (_row(url="https://i.imgur.com/abc"), {}, "media"),
        (_row(url="http://example.com/a.JPG?b"), {}, "media"),
        (_row(url="http://example.com/a%2Ezip"), {}, "media"),
    ],
)  # fmt: skip
def test_every_loss_has_its_reason(
    line: Any, config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    rows, counts = _read([line], tmp_path, **config)
    assert rows == []
    assert counts.losses == {reason: 1}
    assert reason in SUBMISSION_REASONS


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"over_18": True}, {}),
        ({}, {"created_from": date(2017, 7, 14), "created_to": date(2017, 7, 14)}),
        ({}, {"subreddits_allowed": ("PYTHON",)}),
        ({"url": "https://commons.wikimedia.org/"}, {}),
        ({"url": "https://notreddit.com/"}, {}),
        ({"url": "https://example.com/a.jpg/b"}, {}),
        ({"url": "https://example.com/?a.jpg"}, {}),
        ({"url": "https://example.com/a.html"}, {}),
        ({"url": "https://midi.example/jpg"}, {}),
    ],
)
def test_what_no_rule_drops_stays(
    fields: dict[str, Any], config: dict[str, Any], tmp_path: Path
) -> None:
    rows, counts = _read([_row(**fields)], tmp_path, **config)
    assert len(rows) == 1
    assert not counts.losses


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.binary(max_size=30), st.dictionaries(
    st.sampled_from(["id", "url", "score", "created_utc", "is_self", "domain", "subreddit"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
)), min_size=1,
            max_size=12))  # fmt: skip
def test_no_line_is_lost_and_none_raises(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any]
) -> None:
    rows = [row.replace(b"\n", b"") if isinstance(row, bytes) else row for row in lines]
    _read(rows, tmp_path_factory.mktemp("dump"))  # asserts that the books balance


def test_rows_are_sorted_and_bytes_do_not_depend_on_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        _row(id=f"{n:x}", url=f"https://www.site{n % 997}.org/{n * 7919 % 30_000}")
        for n in range(40_000)
    ]
    dump = tmp_path / "dump.zst"
    dump.write_bytes(_pack_zstd(b"\n".join(json.dumps(row).encode() for row in rows)))
    contents = []
    for limit in ("1GB", "40MB"):
        monkeypatch.setattr(sorting, "MEMORY_LIMIT", limit)
        destination = tmp_path / limit
        destination.mkdir()
        read_submissions_dump(
            dump=dump, partition=0, destination=destination, config=SubmissionsConfig()
        )
        contents.append((destination / "submissions" / "dump-00000.parquet").read_bytes())
    assert contents[0] == contents[1]
    table = pq.read_table(io.BytesIO(contents[0]), columns=["partition", "link_id", "id"])
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert found == sorted(found)
    assert len(found) == len(rows)


def test_a_cut_dump_leaves_nothing_behind(tmp_path: Path) -> None:
    dump = tmp_path / "dump.zst"
    packed = _pack_zstd(
        b"".join(json.dumps(_row(id=f"{n:x}")).encode() + b"\n" for n in range(9_999))
    )
    dump.write_bytes(packed[:-9])
    destination = tmp_path / "out"
    destination.mkdir()
    with pytest.raises(SourceError, match="Download or copy the file again"):
        read_submissions_dump(
            dump=dump, partition=0, destination=destination, config=SubmissionsConfig()
        )
    assert list(destination.iterdir()) == []


def test_a_cut_dump_gives_what_is_readable_when_told_to_keep_going(tmp_path: Path) -> None:
    rows = [json.dumps(_row(id=f"{n:x}", title=f"{n**9:x}")).encode() for n in range(30_000)]
    packed = _pack_zstd(b"\n".join(rows) + b"\n")
    dump, destination = tmp_path / "dump.zst", tmp_path / "out"
    dump.write_bytes(packed[: len(packed) // 2])
    config = SubmissionsConfig(keep_going=True)
    counts = read_submissions_dump(dump=dump, partition=0, destination=destination, config=config)
    assert 5_000 < counts.rows_out < 29_000
    assert counts.losses == {"unreadable_rest": 1}
    table = pq.read_table(destination / "submissions" / "dump-00000.parquet", columns=["id"])
    assert set(table["id"].to_pylist()) == {f"{n:x}" for n in range(counts.rows_out)}
    with pytest.raises(SourceError, match="there is no dump"):
        read_submissions_dump(
            dump=tmp_path / "none.zst", partition=0, destination=destination, config=config
        )


def test_a_window_of_two_gigabytes_is_read(tmp_path: Path) -> None:
    """A frame that was really packed with it, as by `zstd --long=31`, and refers far back."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters)
    line = json.dumps(_row()).encode() + b"\n"
    packed = packer.compressobj(size=-1)
    dump = tmp_path / "dump.zst"
    dump.write_bytes(packed.compress(line * 100_000) + packed.flush())
    assert zstandard.get_frame_parameters(dump.read_bytes()).window_size == 2**31
    assert sum(map(len, read_lines(dump))) == 100_000


def test_a_parquet_dump_gives_what_the_json_dump_gives(tmp_path: Path) -> None:
    lines = [
        _row(id=f"{n:x}", score=n % 9, url=f"https://site{n % 7}.org/{n}", is_self=n % 5 == 0)
        for n in range(9_000)
    ]
    expected, in_json = _read(lines, tmp_path)
    dump, destination = tmp_path / "dump.parquet", tmp_path / "tables"
    pq.write_table(pa.Table.from_pylist(lines), dump, row_group_size=1_000)
    counts = read_submissions_dump(
        dump=dump, partition=0, destination=destination, config=SubmissionsConfig()
    )
    table = pq.read_table(destination / "submissions" / "dump-00000.parquet")
    assert table.to_pylist() == expected
    assert (counts.rows_in, counts.losses) == (in_json.rows_in, in_json.losses)


def test_parquet_columns_may_be_of_other_types_or_missing(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "url": ["http://a.example/", None, "http://c.example/"],
            "score": pa.array([3.0, 4.0, None]),
            "created_utc": pa.array([1_500_000_000_000] * 3, pa.timestamp("ms", tz="UTC")),
        }
    )
    pq.write_table(table, tmp_path / "dump.parquet")
    counts = read_submissions_dump(
        dump=tmp_path / "dump.parquet",
        partition=0,
        destination=tmp_path,
        config=SubmissionsConfig(),
    )
    (row,) = pq.read_table(tmp_path / "submissions" / "dump-00000.parquet").to_pylist()
    assert (row["id"], row["karma"], row["created_utc"]) == ("a", 3, 1_500_000_000)
    assert counts.losses == {"missing_field": 2}


def test_a_row_may_have_a_name_and_no_id_at_all(tmp_path: Path) -> None:
    named = {name: value for name, value in _row(name="t3_xyz9").items() if name != "id"}
    rows, _counts = _read([named], tmp_path)
    assert rows[0]["id"] == "xyz9"
    pq.write_table(pa.Table.from_pylist([named]), tmp_path / "dump.parquet")
    counts = _read_to(tmp_path / "dump.parquet", tmp_path / "tables", SubmissionsConfig())
    assert counts.rows_out == 1


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("dictionary", [False, True])
def test_text_that_is_no_utf8_costs_its_rows_alone(
    text: pa.DataType, dictionary: bool, tmp_path: Path
) -> None:
    raw = pa.large_binary() if text == pa.large_string() else pa.binary()
    urls = pa.array([b"http://a.example/", b"http://\xff\xfe/", None, b"http://d.example/"], raw)
    column = urls.view(text)
    if dictionary:
        column = column.dictionary_encode()
    table = pa.table({"id": ["a", "b", "c", "d"], "url": column, "score": [5, 5, 5, 5]})
    pq.write_table(table, tmp_path / "dump.parquet")
    counts = _read_to(tmp_path / "dump.parquet", tmp_path / "out", SubmissionsConfig())
    assert (counts.rows_in, counts.rows_out) == (4, 2)
    assert counts.losses == {"missing_field": 2}
    rows = pq.read_table(tmp_path / "out" / "submissions" / "dump-00000.parquet").to_pylist()
    assert {row["id"] for row in rows} == {"a", "d"}


def test_the_byte_reached_of_a_table_is_that_of_the_file(tmp_path: Path) -> None:
    draw = Random(0)
    rows = [
        _row(id=f"{n:x}", url=f"https://a.example/{draw.randbytes(200).hex()}{'x' * 2_000}")
        for n in range(4_000)
    ]
    dump = tmp_path / "dump.parquet"
    pq.write_table(pa.Table.from_pylist(rows), dump, row_group_size=1_000, compression="zstd")
    position, reached = DumpPosition(), set()
    for _row_read in read_table_rows(dump, position):
        reached.add(position.file_bytes)
    quarters = [place / position.file_size for place in sorted(reached)]
    assert quarters == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.1)
    assert position.file_bytes <= position.file_size


def test_a_parquet_dump_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    dump = tmp_path / "dump.parquet"
    pq.write_table(pa.table({"id": ["a"], "url": ["b"]}), dump)
    with pytest.raises(SourceError, match="it has no column score"):
        _read_to(dump, tmp_path / "out", SubmissionsConfig())
    dump.write_bytes(dump.read_bytes()[:-9])
    with pytest.raises(SourceError, match="truncated or corrupt"):
        _read_to(dump, tmp_path / "out", SubmissionsConfig())
    counts = _read_to(dump, tmp_path / "out", SubmissionsConfig(keep_going=True))
    assert (counts.rows_in, counts.losses) == (1, {"unreadable_rest": 1})


def _read_to(dump: Path, destination: Path, config: SubmissionsConfig) -> Counts:
    return read_submissions_dump(dump=dump, partition=0, destination=destination, config=config)


def test_lists_of_domains_block_and_allow(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("# ours\nB.Example\n0.0.0.0 bücher.example\n\n")
    (tmp_path / "allowed.txt").write_text("example # all of it\n")
    urls = [
        "http://a.b.example/",
        "http://xn--bcher-kva.example/",
        "http://c.org/",
        "http://d.example/",
    ]
    dump = tmp_path / "dump.jsonl"
    dump.write_text("".join(json.dumps(_row(url=url)) + "\n" for url in urls))
    counts = read_submissions_dump(
        dump=dump,
        partition=0,
        destination=tmp_path / "out",
        config=SubmissionsConfig(),
        blocked_domains=[tmp_path / "blocked.txt"],
        allowed_domains=[tmp_path / "allowed.txt"],
    )
    assert counts.losses == {"blocked_domain": 2, "not_allowed_domain": 1}
    assert counts.rows_out == 1


def test_no_author_is_ever_written(tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    dump.write_text("".join(json.dumps(_row(id=f"{n:x}", url=f"http://x.org/{n % 3}")) + "\n"
                            for n in range(50)))  # fmt: skip
    _read_to(dump, tmp_path / "out", SubmissionsConfig())
    table = pq.read_table(tmp_path / "out" / "submissions" / "dump-00000.parquet")
    assert table.num_rows == 50
    assert "somebody-with-a-name" not in str(table.to_pylist())


def test_real_dumps_are_read_as_a_plain_json_loop_reads_them(
    real_data: Path, tmp_path: Path
) -> None:
    """Differential: ids of link rows in the two dumps of 2005 that the rules have no word on."""
    for name in ("RS_v2_2005-06.xz", "RS_v2_2005-07.xz"):
        dump = real_data / "real-web" / name
        loose = SubmissionsConfig(media_extensions=(), media_hosts=(), blocked_domains=())
        destination = tmp_path / name
        destination.mkdir()
        counts = read_submissions_dump(
            dump=dump, partition=0, destination=destination, config=loose
        )
        with lzma.open(dump) as file:
            reference = {row["id"]: row for row in map(json.loads, file)}
        assert counts.rows_in == len(reference)
        table = pq.read_table(destination / "submissions" / "dump-00000.parquet").to_pylist()
        assert counts.losses.keys() <= {"wikipedia"}
        for row in table:
            raw = reference[row["id"]]
            assert (raw["score"], raw["created_utc"]) == (row["karma"], row["created_utc"])
            assert raw["subreddit"] == row["subreddit"]
            assert raw["domain"].lower() in row["host"]


def test_the_real_month_is_counted_to_the_last_line(real_data: Path, tmp_path: Path) -> None:
    destination = tmp_path / "out"
    destination.mkdir()
    counts = read_submissions_dump(
        dump=real_data / "real-web" / "RS_2017-09.zst",
        partition=0,
        destination=destination,
        config=SubmissionsConfig(),
    )
    assert counts.rows_in == 3_908
    expected = {"blank_line": 1, "broken_json": 4, "self_post": 600, "wikipedia": 165}
    assert counts.losses.items() >= expected.items()
    table = pq.read_table(destination / "submissions" / "dump-00000.parquet")
    assert "https://strscore.example.com/" in table["url"].to_pylist()
    assert not any(host.endswith("wikipedia.org") for host in table["host"].to_pylist())
