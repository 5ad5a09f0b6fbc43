"""A live crawl among hostile servers: raw sockets on loopback, each with its expected outcome.

The loopback server is reachable only because the tests exempt its very address and port.
"""

import asyncio
import contextlib
import gzip
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.webtext.hostile_server import (
    OK,
    PAGE,
    Behaviour,
    Writer,
    redirects,
    repeats,
    says,
    stalls,
    whole,
)
from tests.webtext.small_web import link_id, read_captures, thread_serving, write_links
from webtext.crawl import CrawlConfig, crawl_partition

MAX_BODY = 200_000
LIVE = CrawlConfig(
    source="live",
    user_agent="webtext-test/1 (+https://a.example/bot)",
    max_body_bytes=MAX_BODY,
    max_header_bytes=8_192,
    max_redirects=3,
    connect_timeout_s=2.0,
    total_timeout_s=0.7,
    retries=1,
    retry_delay_s=0.01,
    max_retry_after_s=0.2,
    max_host_failures=1000,
)

GZIP = OK + b"Content-Encoding: gzip\r\n"


class HostileServer:
    """Behaves by path, and remembers what it was sent."""

    def __init__(self, behaviours: dict[str, Behaviour]) -> None:
        self.behaviours = behaviours
        self.requests: list[bytes] = []
        self.at_once = 0
        self.most_at_once = 0

    async def serve(self, ready: "Future[str]", stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        ready.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            path = request.split(b" ", 2)[1].decode().lstrip("/")
            missing = whole(b"", b"HTTP/1.1 404 No\r\nConnection: close\r\n")
            await self.behaviours.get(path, missing)(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.at_once -= 1
            with contextlib.suppress(ConnectionError):
                writer.close()


@contextlib.contextmanager
def running(behaviours: dict[str, Behaviour]) -> Iterator[tuple[HostileServer, str]]:
    server = HostileServer(behaviours)
    with thread_serving(server.serve) as address:
        yield server, address


def crawl_live(
    tmp_path: Path, address: str, paths: list[str], **changes: Any
) -> dict[str, dict[str, Any]]:
    urls = {path: f"{address}/{path}" for path in paths}
    links = write_links(tmp_path / "links-artifact", urls.values())
    arguments: dict[str, Any] = {"config": LIVE, "concurrency": 4, "host_delay_s": 0.0}
    host, port = address.removeprefix("http://").split(":")
    crawl_partition(
        links=links,
        partition=0,
        destination=tmp_path / "out",
        exempt=frozenset({(host, int(port))}),
        **(arguments | changes),
    )
    captures = read_captures(tmp_path / "out")
    return {path: captures[link_id(url)] for path, url in urls.items()}


def test_loopback_is_refused_without_an_exemption(tmp_path: Path) -> None:
    with running({"page": whole(PAGE)}) as (server, address):
        links = write_links(tmp_path / "l", [f"{address}/page"])
        counts = crawl_partition(
            links=links, partition=0, destination=tmp_path / "out", config=LIVE, host_delay_s=0.0
        )
    assert counts.losses == {"blocked_address": 1}
    assert server.requests == []


def test_transient_errors_are_retried_and_retry_after_is_bounded(tmp_path: Path) -> None:
    answers = iter([whole(b"", b"HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\n"), whole(PAGE)])

    async def busy_once(writer: Writer) -> None:
        await next(answers)(writer)

    with running({"busy-once": busy_once}) as (server, address):
        started = time.monotonic()
        rows = crawl_live(tmp_path, address, ["busy-once"])
        elapsed_s = time.monotonic() - started
    assert rows["busy-once"]["outcome"] == "ok"
    assert 0.2 <= elapsed_s < 5
    assert len(server.requests) == 4  # robots.txt, the page twice, tdmrep.json


def test_the_delay_between_requests_to_a_host_is_kept(tmp_path: Path) -> None:
    times: list[float] = []

    async def page(writer: Writer) -> None:
        times.append(time.monotonic())
        await asyncio.sleep(0.02)
        await whole(PAGE)(writer)

    names = [f"p{number}" for number in range(4)]
    with running(dict.fromkeys(names, page)) as (server, address):
        crawl_live(tmp_path, address, names, host_delay_s=0.15)
    assert server.most_at_once == 1, "one host got several requests at a time"
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.14, gaps


def test_a_host_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    names = [f"p{number:02}" for number in range(12)]
    pages_alone = {"obey_robots": False, "obey_tdmrep": False}
    config = LIVE.model_copy(update={"max_host_failures": 3, "retries": 0} | pages_alone)
    with running(dict.fromkeys(names, says())) as (server, address):
        rows = crawl_live(tmp_path, address, names, config=config)
    assert {row["outcome"] for row in rows.values()} == {"unreachable"}
    # The HTTP client itself asks a second time where a connection closes before any answer.
    assert 3 <= len(server.requests) <= 6
    assert sum("given up" in row["detail"] for row in rows.values()) == 9


def test_a_host_that_stays_busy_is_given_up(tmp_path: Path) -> None:
    names = [f"p{number:02}" for number in range(12)]
    config = LIVE.model_copy(update={"max_host_failures": 3, "retries": 1, "retry_delay_s": 0.01})
    busy = whole(b"", b"HTTP/1.1 429 Slow\r\n")
    with running(dict.fromkeys(names, busy)) as (server, address):
        rows = crawl_live(tmp_path, address, names, config=config)
    details = sorted(row["detail"] for row in rows.values())
    assert details == ["429 Slow"] * 3 + ["host given up after 3 failures in a row"] * 9
    assert sum(request.startswith(b"GET /p") for request in server.requests) == 3 * 2


def test_a_date_to_retry_after_is_waited_for(tmp_path: Path) -> None:
    times: list[float] = []

    async def busy_once(writer: Writer) -> None:
        times.append(time.monotonic())
        dates = b"Date: Fri, 01 Sep 2017 10:00:00 GMT\r\nRetry-After: Fri, 01 Sep 2017 10:00:01 GMT"
        busy = whole(b"", b"HTTP/1.1 503 Busy\r\n" + dates + b"\r\n")
        await (busy if len(times) == 1 else whole(PAGE))(writer)

    config = LIVE.model_copy(update={"max_retry_after_s": 5.0, "retry_delay_s": 0.01})
    with running({"page": busy_once}) as (_, address):
        rows = crawl_live(tmp_path, address, ["page"], config=config)
    assert rows["page"]["outcome"] == "ok"
    assert 0.99 <= times[1] - times[0] < 4


@pytest.mark.parametrize(
    ("robots", "outcome"),
    [
        (whole(b"User-agent: webtext-test\nDisallow: /page", OK), "robots_disallowed"),
        (whole(b"", b"HTTP/1.1 500 No\r\n"), "robots_disallowed"),
        (whole(b"", b"HTTP/1.1 403 No\r\n"), "ok"),
        (stalls(), "timeout"),
        (redirects(b"http://10.0.0.1/robots.txt"), "blocked_address"),
        (redirects(b"/robots.txt"), "ok"),
        (repeats(OK + b"\r\n", b"Allow: /\n" * 5000), "ok"),
        (
            whole(gzip.compress(bytes(60_000_000)), GZIP),
            "robots_disallowed",
        ),
    ],
)
def test_robots_rule_and_cannot_hurt(tmp_path: Path, robots: Behaviour, outcome: str) -> None:
    with running({"robots.txt": robots, "page": whole(PAGE)}) as (server, address):
        rows = crawl_live(tmp_path, address, ["page"])
    assert rows["page"]["outcome"] == outcome
    fetched = any(request.startswith(b"GET /page") for request in server.requests)
    assert fetched == (outcome == "ok")
