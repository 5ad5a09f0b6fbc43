"""Index lines and the keys they are sorted by."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webtext.cdx import CdxEntry, choose_entry, is_address, parse_line, read_columns, surt_key
from webtext.cdx_files import find_line

FIELDS = {
    "url": "http://example.com/", "mime": "text/html", "status": "200", "digest": "AB",
    "length": "1200", "offset": "77", "filename": "crawl-data/CC-MAIN-2017-39/warc/a-1.warc.gz",
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "key"),
    [
        # The forms that the documentation of SURT and of pywb's index gives.
        ("http://www.example.com/", "com,example)/"),
        ("https://example.com", "com,example)/"),
        ("http://www2.Example.com:80/Path/To/", "com,example)/path/to"),
        ("http://sub.example.co.uk:8080/a?b=2&a=1", "uk,co,example,sub:8080)/a?a=1&b=2"),
        ("https://example.com/?utm=1", "com,example)/?utm=1"),
        ("http://example.com/a?", "com,example)/a"),
        # Answers of the reference package, surt 0.3.1.
        ("http://x.org:443/a//b/./c/../d/", "org,x:443)/a/b/d"),
        ("https://x.org:443/%7Euser/%28a%29%2Fb", "org,x)/~user/(a)/b"),
        ("http://x.org/%252F%25'", "org,x)/%25'"),
        ("http://x.org/..%2F?b=%20&b=2", "org,x)/..?b=%20&b=2"),
        ("http://x.org/?a=1&=&&&", "org,x)/?&&&=&a=1"),
        ("http://x.org/?phpsessid=" + "a1" * 16 + "&b=1", "org,x)/?b=1"),
        ("http://x.org/caf%C3%A9", "org,x)/caf%c3%a9"),
    ],
)
def test_keys(url: str, key: str) -> None:
    assert surt_key(url) == key


def test_a_line_of_each_form() -> None:
    expected = CdxEntry(
        url="http://example.com/",
        timestamp=20170901120000,
        status=200,
        filename=FIELDS["filename"],
        offset=77,
        length=1200,
    )
    assert parse_line("com,example)/ 20170901120000 " + json.dumps(FIELDS)) == expected
    assert parse_line(json.dumps({**FIELDS, "timestamp": "20170901120000"})) == expected
    old = f"com,example)/ 20170901120000 {FIELDS['url']} text/html 200 AB - - 1200 77 "
    old += FIELDS["filename"]
    assert parse_line(old) == expected
    columns = read_columns(" CDX a b g V S s")
    assert columns is not None
    short = f"{FIELDS['url']} 20170901120000 {FIELDS['filename']} 77 1200 200"
    assert parse_line(short, columns) == expected
    braces = "com,example)/?a={b} 20170901120000 " + json.dumps(FIELDS)
    assert parse_line(braces) == expected
    revisit = parse_line(json.dumps({**FIELDS, "timestamp": "20170901120000", "status": "-"}))
    assert revisit is not None
    assert revisit.status is None


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "../../etc/passwd"}, {"filename": "/etc/passwd"}, {"filename": "a//b"},
        {"filename": "http://elsewhere/"}, {"filename": "a/./b"}, {"offset": "-1"}, {"length": "0"},
        {"length": "many"}, {"url": 7}, {"timestamp": "2017"}, {"offset": "9" * 30},
        {"filename": "a\r\nRange: x"},
    ],
)  # fmt: skip
def test_hostile_lines_are_no_captures(change: dict[str, object]) -> None:
    line = json.dumps({**FIELDS, "timestamp": "20170901120000", **change})
    assert parse_line(line) is None


@given(st.text(max_size=80))
def test_no_line_raises(line: str) -> None:
    parse_line(line)
    read_columns(line)


def entry(url: str, timestamp: int, status: int | None = 200) -> CdxEntry:
    return CdxEntry(url=url, timestamp=timestamp, status=status, filename="a", offset=0, length=1)


def test_the_nearest_capture_of_exactly_the_address_is_chosen() -> None:
    url = "http://example.com/a"
    entries = [
        entry(url, 20150101000000),
        entry("https://example.com/a", 20170815000000),
        entry("http://example.com/A", 20170901000000),
        entry(url, 20170901000000, status=503),
    ]
    assert choose_entry(entries, url, 20170901000000) == entries[1]
    assert choose_entry(entries[3:], url, 20170901000000) == entries[3]
    assert choose_entry([], url, 20170901000000) is None
    assert choose_entry(reversed(entries), url, 20170901000000) == entries[1]


def test_addresses_are_told_from_paths() -> None:
    assert is_address("https://index.example/CC-index")
    assert not is_address("folder/cluster.idx")


@given(
    st.lists(st.binary(min_size=0, max_size=60).map(lambda b: b.replace(b"\n", b"")), max_size=200),
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")),
    st.integers(1, 40),
)
def test_a_line_is_found_where_a_linear_search_finds_it(
    lines: list[bytes], key: bytes, repeat: int
) -> None:
    lines = sorted(line + b"\n" for line in lines for _ in range(repeat))
    place = find_line(io.BytesIO(b"".join(lines)), key)
    below = [line for line in lines if line < key]
    assert place == sum(map(len, below))
    before = find_line(io.BytesIO(b"".join(lines)), key, before=True)
    assert before == sum(map(len, below[:-1]))
