"""How fast the crawl is on loopback, beside a bare aiohttp client on the same pages.

Generated pages of 100 to 200 KB are served by the replay gateway in a process of its own. A bare
client loop reads them all and keeps nothing; then the crawl captures them, robots and WARC on.
Both are measured in this process, by the wall and by CPU time (all threads), which a busy machine
moves less. Compression is most of the crawl's cost, so it is measured by itself as well.
"""

import asyncio
import contextlib
import random
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table
from yarl import URL

from tests.webtext.small_web import record, write_archive, write_links
from webtext.crawl import CrawlConfig, crawl_partition

DISTINCT = 300
FETCHES = 2_000
CONCURRENCY = 16
GOAL = 0.7
"""CPU time of the floor (the bare client's, and that of compressing the same pages at the crawl's
level) over the crawl's: robots, redirects, digests, journal and tables may cost the rest."""

_WORDS = (  # noqa: SIM905
    "the of and to in a is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were all her she there would their we him been has when who "
    "more no if out so said what up its about into than them can only other new some could time "
    "corpus language model token archive capture crawl partition gateway page document karma"
).split()


def make_page(seed: int) -> bytes:
    """A page of 100 to 200 KB whose text compresses about as real pages do (to a quarter)."""
    rng = random.Random(seed)
    size = rng.randint(100_000, 200_000)
    parts = [f"<html><head><title>Page {seed}</title></head><body>"]
    length = 0
    while length < size:
        words = " ".join(rng.choices(_WORDS, k=60))
        part = f'<div class="post" id="p{rng.getrandbits(40):x}"><p>{words}</p></div>\n'
        length += len(part)
        parts.append(part)
    return "".join([*parts, "</body></html>"]).encode()


@contextlib.contextmanager
def gateway_process(warc: Path) -> Iterator[str]:
    """A gateway in another process; yields its address."""
    code = (
        "import sys; from pathlib import Path; from webtext.gateway import run_gateway; "
        "run_gateway([Path(sys.argv[1])], port=0)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(warc)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        yield child.stdout.readline().split()[1]
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


async def fetch_bare(addresses: list[str]) -> int:
    """Read every address with a plain client; returns the bytes."""
    pending = iter(addresses)
    total = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal total
        for address in pending:
            async with session.get(URL(address, encoded=True)) as response:
                total += len(await response.read())

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))
    return total


def timed(work: Callable[[], object]) -> tuple[float, ...]:
    """Seconds by the wall and of CPU (this process, all threads) that `work` takes."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def run() -> dict[str, object]:
    """Measure, print a table, and return the figure that is judged."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hosts = [f"site{number % 40}.example" for number in range(FETCHES)]
        urls = [f"http://{host}/page/{number}" for number, host in enumerate(hosts)]
        pages = [make_page(seed) for seed in range(DISTINCT)]
        warc = write_archive(
            folder / "web.warc.gz",
            (record(url, pages[number % DISTINCT]) for number, url in enumerate(urls)),
        )
        links = write_links(folder / "links", urls)
        with gateway_process(warc) as gateway:
            bare = timed(
                lambda: asyncio.run(
                    fetch_bare([f"{gateway}/20170901000000id_/{url}" for url in urls])
                )
            )
            crawled = timed(
                lambda: crawl_partition(
                    links=links,
                    partition=0,
                    destination=folder / "out",
                    config=CrawlConfig(),
                    gateway=gateway,
                    concurrency=CONCURRENCY,
                    host_delay_s=0.0,
                )
            )
    # A quarter of the fetches is enough to know what compression costs.
    gzip = tuple(4 * seconds for seconds in timed(lambda: compress(pages, FETCHES // 4)))
    return _report(
        {
            "bare aiohttp, nothing kept": bare,
            "compression alone, no network": gzip,
            "crawl, robots and WARC": crawled,
        }
    )


def compress(pages: list[bytes], fetches: int) -> None:
    """Compress as many pages as the crawl does, at its level."""
    level = CrawlConfig().gzip_level
    for number in range(fetches):
        gzip = zlib.compressobj(level, zlib.DEFLATED, 31)
        gzip.compress(pages[number % len(pages)])
        gzip.flush()


def _report(measured: dict[str, tuple[float, ...]]) -> dict[str, object]:
    table = Table(title=f"{FETCHES} pages of 100-200 KB through the gateway, 1 process")
    for column in ("client", "pages/s", "CPU ms a page", "pages a CPU s"):
        table.add_column(column, justify="left" if column == "client" else "right")
    for client, (wall_s, cpu_s) in measured.items():
        table.add_row(
            client,
            f"{FETCHES / wall_s:,.0f}",
            f"{cpu_s / FETCHES * 1000:.2f}",
            f"{FETCHES / cpu_s:,.0f}",
        )
    console = Console()
    console.print(table)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"peak memory of this process: {peak_mib:,.0f} MiB")
    (_, bare_cpu_s), (_, gzip_cpu_s), (_, crawl_cpu_s) = measured.values()
    ratio = (bare_cpu_s + gzip_cpu_s) / crawl_cpu_s
    return {
        "name": "crawl_speed",
        "measured": round(ratio, 3),
        "goal": GOAL,
        "unit": "of a bare client that compresses, in pages a CPU second",
        "reached": ratio >= GOAL,
    }


if __name__ == "__main__":
    Console().print(run())
