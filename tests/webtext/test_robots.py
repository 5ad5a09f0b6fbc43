"""robots.txt by RFC 9309: what is allowed, and what an answer that is none means."""

import asyncio
import gzip
from datetime import UTC, datetime

import pytest

from webtext import robots
from webtext.fetch import Fetched, FetchError
from webtext.robots import (
    MAX_AGE_S,
    MAX_ROBOTS_BYTES,
    RobotsCache,
    cut_robots,
    judge_robots,
    middle_of_month,
)

NAME = "webtext-pipeline"
PAGE = "http://a.example/private/page?x=1"
DENY = b"User-agent: *\nDisallow: /private\nCrawl-delay: 5\n"


def answer(status: int, body: bytes = b"", **headers: str) -> Fetched:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Fetched(
        url="http://a.example/robots.txt",
        status=status,
        reason="",
        headers=fields,
        body=body,
        truncated=False,
        captured_at=datetime(2017, 9, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("response", "refused"),
    [
        (answer(200, DENY), True),
        (answer(200, gzip.compress(DENY), content_encoding="gzip"), True),
        (answer(200, b"\xef\xbb\xbf" + DENY), True),
        (answer(200, DENY.replace(b"\n", b"\r")), True),
        (answer(200, b"User-agent: other\nDisallow: /\n"), False),
        (answer(200, b"User-agent: *\nDisallow: /\nAllow: /private/page\n"), False),
        (answer(200, b"User-agent: *\nDisallow: /\nUser-agent: webtext-pipeline\nAllow: /"), False),
        (answer(200, b"\x00\xff<html>not robots</html>"), False),
        (answer(200, b""), False),
        (answer(404), False),
        (answer(403), False),
        (answer(401), False),
        (answer(429), True),
        (answer(500), True),
        (answer(503), True),
    ],
)
def test_refuses_by_rule_or_status(response: Fetched, refused: bool) -> None:
    assert (judge_robots(response, NAME).refuses(PAGE, NAME) is not None) == refused


def test_half_a_megabyte_is_parsed_and_no_part_of_a_line() -> None:
    filler = b"# filler\n" * (MAX_ROBOTS_BYTES // 9)
    text = cut_robots(filler + b"Disallow: /" + b"x" * 10_000)
    assert len(text) <= MAX_ROBOTS_BYTES
    assert text.endswith("# filler")
    within = b"#" * (MAX_ROBOTS_BYTES - 100) + b"\n" + DENY
    assert judge_robots(answer(200, within), NAME).refuses(PAGE, NAME)


def test_crawl_delay_is_read() -> None:
    assert judge_robots(answer(200, DENY), NAME).crawl_delay_s(NAME) == 5
    assert judge_robots(answer(200, b"User-agent: *\nDisallow:"), NAME).crawl_delay_s(NAME) == 0


def test_a_day_old_answer_is_asked_for_again() -> None:
    asked: list[str] = []

    async def fetch(url: str, _timestamp: int) -> Fetched:
        asked.append(url)
        return answer(200, DENY)

    async def ask() -> None:
        cache = RobotsCache(fetch, NAME, max_age_s=0.05)
        for pause in (0.0, 0.0, 0.06):
            await asyncio.sleep(pause)
            await cache.rules("http://a.example/x", 20170901000000)

    asyncio.run(ask())
    assert len(asked) == 2
    assert MAX_AGE_S == 24 * 3600


def test_remembered_rules_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots, "_CACHED_BYTES", 100_000)
    asked: list[str] = []

    async def fetch(url: str, _timestamp: int) -> Fetched:
        asked.append(url)
        return answer(200, DENY + b"# filler\n" * 5_000)

    async def ask() -> None:
        cache = RobotsCache(fetch, NAME)
        for site in ("a", "b", "c", "c", "a"):
            await cache.rules(f"http://{site}.example/x", 20170901000000)

    asyncio.run(ask())
    assert [url[7] for url in asked] == ["a", "b", "c", "a"]


def test_the_month_decides_and_not_the_day() -> None:
    assert middle_of_month(20170901000000) == middle_of_month(20170930235959) == 20170915000000


def test_each_site_is_asked_once_though_many_ask_at_a_time() -> None:
    asked: list[str] = []

    async def fetch(url: str, _timestamp: int) -> Fetched:
        asked.append(url)
        await asyncio.sleep(0.01)
        return answer(200, DENY)

    async def ask() -> None:
        cache = RobotsCache(fetch, NAME)
        urls = [f"http://{site}.example/private/{n}" for site in "ab" for n in range(20)]
        rules = await asyncio.gather(*(cache.rules(url, 20170901000000) for url in urls))
        assert all(rule.refuses(PAGE, NAME) for rule in rules)

    asyncio.run(ask())
    assert sorted(asked) == ["http://a.example/robots.txt", "http://b.example/robots.txt"]


@pytest.mark.parametrize(
    ("outcome", "refusal"),
    [
        ("not_archived", None),
        ("unreachable", "unreachable"),
        ("timeout", "timeout"),
        ("blocked_address", "blocked_address"),
    ],
)
def test_no_answer_disallows_but_not_archived_allows(outcome: str, refusal: str | None) -> None:
    async def fetch(_url: str, _timestamp: int) -> Fetched:
        raise FetchError(outcome, "why")

    rules = asyncio.run(RobotsCache(fetch, NAME).rules(PAGE, 20170901000000))
    found = rules.refuses(PAGE, NAME)
    assert (found[0] if found else None) == refusal


def test_redirects_are_followed_and_a_loop_allows() -> None:
    async def fetch(url: str, _timestamp: int) -> Fetched:
        if "loop" in url:
            return answer(302, Location=url)
        if url.endswith("/robots.txt"):
            return answer(301, Location="/real.txt")
        return answer(200, DENY)

    async def ask() -> None:
        cache = RobotsCache(fetch, NAME)
        assert (await cache.rules(PAGE, 20170901000000)).refuses(PAGE, NAME)
        loop = await cache.rules("http://loop.example/", 20170901000000)
        assert loop.refuses("http://loop.example/", NAME) is None

    asyncio.run(ask())
