"""The compiled scanner gives what the reader of single lines gives, for every line there may be."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

# ruff: noqa: E501  lists of samples
from webtext import submission_columns
from webtext.dumps import read_blocks
from webtext.submission_columns import LineReader
from webtext.submission_rules import DomainLists, Rules, SubmissionsConfig

CONFIG = SubmissionsConfig(
    over_18="drop", subreddits_blocked=("Blocked",), created_to="2017-12-31", partitions=7
)
ROW = {
    "id": "abc1", "url": "http://www.example.com/a?b=c", "score": 5, "created_utc": 1_500_000_000,
    "subreddit": "Python", "is_self": False, "domain": "example.com", "over_18": False,
}  # fmt: skip

needs_scanner = pytest.mark.skipif(
    submission_columns.Scanner is None, reason="installed without a compiler: there is no scanner"
)


def read(blocks: list[bytes], *, compiled: bool) -> tuple[list[Any], dict[str, int], int]:
    """The rows in one order, the losses and the number of lines."""
    reader = LineReader(CONFIG, Rules(CONFIG, DomainLists()), compiled=compiled)
    tables = []
    for block in blocks:
        reader.feed(block)
        if reader.is_full():
            tables.append(reader.take())
    tables.append(reader.take())
    rows = pa.concat_tables(tables).to_pylist()
    losses = {reason: lines for reason, lines in reader.losses.items() if lines}
    return sorted(rows, key=repr), losses, reader.lines


def assert_alike(*lines: bytes) -> None:
    block = b"\n".join(lines) + b"\n"
    assert read([block], compiled=True) == read([block], compiled=False)


def keeps(line: bytes) -> bool:
    """Whether the scanner itself decides a line."""
    assert submission_columns.Scanner is not None
    _, uncertain = submission_columns.Scanner([b"jpg"], [b"gclid"]).feed(line)
    return not uncertain


URLS = st.one_of(
    st.text(max_size=40),
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["http://", "https://", "HTTP://", "http:/", "", "ftp://", " https://"]),
        st.sampled_from(["a.example", "WWW.Example.com", "x.org:80", "u@x.org", "1.2.3.4", "münchen.de",
                         "a..b", "imgur.com", "en.wikipedia.org", "x.org.", "", "_a-.org", "[::1]"]),
        st.text(st.sampled_from("/.%aZ2eEfF&;<>'\" |\\^`{}~+=:@,-_é\u0085"), max_size=12),
        st.sampled_from(["", "?", "?a=b", "?utm_source=x&y=1", "?&amp;gclid=1", "?a&amp;b=%7e%2f", "?a?b"]),
        st.sampled_from(["", "#", "#frag?x", " ", "\t", ".jpg", ".JPG?x"]),
    ),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(),
        st.text(max_size=12), st.sampled_from(["12", "1500000000", "t3_ABC", "self.x", "\ud800"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["id", "url", "score", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
FIELDS = {
    "id": st.one_of(st.just("abc1"), st.text("abz019_T", max_size=15), VALUES),
    "url": st.one_of(URLS, VALUES),
    "score": st.one_of(st.integers(-5, 50), VALUES),
    "created_utc": st.one_of(st.integers(0, 2**41), st.just("1400000000"), VALUES),
    "subreddit": st.one_of(st.sampled_from(["Python", "blocked"]), VALUES),
    "is_self": st.one_of(st.booleans(), VALUES),
    "domain": st.one_of(st.sampled_from(["self.x", "x.org"]), VALUES),
    "over_18": st.one_of(st.booleans(), VALUES),
    "media": VALUES,
    'a"b': VALUES,
}


@st.composite
def lines_of_json(draw: st.DrawFn) -> bytes:
    """An object of our fields, in any order, spelt as one or another writer would."""
    chosen = draw(st.lists(st.sampled_from(list(FIELDS)), max_size=10, unique=True))
    row = {**(ROW if draw(st.booleans()) else {}), **{name: draw(FIELDS[name]) for name in chosen}}
    compact, ascii_only = draw(st.booleans()), draw(st.booleans())
    text = json.dumps(row, separators=(",", ":") if compact else None, ensure_ascii=ascii_only)
    text = text.replace("/", "\\/") if draw(st.booleans()) else text
    return text.encode(errors="surrogatepass")


@needs_scanner
@settings(deadline=None, max_examples=400)
@given(lines_of_json())
def test_rows_are_read_alike(line: bytes) -> None:
    assert_alike(line)


@needs_scanner
@settings(deadline=None, max_examples=300)
@given(lines_of_json(), st.data())
def test_damaged_rows_are_read_alike(line: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 3)))
    put = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"\\", b"}", b",", b"[", b"\\u00"]))
    )
    assert_alike((line[:start] + put + line[end:]).replace(b"\n", b""))


@needs_scanner
@given(st.binary(max_size=60))
@example(b"\r")
@example(b'{"id":"a"}' + b" " * 40)
def test_noise_is_read_alike(line: bytes) -> None:
    assert_alike(line.replace(b"\n", b""))


@needs_scanner
@pytest.mark.parametrize(
    "line",
    [
        json.dumps(ROW).encode(),
        json.dumps(ROW | {"created_utc": "1400000000"}).encode(),
        json.dumps(ROW | {"url": "https://x.org/a%20b/%7Ec/(d)?q=%e9&amp;r=s#t"}).encode(),
        json.dumps(ROW).replace("/", "\\/").encode(),
        json.dumps(ROW | {"preview": {"url": [1.5, {"id": None}]}, "title": 'é " \u2028'}).encode(),
        json.dumps(ROW, separators=(",", ":")).encode() + b"\r",
        b"",
    ],
)
def test_usual_rows_never_reach_the_slow_reader(line: bytes) -> None:
    assert keeps(line)
    assert_alike(line)


@needs_scanner
@pytest.mark.parametrize(
    "line",
    [
        b'{"id":"a","url":"http://x.org/","score":3,"a":' + b"[" * 90 + b"]" * 90 + b"}",
        b'{"id":"a","url":"http://x.org/","score":3,"score":4}',
        b'{"url":"http://x.org/","crosspost_parent_list":[{"url":"http://y.org/","id":"z","score":9}],'
        b'"id":"a","score":3}',
        b'{"id":"a","url":"http://x.org/","score":3,"t":"\xff"}',
        b'{"id":"a","url":"http://x.org/","score":3,"t":"\xc3"}',
        b'{"id":"a","url":"http://x.org/","score":03}',
        b'{"id":"a","url":"http://x.org/","score":3,}',
        b'{"id":"a","url":"http://x.org/","score":3} x',
        b'{"id":"a","url":"http://x.org/","score":3,"t":"\x01"}',
        b'{"id":"a","url":"http://' + b"x" * 1990 + b'","score":3}',
        b'{"id":"a","url":"http://x.org/' + b"\\" * 3000 + b'","score":3}',
        b'{"id":"a","url":"http://x.org/' + b"^" * 1900 + b'","score":3}',
        b'{"id":"a","url":"http://x.org/\\u0026b","score":3}',
        b'{"id":"a","url":"http://x.org/\\',
        b'{"id":"a","url":"http://x.org/&',
        b'{"id":"a","url":"http://x.org/%',
    ],
)
def test_traps_are_read_alike(line: bytes) -> None:
    assert_alike(line)


@needs_scanner
@pytest.mark.parametrize("name", ["RS_2017-09.zst", "RS_v2_2005-06.xz", "RS_v2_2005-07.xz"])
def test_real_dumps_are_read_alike(name: str, real_data: Path) -> None:
    blocks = list(read_blocks(real_data / "real-web" / name))
    assert read(blocks, compiled=True) == read(blocks, compiled=False)


def test_without_a_scanner_the_slow_reader_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_columns, "Scanner", None)
    rows, losses, lines = read([json.dumps(ROW).encode() + b"\n\nx\n"], compiled=True)
    assert (len(rows), losses, lines) == (1, {"blank_line": 1, "broken_json": 1}, 3)
