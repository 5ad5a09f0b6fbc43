"""A live crawl among hosts that ask for long delays: they wait together, and in nobody's way."""

import asyncio
import time
from concurrent.futures import Future
from pathlib import Path

from tests.webtext.counting_server import host_address
from tests.webtext.small_web import link_id, read_captures, thread_serving, write_links
from webtext.crawl import CrawlConfig, crawl_partition

CONFIG = CrawlConfig(
    source="live",
    user_agent="webtext-test/1 (+http://test.example/about)",
    max_retry_after_s=2.5,
)
SLOW, BUSY, FAST = range(4), range(4, 8), range(8, 20)
"""Hosts that ask for a Crawl-delay, hosts whose robots.txt is busy at first, and the others."""
LONG_S = 2.5


class Sites:
    """Hosts on loopback addresses; remembers when each path was asked for."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], list[float]] = {}

    async def serve(self, ready: "Future[str]", stop: asyncio.Event) -> None:
        first = await asyncio.start_server(self._answer, host_address(0), 0)
        port = first.sockets[0].getsockname()[1]
        others = [
            await asyncio.start_server(self._answer, host_address(number), port)
            for number in (*SLOW, *BUSY, *FAST)[1:]
        ]
        ready.set_result(str(port))
        await stop.wait()
        for server in (first, *others):
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        times = self.asked.setdefault((host, path), [])
        times.append(time.time())
        number = int(host.rpartition(".")[2]) - 2
        status, fields, body = b"200 OK", b"", b"<html>page</html>"
        if path == "/robots.txt":
            body = b"User-agent: *\nCrawl-delay: %g\n" % (LONG_S if number in SLOW else 0)
            if number in BUSY and len(times) == 1:
                status, fields = b"503 Busy", b"Retry-After: 60\r\n"
        elif path != "/page":
            status = b"404 Not Found"
        head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: text/html\r\n%s\r\n"
        writer.write(head % (status, fields) + body)
        await writer.drain()
        writer.close()


def test_hosts_with_long_delays_wait_together_and_hold_up_nobody(tmp_path: Path) -> None:
    sites = Sites()
    started = time.time()
    with thread_serving(sites.serve) as port:
        hosts = [host_address(number) for number in (*SLOW, *BUSY, *FAST)]
        urls = {host: f"http://{host}:{port}/page" for host in hosts}
        crawl_partition(
            links=write_links(tmp_path / "links-artifact", urls.values()),
            partition=0,
            destination=tmp_path / "out",
            config=CONFIG,
            concurrency=2,
            host_delay_s=0.0,
            exempt=frozenset((host, int(port)) for host in hosts),
        )
    elapsed_s = time.time() - started
    captures = read_captures(tmp_path / "out")
    assert {captures[link_id(url)]["outcome"] for url in urls.values()} == {"ok"}

    pages = [sites.asked[host, "/page"] for host in hosts]
    assert all(len(times) == 1 for times in pages)
    first_long_wait = min(times[0] for times in pages[: len(SLOW) + len(BUSY)])
    assert all(times[0] < first_long_wait for times in pages[len(SLOW) + len(BUSY) :])
    for number in SLOW:
        host = host_address(number)
        file = sites.asked[host, "/.well-known/tdmrep.json"][0]
        assert sites.asked[host, "/page"][0] - file >= LONG_S * 0.99
        assert len(sites.asked[host, "/robots.txt"]) == 1
    for number in BUSY:
        first, second = sites.asked[host_address(number), "/robots.txt"]
        assert second - first >= LONG_S * 0.99
    # Sat out by two workers, eight waits would take four times as long.
    assert elapsed_s < 3 * LONG_S, elapsed_s
