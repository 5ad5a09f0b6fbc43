"""The clients that `crawl_speed` and `crawl_client` compare, each in a process of its own.

`python -m tests.bench.crawl_clients NAME PORT FETCHES FOLDER` fetches that many pages from the
server of `tests.bench.page_server`, spread over `HOSTS` hosts, and prints a line of JSON: seconds
of CPU of its whole process (all threads), seconds by the wall, pages had and peak memory.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.memory import peak_mb

HOSTS = 40
Run = Callable[[], int]
"""Fetches everything and gives the pages had; imports and settings are behind it."""

CONCURRENCY = 16


def page_urls(port: int, fetches: int) -> list[str]:
    """Addresses of the pages, host after host in turn."""
    return [f"http://127.0.0.{2 + n % HOSTS}:{port}/page/{n}" for n in range(fetches)]


def measure(name: str, port: int, fetches: int, folder: Path) -> dict[str, float]:
    """Run a client in a child and return its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [name, str(port), str(fetches), str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.crawl_clients", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


# ---- a bare client ------------------------------------------------------------------------------


def bare_aiohttp(port: int, fetches: int, _folder: Path) -> Run:
    """What anybody would write: read every page, keep nothing."""
    import aiohttp

    async def fetch_all() -> int:
        pending = iter(page_urls(port, fetches))
        had = 0

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal had
            for url in pending:
                async with session.get(url) as response:
                    page = await response.read()
                had += bool(page)

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
        return had

    return lambda: asyncio.run(fetch_all())


# ---- trafilatura's downloader -------------------------------------------------------------------


def trafilatura_downloads(port: int, fetches: int, _folder: Path) -> Run:
    """Trafilatura's own threads over its own downloader; every page is kept, as it does."""
    from concurrent.futures import ThreadPoolExecutor

    from trafilatura import fetch_url
    from trafilatura.settings import use_config

    config = use_config()
    config["DEFAULT"]["SSRF_PROTECTION"] = "off"  # it would refuse loopback

    def fetch(url: str) -> str | None:
        page: str | None = fetch_url(url, config=config)
        return page

    def fetch_all() -> int:
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            pages = list(threads.map(fetch, page_urls(port, fetches)))
        return sum(page is not None for page in pages)

    return fetch_all


# ---- ours ---------------------------------------------------------------------------------------


def our_crawl(port: int, fetches: int, folder: Path) -> Run:
    """The live crawl, robots obeyed, WARC written."""
    from webtext.crawl import crawl_partition

    given = _our_arguments(port, fetches, folder)
    return lambda: crawl_partition(**given).rows_out


def our_client(port: int, fetches: int, folder: Path) -> Run:
    """The live crawl without storing: schedule, politeness, robots, limits and verdicts."""
    from webtext import crawl_work
    from webtext.crawl_frontier import Frontier
    from webtext.fetch import LiveSource
    from webtext.tables import part_name

    given = _our_arguments(port, fetches, folder)
    frontier = Frontier(given["links"] / "links" / part_name(0))
    had = 0

    async def count(_work, visit):
        nonlocal had
        had += visit.outcome == "ok"
        return crawl_work.Entry(row=visit.row, outcome="ok", source="live", url=visit.url), b""

    class Nothing:
        """A journal that keeps nothing."""

        rows: list[int] = []  # noqa: RUF012

        def entries(self):
            return iter(())

        def append(self, _entry: object, _records: bytes) -> None:
            pass

    def open_live() -> LiveSource:
        return LiveSource(
            given["config"], concurrency=CONCURRENCY, host_delay_s=0.0,
            politeness=folder / "hosts.bin", exempt=given["exempt"],
        )  # fmt: skip

    def crawl() -> int:
        crawl_work._Work._write = count  # type: ignore[method-assign]
        asyncio.run(work())
        return had

    async def work() -> None:
        await crawl_work.crawl_links(
            frontier,
            Nothing(),  # type: ignore[arg-type]
            given["config"],
            crawl_work.Sources(live=open_live),
            concurrency=CONCURRENCY,
            exempt=given["exempt"],
            progress=lambda *_, **__: None,
        )

    return crawl


def _our_arguments(port: int, fetches: int, folder: Path) -> dict:  # type: ignore[type-arg]
    from tests.webtext.small_web import write_links
    from webtext.crawl import CrawlConfig

    return {
        "links": write_links(folder / "links-artifact", page_urls(port, fetches)),
        "partition": 0,
        "destination": folder / "out",
        "config": CrawlConfig(source="live", user_agent="bench/1 (+https://a.example/bot)"),
        "concurrency": CONCURRENCY,
        "host_delay_s": 0.0,
        "exempt": frozenset((f"127.0.0.{2 + n}", port) for n in range(HOSTS)),
    }


# ---- Scrapy -------------------------------------------------------------------------------------


def scrapy_warc(port: int, fetches: int, folder: Path) -> Run:
    """A Scrapy spider, robots obeyed, every response written by warcio, as its users do it."""
    import io

    import scrapy
    from scrapy.crawler import CrawlerProcess
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    stream = (folder / "scrapy.warc.gz").open("wb")
    writer = WARCWriter(stream, gzip=True)
    had = 0

    class Pages(scrapy.Spider):
        name = "pages"
        start_urls = page_urls(port, fetches)

        def parse(self, response: scrapy.http.Response) -> None:
            nonlocal had
            had += 1
            fields = [(k.decode(), v[0].decode()) for k, v in response.headers.items()]
            head = StatusAndHeaders(f"{response.status} OK", fields, protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    response.url, "response", payload=io.BytesIO(response.body), http_headers=head
                )
            )

    process = CrawlerProcess(
        {
            "ROBOTSTXT_OBEY": True, "CONCURRENT_REQUESTS": CONCURRENCY, "LOG_LEVEL": "ERROR",
            "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY, "DOWNLOAD_DELAY": 0,
            "TELNETCONSOLE_ENABLED": False, "USER_AGENT": "bench/1 (+https://a.example/bot)",
            "COOKIES_ENABLED": False, "RETRY_ENABLED": False,
        }
    )  # fmt: skip

    def crawl() -> int:
        process.crawl(Pages)
        process.start()
        stream.close()
        return had

    return crawl


def scrapy_warc_fast(port: int, fetches: int, folder: Path) -> Run:
    """The same with zlib's level 1 in place of warcio's 9, which has no setting for it."""
    import zlib

    from warcio import warcwriter

    def begin(wrapper: Any, out: Any) -> None:
        wrapper.compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS + 16)
        wrapper.out = out

    warcwriter.GzippingWrapper.__init__ = begin
    return scrapy_warc(port, fetches, folder)


CLIENTS: dict[str, Callable[[int, int, Path], Run]] = {
    "bare_aiohttp": bare_aiohttp,
    "our_client": our_client,
    "our_crawl": our_crawl,
    "scrapy_warc": scrapy_warc,
    "scrapy_warc_fast": scrapy_warc_fast,
    "trafilatura": trafilatura_downloads,
}


if __name__ == "__main__":
    client, port, fetches, folder = CLIENTS[sys.argv[1]], *map(int, sys.argv[2:4]), sys.argv[4]
    crawl = client(port, fetches, Path(folder))
    cpu, wall = time.process_time(), time.perf_counter()
    pages = crawl()
    print(
        json.dumps(
            {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "pages": pages,
                "peak_mb": peak_mb(),
            }
        )
    )
