"""kill -9 at 20 random moments of a live crawl: nothing recorded is fetched again, nothing is lost.

The crawl runs in a process of its own, the sites in another, which logs every request. A child is
forked from a process that has everything imported, so that a kill hits the crawl and no import.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from fastwarc.warc import ArchiveIterator as FastArchiveIterator
from warcio.archiveiterator import ArchiveIterator

from tests.webtext.counting_server import host_address
from tests.webtext.small_web import write_links
from webtext.crawl import CrawlConfig, crawl_partition

HOSTS, PAGES, KILLS = 12, 8, 20
DELAY_S = 0.03
CONFIG = CrawlConfig(
    source="live",
    user_agent="webtext-test/1 (+http://test.example/about)",
    retry_delay_s=0.01,
    max_retry_after_s=0.3,
)
KINDS = ("page", "moved", "missing", "private", "noai", "reserved", "busy", "page")
OUTCOMES = {
    "page": "ok",
    "moved": "ok",
    "busy": "ok",
    "missing": "not_found",
    "private": "robots_disallowed",
    "noai": "opted_out",
    "reserved": "opted_out",
}
UNTIMED = (
    "link_id",
    "outcome",
    "detail",
    "status",
    "final_url",
    "redirects",
    "content_type",
    "warc_file",
    "payload_digest",
    "payload_bytes",
)
"""Columns that say nothing of when a page was fetched."""


class Request(NamedTuple):
    host: str
    path: str
    arrived: float
    ended: float
    at_once: int


class Sites(NamedTuple):
    port: int
    log: Path

    def requests(self) -> list[Request]:
        found = []
        for line in self.log.read_text().splitlines():
            host, path, arrived, ended, at_once = line.split(" ")
            found.append(Request(host, path, float(arrived), float(ended), int(at_once)))
        return found


@contextlib.contextmanager
def sites_running(folder: Path, port: int = 0) -> Iterator[Sites]:
    """The sites on a port; on any that is free if 0."""
    folder.mkdir()
    log = folder / "requests.log"
    log.touch()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.webtext.counting_server", str(HOSTS), str(port), str(log)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield Sites(int(server.stdout.readline()), log)
    finally:
        server.kill()
        server.communicate()


def links_of(folder: Path, port: int) -> tuple[Path, dict[str, str]]:
    """The links artifact, and the kind of page each link leads to."""
    kinds = {
        f"http://{host_address(host)}:{port}/{KINDS[number]}/{number}": KINDS[number]
        for host in range(HOSTS)
        for number in range(PAGES)
    }
    return write_links(folder, kinds), kinds


def crawl(links: Path, destination: Path, port: int) -> None:
    crawl_partition(
        links=links,
        partition=0,
        destination=destination,
        config=CONFIG,
        concurrency=6,
        host_delay_s=DELAY_S,
        politeness=destination.parent / "hosts.bin",
        exempt=frozenset((host_address(number), port) for number in range(HOSTS)),
    )


FORKER = """
import os, sys
from pathlib import Path
from tests.webtext.test_crawl_kills import crawl
links, destination, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        crawl(links, destination, port)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Forker:
    """Starts crawls one after another, each a process to be killed."""

    def __init__(self, links: Path, destination: Path, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER, str(links), str(destination), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self) -> int:
        """Start a crawl; its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """The exit code of the crawl that was started last."""
        return self._read()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def recorded(destination: Path, links: Path) -> set[str]:
    """The links that the journal holds, read without our own code."""
    table = pq.read_table(links / "links" / "part-00000.parquet", columns=["url"])
    urls = table["url"].to_pylist()
    path = destination / ".journal" / "links.jsonl"
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return {urls[json.loads(line)["row"]] for line in lines}


def asked(sites: Sites, since: int) -> list[str]:
    return [f"http://{each.host}:{sites.port}{each.path}" for each in sites.requests()[since:]]


def wait_for_requests(sites: Sites, number: int) -> None:
    deadline = time.monotonic() + 20
    while sites.log.read_bytes().count(b"\n") < number and time.monotonic() < deadline:
        time.sleep(0.005)


def kill_at_random_moments(sites: Sites, forker: Forker, links: Path, destination: Path) -> int:
    """Kill the crawl `KILLS` times and let it finish; the kills that it met at work."""
    moments = random.Random(20)
    met = 0
    for _ in range(KILLS):
        before, since = recorded(destination, links), len(sites.requests())
        child = forker.start()
        wait_for_requests(sites, since + moments.randint(0, 6))
        time.sleep(moments.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert forker.wait() == -signal.SIGKILL, "the crawl ended before it was killed"
        time.sleep(0.02)  # the server logs a request when it is answered
        again = before & set(asked(sites, since))
        assert not again, f"recorded, and fetched again: {again}"
        met += len(sites.requests()) > since
    before, since = recorded(destination, links), len(sites.requests())
    assert len(before) < HOSTS * PAGES, "nothing was left for the last crawl"
    forker.start()
    assert forker.wait() == 0
    assert not before & set(asked(sites, since))
    return met


def untimed_rows(destination: Path) -> list[dict[str, Any]]:
    table = pq.read_table(destination / "captures" / "part-00000.parquet", columns=list(UNTIMED))
    return table.to_pylist()


def contents(destination: Path) -> list[tuple[str, str | None, bytes]]:
    """Type, address and content of all records in order; of metadata, which hold dates, no content.

    Raises an error where a record is cut or its digest is wrong.
    """
    with (destination / "warc" / "part-00000.warc.gz").open("rb") as stream:
        found = []
        for record in ArchiveIterator(stream, check_digests="raise"):
            kind, url = record.rec_type, record.rec_headers.get_header("WARC-Target-URI")
            body = record.content_stream().read()
            found.append((kind, url, b"" if kind in {"metadata", "warcinfo"} else body))
        return found


def is_kept_out(url: str | None) -> bool:
    return "/noai/" in (url or "") or "/reserved/" in (url or "")


def check_politeness(requests: list[Request]) -> None:
    """One request at a time, and the delay between any two, whichever process sent them."""
    by_host: dict[str, list[Request]] = defaultdict(list)
    for each in requests:
        by_host[each.host].append(each)
    assert len(by_host) == HOSTS
    for host, found in by_host.items():
        found.sort(key=lambda each: each.arrived)
        assert {each.at_once for each in found} == {1}, host
        # Sent to sent: a killed crawl does not see the end of its last request.
        gaps = [later.arrived - earlier.arrived for earlier, later in pairwise(found)]
        assert min(gaps) >= DELAY_S * 0.9, (host, min(gaps))
        for earlier, later in pairwise(found):
            if earlier.path.startswith("/busy") and later.path == earlier.path:
                assert later.arrived - earlier.ended >= CONFIG.max_retry_after_s * 0.8, host


def test_20_kills_cost_no_recorded_link_and_no_record(tmp_path: Path) -> None:
    with sites_running(tmp_path / "calm") as calm:
        links, _ = links_of(tmp_path / "calm" / "links-artifact", calm.port)
        crawl(links, tmp_path / "calm" / "out", calm.port)
    calm_rows = untimed_rows(tmp_path / "calm" / "out")
    calm_contents = contents(tmp_path / "calm" / "out")

    destination = tmp_path / "killed" / "out"
    with sites_running(tmp_path / "killed", calm.port) as sites:
        links, kinds = links_of(tmp_path / "killed" / "links-artifact", sites.port)
        forker = Forker(links, destination, sites.port)
        try:
            met = kill_at_random_moments(sites, forker, links, destination)
        finally:
            forker.close()
        requests = sites.requests()

    assert met >= KILLS // 2
    check_politeness(requests)
    urls = pq.read_table(links / "links" / "part-00000.parquet", columns=["link_id", "url"])
    table = pq.read_table(destination / "captures" / "part-00000.parquet")
    assert table["link_id"].to_pylist() == urls["link_id"].to_pylist()  # none missing, none twice
    outcomes = dict(zip(urls["url"].to_pylist(), table["outcome"].to_pylist(), strict=True))
    assert outcomes == {url: OUTCOMES[kind] for url, kind in kinds.items()}
    assert untimed_rows(destination) == calm_rows
    assert contents(destination) == calm_contents
    with (destination / "warc" / "part-00000.warc.gz").open("rb") as stream:
        assert sum(1 for _ in FastArchiveIterator(stream, parse_http=False)) == len(calm_contents)
    private = [each for each in requests if each.path.startswith("/private")]
    assert private == []
    kept_out = [
        body for kind, url, body in calm_contents if kind == "response" and is_kept_out(url)
    ]
    assert kept_out == [b""] * 2 * HOSTS
    assert not (destination / ".journal").exists()
