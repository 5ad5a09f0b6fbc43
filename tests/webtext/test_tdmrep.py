"""tdmrep.json: patterns, order, damaged and hostile files, one request a site, bounded memory."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from webtext import tdmrep
from webtext.fetch import Fetched, FetchError
from webtext.tdmrep import MAX_FILE_BYTES, MAX_RULES, TdmrepCache, parse_tdmrep

DAY = 20170901000000


def rules(*pairs: tuple[str, Any]) -> bytes:
    return json.dumps(
        [{"location": location, "tdm-reservation": reserved} for location, reserved in pairs]
    ).encode()


@pytest.mark.parametrize(
    ("location", "path", "matches"),
    [
        ("/", "/anything?x", True),
        ("/articles/", "/articles/1", True),
        ("/articles/", "/article", False),
        ("/*", "/a", True),
        ("*", "/a", True),
        ("*.html", "/a/b.html", True),
        ("*.html$", "/a/b.html", True),
        ("*.html$", "/a/b.html?x=1", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/a*z$", "/az", True),
        ("/ab*bc$", "/abc", False),
        ("/*/private/*/x", "/1/private/2/x/3", True),
        ("/*?id=", "/page?id=4", True),
        ("/[a-z]+", "/abc", False),
        ("/.", "/a", False),
        ("$", "/a", False),
    ],
)
def test_locations_are_patterns_on_path_and_query(location: str, path: str, matches: bool) -> None:
    assert parse_tdmrep(rules((location, 1))).reserves(f"http://a.example{path}") == matches


def test_the_first_location_that_matches_decides() -> None:
    found = parse_tdmrep(rules(("/open/", 0), ("/*", 1)))
    assert not found.reserves("http://a.example/open/1")
    assert found.reserves("http://a.example/other")
    assert not parse_tdmrep(rules(("/*", 0), ("/open/", 1))).reserves("http://a.example/open/1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b'{"location": "/", "tdm-reservation": 1}',
        b"[1, null, []]",
        b'[{"location": 1, "tdm-reservation": 1}]',
        b'[{"location": "/"}]',
        rules(("/", 2), ("/", "yes"), ("/", None), ("/", [1])),
        rules(("/" * 501, 1)),
        b"[" * 100_000,
        b"[" + b"9" * 100_000 + b"]",
        b"\xff\xfe[",
        b"<html>not found</html>",
    ],
)
def test_what_is_no_list_of_rules_reserves_nothing(content: bytes) -> None:
    assert not parse_tdmrep(content).reserves("http://a.example/")


def test_what_lies_beyond_the_limit_is_not_read() -> None:
    content = rules(("/", 1)) + b" " * MAX_FILE_BYTES + b"garbage"
    assert parse_tdmrep(content).reserves("http://a.example/")


def test_a_byte_order_mark_and_strings_are_read() -> None:
    assert parse_tdmrep(b"\xef\xbb\xbf" + rules(("/", "1"))).reserves("http://a.example/")


def test_work_is_linear_in_hostile_patterns() -> None:
    found = parse_tdmrep(rules(*[("/" + "*a" * 60 + "*b$", 1)] * MAX_RULES))
    assert len(found.rules) == MAX_RULES
    started = time.process_time()
    assert not found.reserves("http://a.example/" + "a" * 4_000)
    assert time.process_time() - started < 1.0  # measured: 0.01 s


def answer(status: int, body: bytes) -> Fetched:
    return Fetched(
        url="http://a.example/.well-known/tdmrep.json",
        status=status,
        reason="",
        headers=(),
        body=body,
        truncated=False,
        captured_at=datetime(2017, 9, 1, tzinfo=UTC),
    )


def test_each_site_is_asked_once() -> None:
    asked: list[str] = []

    async def fetch(url: str, _timestamp: int) -> Fetched:
        asked.append(url)
        if "gone" in url:
            raise FetchError("unreachable", "why")
        return answer(404 if "missing" in url else 200, rules(("/", 1)))

    async def ask() -> list[bool]:
        cache = TdmrepCache(fetch)
        urls = [f"http://{site}.example/{n}" for n in range(3) for site in ("a", "gone", "missing")]
        return [(await cache.reservations(url, DAY)).reserves(url) for url in urls]

    assert asyncio.run(ask()) == [True, False, False] * 3
    assert sorted(asked) == [
        f"http://{site}.example/.well-known/tdmrep.json" for site in ("a", "gone", "missing")
    ]


def test_memory_of_hostile_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdmrep, "_CACHED_CHARACTERS", 500_000)
    large = rules(*(("/" + "x" * 100, 1) for _ in range(MAX_RULES)))
    asked: list[str] = []

    async def fetch(url: str, _timestamp: int) -> Fetched:
        asked.append(url)
        return answer(200, large)

    async def ask() -> None:
        cache = TdmrepCache(fetch)
        for site in (*range(10), 9, 0):  # the last is remembered, the first no longer
            assert (await cache.reservations(f"http://s{site}.example/", DAY)).rules

    asyncio.run(ask())
    assert len(asked) == 11
