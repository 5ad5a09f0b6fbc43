"""A live crawl among hostile servers: raw sockets on loopback, each with its expected outcome.

The loopback server is reachable only because the tests exempt its very address and port.
"""

import asyncio
import contextlib
import gzip
import itertools
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.webtext.small_web import link_id, read_captures, thread_serving, write_links
from webtext.crawl import CrawlConfig, crawl_partition
from webtext.warc import Response, read_response

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

Writer = asyncio.StreamWriter
Behaviour = Callable[[Writer], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
PAGE = b"<html><p>a page</p></html>"


def says(*parts: bytes) -> Behaviour:
    async def behave(writer: Writer) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return behave


def whole(body: bytes, head: bytes = OK) -> Behaviour:
    return says(head, b"Content-Length: %d\r\n\r\n" % len(body), body)


def repeats(head: bytes, part: bytes, pause_s: float = 0.0) -> Behaviour:
    async def behave(writer: Writer) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def redirects(location: bytes) -> Behaviour:
    return says(b"HTTP/1.1 302 Found\r\nLocation: ", location, b"\r\nContent-Length: 0\r\n\r\n")


async def resets(writer: Writer) -> None:
    writer.write(OK + b"Content-Length: 1000\r\n\r\nabc")
    await writer.drain()
    writer.transport.abort()


async def hangs(_writer: Writer) -> None:
    await asyncio.sleep(60)


PNG = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"
LONG_FIELD = b"X-A: " + b"x" * 900 + b"\r\n"
CLOSE = b"Connection: close\r\n"
TWO_LENGTHS = b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n"

HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "page": (whole(PAGE), "ok"),
    "until-close": (says(OK, b"Connection: close\r\n\r\n", PAGE), "ok"),
    "gzip": (whole(gzip.compress(PAGE), GZIP), "ok"),
    "cookies": (whole(PAGE, OK + b"Set-Cookie: id=1\r\n"), "ok"),
    "nuls": (whole(b"<html>\0\0\xff\xfe</html>"), "ok"),
    "control-in-header": (whole(PAGE, OK + b"X-A: a\x0bb\r\n"), "ok"),
    "endless-body": (repeats(OK + b"\r\n", b"x" * 65536), "too_large"),
    "endless-chunks": (
        repeats(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
        "too_large",
    ),
    "endless-header": (
        repeats(b"HTTP/1.1 200 OK\r\n", LONG_FIELD),
        "bad_response",
    ),
    "endless-header-line": (repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 9000), "bad_response"),
    "endless-status": (repeats(b"HTTP/1.1 200 ", b"x" * 9000), "bad_response"),
    "huge-header": (
        whole(PAGE, OK + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 400) for n in range(40))),
        "bad_response",
    ),
    "declared-huge": (says(OK, b"Content-Length: 99999999999\r\n\r\nx"), "too_large"),
    "too-short": (
        says(OK, CLOSE, b"Content-Length: 500\r\n\r\n", PAGE),
        "bad_response",
    ),
    "length-is-no-number": (says(OK, b"Content-Length: many\r\n\r\n", PAGE), "bad_response"),
    "two-lengths": (
        says(OK, TWO_LENGTHS, PAGE),
        "bad_response",
    ),
    "chunked-garbage": (
        says(OK, b"Transfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n"),
        "bad_response",
    ),
    "bomb": (
        whole(gzip.compress(bytes(50_000_000)), GZIP),
        "too_large",
    ),
    "bad-gzip": (whole(b"\x1f\x8b\x08garbage", GZIP), "bad_response"),
    "brotli": (whole(b"\x0b\x02\x80", OK + b"Content-Encoding: br\r\n"), "bad_response"),
    "slow-body": (repeats(OK + b"\r\n", b"x", 0.05), "timeout"),
    "slow-header": (repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05), "timeout"),
    "hang": (hangs, "timeout"),
    "reset": (resets, "bad_response"),
    "nothing": (says(), "unreachable"),
    "garbage": (says(b"\x00\x01\x02\x03\r\n\r\n"), "bad_response"),
    "http-0.9": (says(PAGE), "bad_response"),
    "self": (redirects(b"/self"), "too_many_redirects"),
    "metadata-server": (redirects(b"http://169.254.169.254/latest/"), "blocked_address"),
    "loopback": (redirects(b"http://127.0.0.1:22/"), "blocked_address"),
    "loopback-decimal": (redirects(b"http://2130706433/"), "blocked_address"),
    "loopback-mapped": (redirects(b"http://[::ffff:7f00:1]/"), "blocked_address"),
    "file": (redirects(b"file:///etc/passwd"), "bad_response"),
    "wikipedia": (redirects(b"//en.wikipedia.org/wiki/X"), "wikipedia_redirect"),
    "auth": (
        whole(b"", b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\n"),
        "http_error",
    ),
    "image": (
        whole(b"\x89PNG", PNG),
        "wrong_content_type",
    ),
    "endless-image": (
        repeats(PNG + b"\r\n", b"x" * 65536),
        "wrong_content_type",
    ),
    "busy": (whole(b"", b"HTTP/1.1 503 Busy\r\nRetry-After: 9999\r\n"), "http_error"),
    "empty": (whole(b""), "empty"),
    "missing": (whole(b"no", b"HTTP/1.1 404 No\r\n"), "not_found"),
}


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


def stored(tmp_path: Path, row: dict[str, Any]) -> Response:
    place = tmp_path / "out" / row["warc_file"], row["warc_offset"], row["warc_length"]
    return read_response(*place, max_bytes=10_000)


def test_each_behaviour_has_its_outcome_in_bounded_memory_and_time(tmp_path: Path) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with running({name: behaviour for name, (behaviour, _) in HOSTILE.items()}) as (
        server,
        address,
    ):
        rows = crawl_live(tmp_path, address, list(HOSTILE))
    elapsed_s = time.monotonic() - started
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    found = {name: row["outcome"] for name, row in rows.items()}
    assert found == {name: outcome for name, (_, outcome) in HOSTILE.items()}
    assert elapsed_s < 30, elapsed_s
    assert grown_kib < 150 * 1024, grown_kib
    sent = b"".join(server.requests).lower()
    assert b"\r\ncookie:" not in sent
    assert b"\r\nauthorization:" not in sent
    assert all(b"user-agent: webtext-test/1" in request.lower() for request in server.requests)
    assert stored(tmp_path, rows["nuls"]).payload == b"<html>\0\0\xff\xfe</html>"
    assert stored(tmp_path, rows["control-in-header"]).header("x-a") == "a b"


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
        (hangs, "timeout"),
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
