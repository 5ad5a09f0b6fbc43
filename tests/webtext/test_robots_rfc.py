"""RFC 9309 by its own examples, line endings, encodings, and files made to cost time."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from webtext.fetch import Fetched
from webtext.robots import MAX_ROBOTS_BYTES, RobotsCache, judge_robots, merge_other_robots

SITE = "http://a.example"


def allows(text: bytes | str, path: str, name: str = "webtext-pipeline") -> bool:
    body = text.encode() if isinstance(text, str) else text
    return judge_robots(answer(body), name).refuses(SITE + path, name) is None


def answer(body: bytes) -> Fetched:
    return Fetched(
        url=f"{SITE}/robots.txt",
        status=200,
        reason="",
        headers=(),
        body=body,
        truncated=False,
        captured_at=datetime(2017, 9, 1, tzinfo=UTC),
    )


SIMPLE = """\
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""
"""RFC 9309, 5.1."""


@pytest.mark.parametrize(
    ("name", "path", "allowed"),
    [
        ("anybot", "/a.gif", False),
        ("anybot", "/a.gif?x", True),
        ("anybot", "/example/x", False),
        ("anybot", "/publications/x", True),
        ("anybot", "/other", True),
        ("foobot", "/publications/", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("FooBot", "/", False),
        ("barbot", "/example/page.html", False),
        ("barbot", "/a.gif", True),
        ("bazbot", "/example/page.html", False),
        ("quxbot", "/example/page.html", True),
        ("quxbot", "/a.gif", True),
    ],
)
def test_the_simple_example(name: str, path: str, allowed: bool) -> None:
    assert allows(SIMPLE, path, name) == allowed


def test_the_longest_match_example() -> None:  # RFC 9309, 5.2
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
    assert not allows(text, "/example/page/disallowed.gif", "foobot")
    assert allows(text, "/example/page/other.gif", "foobot")


def test_groups_of_one_robot_are_combined() -> None:  # RFC 9309, 2.2.1
    text = (
        "user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\n\n"
        "user-agent: ExampleBot\ndisallow: /baz\n"
    )
    assert [allows(text, path, "examplebot") for path in ("/foo", "/bar", "/baz", "/x")] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),  # RFC 9309, 2.2.2 and 2.2.3
    [
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=http://foo.bar", "/foo/bar?baz=http://foo.bar", True),
        # The RFC's table would have reserved characters encoded, too, and this match. RFC 3986,
        # 2.2 calls the two different addresses, and no reader of robots.txt makes them one.
        ("/foo/bar?baz=http://foo.bar", "/foo/bar?baz=http%3A%2F%2Ffoo.bar", False),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/Foo", "/foo", False),
        ("/*/end$", "/a/b/end", True),
        ("/*/end$", "/a/end/b", False),
        ("/a$", "/ab", False),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert allows(f"User-agent: *\nDisallow: {pattern}\n", path) != matches


def test_of_equal_rules_allow_wins() -> None:
    assert allows("User-agent: *\nDisallow: /page\nAllow: /page\n", "/page")
    assert allows("User-agent: *\nAllow: /page\nDisallow: /page\n", "/page")


@pytest.mark.parametrize(
    ("agent", "ours"),
    [
        ("webtext-pipeline", True),
        ("WEBTEXT-Pipeline", True),
        ("webtext-pipeline/2.0 (any)", True),
        ("webtext-pipeline # us", True),
        ("*", True),
        ("webtext", False),
        ("pipeline", False),
        ("webtext-pipeline-x", False),
        ("mywebtext-pipeline", False),
        ("", False),
    ],
)
def test_the_whole_product_name_counts(agent: str, ours: bool) -> None:
    assert allows(f"User-agent: {agent}\nDisallow: /\n", "/page") != ours


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark(end: str, mark: bytes) -> None:
    text = end.join(
        ["User-agent: x", "Disallow: /", "User-agent: webtext-pipeline", "Disallow: /p"]
    )
    assert not allows(mark + text.encode(), "/p")
    assert allows(mark + text.encode(), "/q")


def test_our_group_wins_over_that_of_all() -> None:
    text = "User-agent: *\nDisallow: /\n\nUser-agent: webtext-pipeline\nDisallow: /private\n"
    assert allows(text, "/page")
    assert not allows(text, "/private")


def test_other_records_do_not_end_a_group() -> None:
    text = "User-agent: webtext-pipeline\nSitemap: http://a.example/s.xml\nDisallow: /p\n"
    assert not allows(text, "/p")


@pytest.mark.parametrize(
    "unit",
    [
        "Disallow: /%dx*y\n",
        "User-agent: robot%d\nDisallow: /\n",
        "User-agent: a%d\n",
        "User-agent: b%d\x0b",
        "\n%d\x85",
        "Disallow: /" + "*a" * 500 + "%d\n",
        "User-agent%d",
        " " * 1000 + "%d",
    ],
)
def test_a_hostile_file_costs_seconds_at_most(unit: str) -> None:
    count = MAX_ROBOTS_BYTES // len(unit % 10_000) // 2
    text = "User-agent: *\n" + "".join(unit % n for n in range(count))
    text += "".join(f"Disallow: /{n}\n" for n in range(20_000))
    started = time.process_time()
    allows(text, "/" + "a" * 4_000)
    assert time.process_time() - started < 3.0  # measured: 0.2 s at most


def test_other_robots_share_one_name() -> None:
    text = "User-agent: a\nUSERAGENT:b\nUser-agent: me/1\nUser-agent: *\nDisallow: /user-agent: x"
    assert merge_other_robots(text, "me") == (
        "User-agent: ~\nUser-agent: ~\nUser-agent: me\nUser-agent: *\nDisallow: /user-agent: x"
    )


def test_an_answer_forgotten_while_it_loads_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webtext.robots._CACHED_BYTES", 100)
    body = b"User-agent: *\nDisallow: /p\n" + b"#" * 200
    slow = asyncio.Event()

    async def fetch(url: str, _timestamp: int) -> Fetched:
        if "slow" in url:
            await slow.wait()
        return answer(body)

    async def ask() -> None:
        cache = RobotsCache(fetch, "me")
        late = asyncio.ensure_future(cache.rules("http://slow.example/", 20170901000000))
        await asyncio.sleep(0)
        for n in range(3):
            assert (await cache.rules(f"http://s{n}.example/", 20170901000000)).size > 100
        slow.set()
        assert (await late).size > 100
        for n in range(3):
            assert (await cache.rules(f"http://t{n}.example/", 20170901000000)).size > 100

    asyncio.run(ask())
