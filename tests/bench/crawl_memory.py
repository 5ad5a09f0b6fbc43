"""Memory of a crawl whose frontier is a million links on 300,000 hosts, from loading to the end.

One process loads the frontier, fetches the first `FETCHES` links live from a server on loopback
(with schedule, robots.txt, politeness file and journal), journals the other links as if they had
been fetched, and puts the files together. Its own accounting (the kernel's peak of resident memory)
is judged. Every fiftieth body is one that others have too, so that revisits are looked for.
"""

import asyncio
import base64
import hashlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.memory import peak_mb
from tests.bench.page_server import page_server
from webtext.tables import LINK_ID, LINKS, part_name

GOAL_MB = 500
LINKS_COUNT = int(os.environ.get("WEBTEXT_BENCH_LINKS", "1000000"))
HOSTS = 300_000
FETCHES = 4_000
LIVE_HOSTS = 200
CONCURRENCY = 64


def run() -> dict[str, object]:
    """Measure, print a table, and return the figure that is judged."""
    with tempfile.TemporaryDirectory() as folder, page_server(20, 10_000, 20_000) as port:
        _write_links(Path(folder), port)
        command = [sys.executable, "-m", "tests.bench.crawl_memory", folder, str(port)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{LINKS_COUNT:,} links on {HOSTS:,} hosts, one process")
    print(f"{'step':<36}{'MB now':>8}{'MB peak':>9}{'s':>8}")
    for step in steps:
        print(f"{step['step']:<36}{step['now']:>8,.0f}{step['peak']:>9,.0f}{step['s']:>8.1f}")
    peak = round(steps[-1]["peak"])
    return {
        "name": "crawl_memory",
        "measured": peak,
        "goal": GOAL_MB,
        "unit": "MB at the peak, below",
        "reached": peak < GOAL_MB,
    }


def _write_links(folder: Path, port: int) -> None:
    """A links table: `FETCHES` links of it lead to the server, the others nowhere."""
    urls = [
        f"http://127.0.{n % LIVE_HOSTS // 100}.{2 + n % 100}:{port}/page/{n}"
        if n < FETCHES
        else f"http://www.some-host-{n % HOSTS}.example/a/path/of/usual/length/{n}/page.html"
        for n in range(LINKS_COUNT)
    ]
    rows = sorted((hashlib.blake2b(url.encode(), digest_size=16).digest(), url) for url in urls)
    ids, urls = zip(*rows, strict=True)
    hosts = [url.split("/")[2].split(":")[0] for url in urls]
    empty = pa.array([[]] * LINKS_COUNT, LINKS.field("submissions").type)
    columns = [
        pa.array(ids, LINK_ID), pa.array(urls), pa.array(hosts), pa.array(hosts),
        pa.array(np.full(LINKS_COUNT, 3, np.int32)),
        pa.array(np.full(LINKS_COUNT, 1_504_224_000, np.int64)), empty,
    ]  # fmt: skip
    path = folder / "links" / part_name(0)
    path.parent.mkdir()
    table = pa.Table.from_arrays(columns, schema=LINKS)
    pq.write_table(table, path, compression="zstd", row_group_size=10_000)


def _child(folder: Path, port: int) -> None:
    from webtext.crawl_config import CrawlConfig
    from webtext.crawl_files import assemble_files
    from webtext.crawl_frontier import Frontier
    from webtext.crawl_journal import Journal

    _tell("imports")
    config = CrawlConfig(source="live", user_agent="bench/1 (+https://a.example/bot)")
    frontier = Frontier(folder / "links" / part_name(0))
    _tell("frontier loaded")
    with Journal(folder / "journal", "bench") as journal:
        _journal_the_unreachable(frontier, journal)
        _tell("links without a server journalled")
        asyncio.run(_crawl(frontier, journal, config, folder, port))
        _tell(f"{FETCHES:,} links fetched live")
        assemble_files(folder / "out", 0, frontier, journal, config)
    _tell("WARC file and captures written")


async def _crawl(frontier, journal, config, folder: Path, port: int) -> None:
    from webtext.crawl_work import Sources, crawl_links
    from webtext.fetch import LiveSource

    exempt = frozenset((f"127.0.{a}.{2 + b}", port) for a in range(2) for b in range(100))

    def open_live() -> LiveSource:
        return LiveSource(
            config, concurrency=CONCURRENCY, host_delay_s=0.0,
            politeness=folder / "hosts.bin", exempt=exempt,
        )  # fmt: skip

    await crawl_links(
        frontier, journal, config, Sources(live=open_live), concurrency=CONCURRENCY,
        exempt=exempt, progress=lambda *_, **__: None,
    )  # fmt: skip


def _journal_the_unreachable(frontier, journal) -> None:
    """Journal every link that no server answers for, in no order, as captured pages."""
    from webtext.crawl_visit import Entry
    from webtext.warc import response_member

    member = response_member(
        url="http://a.example/", date=datetime(2020, 1, 1, tzinfo=UTC), status=200, reason="OK",
        headers=(("Content-Type", "text/html"),), payload=b"<p>x" * 400, identity=b"x",
    ).compressed  # fmt: skip
    crc = zlib.crc32(member)
    assert "digest" in inspect.signature(Entry).parameters
    for row in map(int, np.random.default_rng(0).permutation(len(frontier))):
        url = frontier.url(row)
        if url.startswith("http://127."):
            continue
        body = row if row % 50 else row // 5_000
        digest = base64.b32encode(hashlib.sha1(str(body).encode()).digest()).decode()
        entry = Entry(
            row=row, outcome="ok", source="live", url=url, status=200, content_type="text/html",
            digest=f"sha1:{digest}", payload_bytes=1_600, captured_at=1_577_836_800,
            length=len(member), record_length=len(member), crc=crc,
        )  # fmt: skip
        journal.append(entry, member)


_began = time.monotonic()


def _tell(step: str) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    seconds = time.monotonic() - _began
    figures = {"step": step, "now": pages * 4096 / 1e6, "peak": peak_mb(), "s": seconds}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]), int(sys.argv[2]))
