"""The crawl from a gateway: every outcome, equal bytes, kills, resumption, foreign readers."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from warcio.archiveiterator import ArchiveIterator

from tests.webtext.small_web import (
    HTML,
    file_digests,
    gateway_running,
    link_id,
    page,
    read_captures,
    record,
    redirect,
    write_archive,
    write_links,
)
from webtext.counts import Counts
from webtext.crawl import CrawlConfig, crawl_partition
from webtext.crawl_journal import Journal
from webtext.errors import ConfigError, SourceError
from webtext.tables import CAPTURES
from webtext.warc import read_response

CONFIG = CrawlConfig(max_body_bytes=100_000, max_redirects=3, retry_delay_s=0.01)
PNG = (("Content-Type", "image/png"),)
GZIPPED = (*HTML, ("Content-Encoding", "gzip"))

WEB: dict[str, tuple[bytes, str]] = {
    "http://a.example/ok": (record("http://a.example/ok"), "ok"),
    "http://a.example/xhtml": (
        record("http://a.example/xhtml", headers=(("content-type", "Application/XHTML+XML"),)),
        "ok",
    ),
    "http://a.example/untyped": (record("http://a.example/untyped", headers=()), "ok"),
    "http://a.example/gzip": (
        record("http://a.example/gzip", gzip.compress(page("zipped")), headers=GZIPPED),
        "ok",
    ),
    "http://a.example/moved": (redirect("http://a.example/moved", "/ok#here", 301), "ok"),
    "http://a.example/far": (redirect("http://a.example/far", "http://b.example/there"), "ok"),
    "http://b.example/there": (record("http://b.example/there"), "ok"),
    "http://a.example/wiki": (
        redirect("http://a.example/wiki", "https://de.m.wikipedia.org/wiki/Hund"),
        "wikipedia_redirect",
    ),
    "http://r.example/private/1": (record("http://r.example/private/1"), "robots_disallowed"),
    "http://r.example/public": (record("http://r.example/public"), "ok"),
    "http://a.example/to-private": (
        redirect("http://a.example/to-private", "http://r.example/private/2"),
        "robots_disallowed",
    ),
    "http://a.example/404": (record("http://a.example/404", b"gone", status=404), "not_found"),
    "http://a.example/410": (record("http://a.example/410", b"gone", status=410), "not_found"),
    "http://a.example/500": (record("http://a.example/500", b"err", status=500), "http_error"),
    "http://a.example/403": (record("http://a.example/403", b"no", status=403), "http_error"),
    "http://a.example/304": (record("http://a.example/304", b"", status=304), "http_error"),
    "http://a.example/png": (
        record("http://a.example/png", b"\x89PNG", headers=PNG),
        "wrong_content_type",
    ),
    "http://a.example/untyped-pdf": (
        record("http://a.example/untyped-pdf", b"%PDF-1.4", headers=()),
        "wrong_content_type",
    ),
    "http://a.example/large": (
        record("http://a.example/large", page("x" * 200_000)),
        "too_large",
    ),
    "http://a.example/bomb": (
        record("http://a.example/bomb", gzip.compress(bytes(9_000_000)), headers=GZIPPED),
        "too_large",
    ),
    "http://a.example/cut": (
        record("http://a.example/cut", gzip.compress(page("cut"))[:-9], headers=GZIPPED),
        "bad_response",
    ),
    "http://a.example/empty": (record("http://a.example/empty", b" \n"), "empty"),
    "http://a.example/loop": (
        redirect("http://a.example/loop", "http://a.example/loop"),
        "too_many_redirects",
    ),
    "http://a.example/inside": (
        redirect("http://a.example/inside", "http://169.254.169.254/latest/"),
        "blocked_address",
    ),
    "http://a.example/inside-octal": (
        redirect("http://a.example/inside-octal", "http://0177.1/"),
        "blocked_address",
    ),
    "http://2130706433/": (record("http://2130706433/"), "blocked_address"),
    "http://localhost/admin": (record("http://localhost/admin"), "blocked_address"),
    "http://a.example/ftp": (redirect("http://a.example/ftp", "ftp://a.example/"), "bad_response"),
}
NOT_ARCHIVED = ["http://a.example/never", "http://dead.example/"]
ROBOTS = record(
    "http://r.example/robots.txt",
    b"User-agent: *\nDisallow: /private\n",
    headers=(("Content-Type", "text/plain"),),
)
URLS = [*WEB, *NOT_ARCHIVED]


@pytest.fixture
def web(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "web.warc.gz", [ROBOTS, *(made for made, _ in WEB.values())])


@pytest.fixture
def links(tmp_path: Path) -> Path:
    return write_links(tmp_path / "links-artifact", URLS)


def crawl(links: Path, destination: Path, gateway: str, **changes: Any) -> Counts:
    arguments: dict[str, Any] = {
        "links": links,
        "partition": 0,
        "destination": destination,
        "config": CONFIG,
        "gateway": gateway,
        "concurrency": 8,
        "host_delay_s": 0.0,
    }
    return crawl_partition(**(arguments | changes))


def test_every_link_has_one_row_with_its_outcome(web: Path, links: Path, tmp_path: Path) -> None:
    with gateway_running(web) as address:
        counts = crawl(links, tmp_path / "out", address)
    captures = read_captures(tmp_path / "out")
    found = {url: captures[link_id(url)]["outcome"] for url in URLS}
    assert found == {url: outcome for url, (_, outcome) in WEB.items()} | dict.fromkeys(
        NOT_ARCHIVED, "not_archived"
    )
    assert len(captures) == counts.rows_in == len(URLS)
    tally = Counter(found.values())
    assert counts.rows_out == tally.pop("ok")
    assert counts.losses == dict(tally)
    schema = pq.read_schema(tmp_path / "out" / "captures" / "part-00000.parquet")
    assert schema.names == CAPTURES.names
    same = schema.names
    assert [schema.field(name) for name in same] == [CAPTURES.field(name) for name in same]
    assert set(file_digests(tmp_path / "out")) == {
        "captures/part-00000.parquet",
        "warc/part-00000.warc.gz",
    }


def test_a_row_leads_to_its_record(web: Path, links: Path, tmp_path: Path) -> None:
    with gateway_running(web) as address:
        crawl(links, tmp_path / "out", address)
    captures = read_captures(tmp_path / "out")
    for url, (_, outcome) in WEB.items():
        row = captures[link_id(url)]
        if outcome != "ok":
            continue
        read = read_response(
            tmp_path / "out" / row["warc_file"],
            row["warc_offset"],
            row["warc_length"],
            max_bytes=1_000_000,
        )
        assert read.url == row["final_url"]
        assert len(read.payload) == row["payload_bytes"]
        assert read.date == row["captured_at"] == datetime(2017, 9, 1, tzinfo=UTC)
        assert read.page(max_bytes=1_000_000).startswith(b"<html>")
        assert not [name for name, _ in read.headers if "archive" in name.lower()]
    far = captures[link_id("http://a.example/far")]
    assert (far["redirects"], far["final_url"], far["status"]) == (1, "http://b.example/there", 200)
    wiki = captures[link_id("http://a.example/wiki")]
    assert (wiki["redirects"], wiki["warc_file"], wiki["status"]) == (1, None, 302)
    missing = captures[link_id("http://a.example/404")]
    assert (missing["status"], missing["payload_bytes"]) == (404, 0)


def test_foreign_readers_find_every_record(web: Path, links: Path, tmp_path: Path) -> None:
    with gateway_running(web) as address:
        crawl(links, tmp_path / "out", address)
    with (tmp_path / "out" / "warc" / "part-00000.warc.gz").open("rb") as stream:
        kinds: Counter[str] = Counter()
        for each in ArchiveIterator(stream, check_digests="raise"):
            kinds[each.rec_type] += 1
            each.content_stream().read()
    rows = read_captures(tmp_path / "out").values()
    recorded = sum(row["warc_file"] is not None for row in rows)
    hops = sum(row["redirects"] for row in rows) + 1  # the last hop of the loop is not followed
    assert kinds == {"warcinfo": 1, "response": recorded + hops, "metadata": recorded}


def test_bytes_do_not_depend_on_concurrency_order_or_address(
    web: Path, links: Path, tmp_path: Path
) -> None:
    results = []
    for number, concurrency in enumerate((1, 3, 32)):

        def dawdle(path: str, number: int = number) -> None:
            time.sleep(0.002 * ((hash(path) + number) % 3))

        with gateway_running(web, observe=dawdle) as address:
            crawl(links, tmp_path / str(number), address, concurrency=concurrency)
        results.append(file_digests(tmp_path / str(number)))
    assert results[0] == results[1] == results[2]


def test_crawling_our_own_warc_file_gives_the_same_captures(
    web: Path, links: Path, tmp_path: Path
) -> None:
    with gateway_running(web) as address:
        crawl(links, tmp_path / "first", address)
    with gateway_running(tmp_path / "first" / "warc" / "part-00000.warc.gz") as address:
        crawl(links, tmp_path / "again", address, config=CONFIG)
    first, again = read_captures(tmp_path / "first"), read_captures(tmp_path / "again")
    for url, (_, outcome) in WEB.items():
        if outcome in {"ok", "not_found", "http_error", "empty", "wikipedia_redirect"}:
            left, right = first[link_id(url)], again[link_id(url)]
            assert left["payload_digest"] == right["payload_digest"], url
            assert (left["outcome"], left["final_url"]) == (right["outcome"], right["final_url"])


CHILD = """
import json, sys
from pathlib import Path
from webtext.crawl import CrawlConfig, crawl_partition
links, destination, config, gateway = sys.argv[1:]
crawl_partition(
    links=Path(links), partition=0, destination=Path(destination),
    config=CrawlConfig.model_validate_json(config), gateway=gateway, concurrency=4,
    host_delay_s=0.0,
)
"""


def start_child(links: Path, destination: Path, address: str) -> subprocess.Popen[bytes]:
    arguments = [str(links), str(destination), CONFIG.model_dump_json(), address]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments])


def journalled_urls(destination: Path, links: Path) -> set[str]:
    """The links that the journal of a killed crawl holds, read without our own code."""
    table = pq.read_table(links / "links" / "part-00000.parquet", columns=["url"])
    urls = table["url"].to_pylist()
    path = destination / ".journal" / "links.jsonl"
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return {urls[json.loads(line)["row"]] for line in lines}


def test_kill_9_costs_no_recorded_link_and_no_byte(tmp_path: Path) -> None:
    urls = [f"http://site{n % 7}.example/page/{n}" for n in range(120)]
    web = write_archive(
        tmp_path / "web.warc.gz",
        [record(url, page(f"{number} " * (number * 40))) for number, url in enumerate(urls)],
    )
    links = write_links(tmp_path / "links-artifact", urls)
    with gateway_running(web) as address:
        crawl(links, tmp_path / "undisturbed", address)

    requests: Counter[str] = Counter()
    arrived = threading.Semaphore(0)

    def count(path: str) -> None:
        requests[path.partition("id_/")[2]] += 1
        arrived.release()
        time.sleep(0.004)

    destination = tmp_path / "killed"
    kills = 0
    with gateway_running(web, observe=count) as address:
        for wanted in (25, 30, 3):
            before = journalled_urls(destination, links)
            requests.clear()
            child = start_child(links, destination, address)
            for _ in range(wanted):
                assert arrived.acquire(timeout=30)
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            kills += 1
            assert not before & set(requests), "a recorded link was fetched again"
            while arrived.acquire(blocking=False):
                pass
        before = journalled_urls(destination, links)
        assert 20 < len(before) < len(urls)
        requests.clear()
        crawl(links, destination, address)
        pages = set(urls) & set(requests)
    assert pages == set(urls) - before
    assert file_digests(destination) == file_digests(tmp_path / "undisturbed")


def damage_journal(journal: Path, damage: str) -> None:
    lines, records = journal / "links.jsonl", journal / "records.warc.gz"
    content, whole = lines.read_bytes(), records.read_bytes()
    if damage == "half line":
        lines.write_bytes(content[:-20])
    elif damage == "half record":
        records.write_bytes(whole[:-15])
    elif damage == "zeroed record":
        records.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    else:
        lines.write_bytes(content.replace(b'{"journal": "', b'{"journal": "0', 1))


def test_a_damaged_journal_is_cut_to_its_good_part(web: Path, links: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    with gateway_running(web, observe=lambda _: time.sleep(0.01)) as address:
        child = start_child(links, killed, address)
        deadline = time.monotonic() + 30
        while len(journalled_urls(killed, links)) < 12 and time.monotonic() < deadline:
            time.sleep(0.005)
        child.kill()
        child.wait()
    known = {url for url in journalled_urls(killed, links) if url.startswith("http://a.example/")}
    assert len(known) >= 5
    requests: list[str] = []
    with gateway_running(web, observe=requests.append) as address:
        crawl(links, tmp_path / "undisturbed", address)
        for damage in ("half line", "half record", "zeroed record", "other identity"):
            destination = tmp_path / damage
            shutil.copytree(killed, destination)
            damage_journal(destination / ".journal", damage)
            requests.clear()
            crawl(links, destination, address)
            asked = {path.partition("id_/")[2] for path in requests}
            assert bool(known - asked) == (damage != "other identity"), damage
            assert file_digests(destination) == file_digests(tmp_path / "undisturbed"), damage


def test_two_processes_never_share_a_journal(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "journal", "one"),
        pytest.raises(SourceError, match="another process"),
    ):
        Journal(tmp_path / "journal", "one")


def test_a_finished_partition_is_not_crawled_again(web: Path, links: Path, tmp_path: Path) -> None:
    requests: list[str] = []
    with gateway_running(web, observe=requests.append) as address:
        counts = crawl(links, tmp_path / "out", address)
        digests = file_digests(tmp_path / "out")
        # Killed after the table was put in place, before the journal was removed.
        (tmp_path / "out" / ".journal").mkdir()
        (tmp_path / "out" / ".journal" / "links.jsonl").write_text("{}")
        requests.clear()
        assert crawl(links, tmp_path / "out", address) == counts
    assert requests == []
    assert file_digests(tmp_path / "out") == digests


def test_an_empty_partition_has_its_files(web: Path, tmp_path: Path) -> None:
    links = write_links(tmp_path / "none", [])
    with gateway_running(web) as address:
        counts = crawl(links, tmp_path / "out", address)
    assert counts.rows_in == counts.rows_out == 0
    assert read_captures(tmp_path / "out") == {}
    with (tmp_path / "out" / "warc" / "part-00000.warc.gz").open("rb") as stream:
        assert [each.rec_type for each in ArchiveIterator(stream)] == ["warcinfo"]


def test_asks_for_the_time_of_the_submission(tmp_path: Path) -> None:
    web = write_archive(tmp_path / "w.warc.gz", [record("http://a.example/ok")])
    links = write_links(tmp_path / "l", ["http://a.example/ok"], created=1498912496)
    requests: list[str] = []
    with gateway_running(web, observe=requests.append) as address:
        crawl(links, tmp_path / "out", address)
    assert requests == [
        "/20170715000000id_/http://a.example/robots.txt",
        "/20170701123456id_/http://a.example/ok",
        "/20170715000000id_/http://a.example/.well-known/tdmrep.json",
    ]


def test_without_robots_none_is_fetched(web: Path, links: Path, tmp_path: Path) -> None:
    requests: list[str] = []
    config = CONFIG.model_copy(update={"obey_robots": False})
    with gateway_running(web, observe=requests.append) as address:
        crawl(links, tmp_path / "out", address, config=config)
    assert not [path for path in requests if path.endswith("robots.txt")]
    assert read_captures(tmp_path / "out")[link_id("http://r.example/private/1")]["outcome"] == "ok"


def test_a_gateway_that_is_not_there_is_one_clear_error(links: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gateway does not answer"):
        crawl(links, tmp_path / "out", "http://127.0.0.1:9")
    assert not (tmp_path / "out" / "captures").exists()


def test_arguments_that_do_not_fit_are_refused(links: Path, tmp_path: Path) -> None:
    live = CrawlConfig(source="live", user_agent="bot/1 (+https://a.example/bot)")
    with pytest.raises(ConfigError, match="no gateway"):
        crawl_partition(links=links, partition=0, destination=tmp_path, config=CONFIG)
    with pytest.raises(ConfigError, match="leave it out"):
        crawl(links, tmp_path, "http://127.0.0.1:9", config=live)
    with pytest.raises(ConfigError, match="http"):
        crawl(links, tmp_path, "127.0.0.1:9")
    with pytest.raises(ConfigError, match="concurrency"):
        crawl(links, tmp_path, "http://127.0.0.1:9", concurrency=0)
    with pytest.raises(SourceError, match=r"part-00000\.parquet"):
        crawl(tmp_path / "missing", tmp_path / "out", "http://127.0.0.1:9")
    with pytest.raises(ValidationError, match="contact"):
        CrawlConfig(source="live")


def test_progress_counts_links(web: Path, links: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None = None, /, **_facts: float) -> None:
        told.append((done, total))

    with gateway_running(web) as address:
        crawl(links, tmp_path / "out", address, progress=progress)
    assert told[-1] == (len(URLS), len(URLS))


def test_captures_the_real_pages_as_they_are(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "real-web"
    rows = [json.loads(line) for line in (folder / "pages.jsonl").read_text().splitlines()][::15]
    links = write_links(tmp_path / "l", [row["url"] for row in rows])
    with gateway_running(folder / "pages.warc.gz") as address:
        counts = crawl(links, tmp_path / "out", address, config=CrawlConfig())
    captures = read_captures(tmp_path / "out")
    assert counts.rows_in == len(rows)
    outcomes = Counter(captures[link_id(row["url"])]["outcome"] for row in rows)
    assert outcomes["ok"] + outcomes["opted_out"] >= len(rows) - 2
    assert outcomes["ok"] >= 0.9 * len(rows)
    assert set(outcomes) <= {"ok", "wikipedia_redirect", "opted_out"}
    for row in rows:
        found = captures[link_id(row["url"])]
        if found["outcome"] == "ok":
            path = tmp_path / "out" / found["warc_file"]
            place = found["warc_offset"], found["warc_length"]
            payload = read_response(path, *place, max_bytes=20_000_000).payload
            assert hashlib.sha256(payload).hexdigest() == row["sha256"]
