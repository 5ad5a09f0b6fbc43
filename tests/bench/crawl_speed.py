"""How fast the crawl is on loopback beside Scrapy and trafilatura's downloader, in one run.

Pages of 150 to 240 KB come from a server in a process of its own; each client runs in one, too, and
is measured by the CPU time of its whole process, all threads, which a busy machine moves less than
the wall. Scrapy and ours obey robots and write WARC files: Scrapy through warcio, once as its users
do it (gzip level 9, warcio's own) and once with zlib's level 1, the fastest there; ours by
libdeflate at level 1, off the event loop. Judged are pages a CPU second beside the faster Scrapy.

`crawl_client` judges the crawl with storing off beside a bare client.
"""

import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.crawl_clients import measure
from tests.bench.page_server import page_server

GOAL = 5.0
FETCHES = int(os.environ.get("WEBTEXT_BENCH_FETCHES", "2000"))
PAGES = 300

NAMES = {
    "bare_aiohttp": "bare aiohttp, nothing kept",
    "our_client": "ours, robots, storing off",
    "our_crawl": "ours, robots and WARC",
    "trafilatura": "trafilatura's downloader, 16 threads",
    "scrapy_warc_fast": "Scrapy, robots and WARC, zlib 1",
    "scrapy_warc": "Scrapy, robots and WARC, zlib 9",
}


def compare(clients: list[str], fetches: int, turns: int = 1) -> dict[str, float]:
    """Pages a CPU second of each client, the best of some turns, after printing a table."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, page_server(PAGES) as port:
        for turn in range(turns):
            for name in clients:
                figures = measure(name, port, fetches, Path(folder) / f"{name}-{turn}")
                if figures["pages"] != fetches:
                    raise RuntimeError(f"{name} had {figures['pages']} of {fetches} pages")
                if name not in found or figures["cpu"] < found[name]["cpu"]:
                    found[name] = figures
    table = Table(title=f"{fetches} pages of 150-240 KB over loopback, a process each")
    for column in ("client", "pages/s", "CPU ms a page", "pages a CPU s", "peak MB"):
        table.add_column(column, justify="left" if column == "client" else "right")
    for name, figures in found.items():
        table.add_row(
            NAMES[name],
            f"{fetches / figures['wall']:,.0f}",
            f"{figures['cpu'] / fetches * 1000:.2f}",
            f"{fetches / figures['cpu']:,.0f}",
            f"{figures['peak_mb']:,.0f}",
        )
    Console().print(table)
    return {name: fetches / figures["cpu"] for name, figures in found.items()}


def run() -> dict[str, object]:
    """Measure, print a table, and return the figure that is judged."""
    pages = compare(list(NAMES), FETCHES)
    ratio = pages["our_crawl"] / pages["scrapy_warc_fast"]
    return {
        "name": "crawl_speed",
        "measured": round(ratio, 2),
        "goal": GOAL,
        "unit": "times Scrapy's pages a CPU second, WARC and the fastest gzip on both sides",
        "reached": ratio >= GOAL,
    }
