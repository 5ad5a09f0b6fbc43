"""Where captures come from: files without a network, a dead site's archive, an archive's index."""

import asyncio
import gzip
import itertools
import json
import socket
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.webtext.small_web import (
    file_digests,
    gateway_running,
    link_id,
    page,
    read_captures,
    record,
    redirect,
    thread_serving,
    write_archive,
    write_links,
)
from webtext import crawl_work
from webtext.cdx import surt_key
from webtext.cdx_source import CdxAddresses
from webtext.counts import Counts
from webtext.crawl import CrawlConfig, crawl_partition
from webtext.errors import ConfigError, SourceError
from webtext.warc import index_warc, read_capture, read_response
from webtext.warc_index import WarcIndexConfig, index_archives

SUBMITTED = 1504224000  # 2017-09-01
OLD, NEAR, NEW = (datetime(year, 9, 2, tzinfo=UTC) for year in (2012, 2017, 2022))
URLS = {
    "http://a.example/page": "ok",
    "http://a.example/Page?b=2&a=1": "ok",
    "http://b.example/moved": "ok",
    "http://b.example/twin": "ok",
    "http://c.example/gone": "not_found",
    "http://d.example/never": "not_archived",
}
RECORDS = [
    record("http://a.example/page", page("old"), date=OLD),
    record("http://a.example/page", page("near"), date=NEAR),
    record("http://a.example/page", page("new"), date=NEW),
    record("http://a.example/PAGE", page("another page"), date=NEAR),
    record("http://a.example/Page?b=2&a=1", page("query")),
    redirect("http://b.example/moved", "http://a.example/page"),
    record("http://b.example/twin", page("twin " * 400)),
    record("http://c.example/gone", b"", status=404),
    record("http://a.example/robots.txt", b"User-agent: *\nDisallow: /private"),
]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    half = len(RECORDS) // 2
    (tmp_path / "archive").mkdir()
    write_archive(tmp_path / "archive" / "one.warc.gz", RECORDS[:half])
    write_archive(tmp_path / "archive" / "two.warc.gz", RECORDS[half:])
    return tmp_path / "archive"


def crawl(folder: Path, destination: Path, source: str, **changes: Any) -> Counts:
    arguments: dict[str, Any] = {
        "links": write_links(folder / "links-artifact", URLS, created=SUBMITTED),
        "partition": 0,
        "destination": destination,
        "config": CrawlConfig(source=source, retries=0),
        "concurrency": 4,
        "host_delay_s": 0.0,
    }
    return crawl_partition(**(arguments | changes))


def outcomes(destination: Path) -> dict[str, str]:
    rows = read_captures(destination)
    return {url: rows[link_id(url)]["outcome"] for url in URLS}


def assert_nearest(destination: Path) -> None:
    row = read_captures(destination)[link_id("http://a.example/page")]
    response = read_capture(destination, row, max_bytes=100_000)
    assert response.payload == page("near")
    assert row["captured_at"] == NEAR


# ---- WARC files ------------------------------------------------------------------------------


def crawl_files(folder: Path, warcs: list[Path], destination: Path, **changes: Any) -> Counts:
    index = folder / "index-artifact"
    index_archives(archives=warcs, destination=index, config=WarcIndexConfig())
    return crawl(folder, destination, "warc", warc_index=index, archives=warcs, **changes)


def test_warc_files_are_read_without_any_network(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a crawl of files has no business with sockets")

    loop_pair = socket.socketpair  # the event loop wakes itself by one
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert socket.socketpair is loop_pair
    crawl_files(tmp_path, sorted(archive.iterdir()), tmp_path / "out")
    assert outcomes(tmp_path / "out") == URLS
    assert_nearest(tmp_path / "out")
    assert {row["source"] for row in read_captures(tmp_path / "out").values()} == {"warc"}


def test_files_and_the_gateway_that_serves_them_give_the_same_pages(
    archive: Path, tmp_path: Path
) -> None:
    crawl_files(tmp_path, sorted(archive.iterdir()), tmp_path / "files")
    with gateway_running(*sorted(archive.iterdir())) as address:
        crawl(tmp_path, tmp_path / "gateway", "gateway", gateway=address)
    found = [
        {key: {**row, "source": "", "warc_offset": 0, "warc_length": 0, "payload_offset": 0,
               "payload_length": 0} for key, row in read_captures(tmp_path / name).items()}
        for name in ("files", "gateway")
    ]  # fmt: skip
    assert found[0] == found[1]


def test_bytes_do_not_depend_on_where_the_files_lie(archive: Path, tmp_path: Path) -> None:
    crawl_files(tmp_path, sorted(archive.iterdir()), tmp_path / "one", concurrency=1)
    elsewhere = archive.rename(tmp_path / "elsewhere")
    crawl_files(tmp_path, sorted(elsewhere.iterdir()), tmp_path / "two", concurrency=7)
    assert file_digests(tmp_path / "one") == file_digests(tmp_path / "two")


def test_a_damaged_archive_is_one_clear_error(archive: Path, tmp_path: Path) -> None:
    (archive / "one.warc.gz").write_bytes(b"no archive")
    with pytest.raises(SourceError, match=r"one\.warc\.gz"):
        crawl_files(tmp_path, sorted(archive.iterdir()), tmp_path / "out")


def test_sources_without_their_places_are_refused(tmp_path: Path) -> None:
    for source, wanted in (("warc", "WARC index"), ("cdx", "CDX index"), ("gateway", "gateway")):
        with pytest.raises(ConfigError, match=f"no {wanted} is given"):
            crawl(tmp_path, tmp_path / "out", source)


# ---- a dead site's archive --------------------------------------------------------------------


def test_dead_links_are_asked_of_the_archive_and_refusals_are_not(tmp_path: Path) -> None:
    async def serve(ready: "Future[str]", stop: asyncio.Event) -> None:
        async def answer(request: web.BaseRequest) -> web.Response:
            bodies = {
                "/alive": web.Response(text="<p>alive</p>", content_type="text/html"),
                "/robots.txt": web.Response(text="User-agent: *\nDisallow: /refused"),
                "/broken": web.Response(status=500),
                "/forbidden": web.Response(status=403),
            }
            return bodies.get(request.path, web.Response(status=404))

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await stop.wait()
        await runner.cleanup()

    with thread_serving(serve) as site:
        host, port = site.removeprefix("http://").split(":")
        paths = ["alive", "refused", "broken", "forbidden", "gone", "gone-everywhere"]
        archived = write_archive(
            tmp_path / "old.warc.gz",
            [record(f"{site}/{path}", page(f"archived {path}")) for path in paths[:-1]],
        )
        # The archive's own copies are judged by address too: only exempt ones may be loopback.
        with gateway_running(archived) as gateway:
            config = CrawlConfig(
                source="live-then-gateway", retries=0, user_agent="test/1 (+https://a.example/bot)"
            )
            crawl_partition(
                links=write_links(tmp_path / "l", [f"{site}/{path}" for path in paths]),
                partition=0,
                destination=tmp_path / "out",
                config=config,
                gateway=gateway,
                host_delay_s=0.0,
                exempt=frozenset({(host, int(port))}),
            )
    rows = read_captures(tmp_path / "out")
    found = {path: rows[link_id(f"{site}/{path}")] for path in paths}
    assert {path: (row["outcome"], row["source"]) for path, row in found.items()} == {
        "alive": ("ok", "live"),
        "refused": ("robots_disallowed", "live"),
        "broken": ("ok", "gateway"),
        "forbidden": ("http_error", "live"),
        "gone": ("ok", "gateway"),
        "gone-everywhere": ("not_found", "live"),
    }
    response = read_capture(tmp_path / "out", found["gone"], max_bytes=10_000)
    assert response.payload == page("archived gone")


# ---- indexes ------------------------------------------------------------------------------------


def cdx_lines(archive: Path) -> list[str]:
    """CDXJ lines for the archive, made from its records and not by the code under test."""
    lines = []
    for path in sorted(archive.glob("*.warc.gz")):
        for entry in index_warc(path):
            response = read_response(path, entry.offset, entry.length, max_bytes=100_000)
            host, _, rest = entry.url.removeprefix("http://").partition("/")
            key = ",".join(reversed(host.split("."))) + ")/" + rest.lower()
            key = key.replace("?b=2&a=1", "?a=1&b=2")
            fields = {
                "url": entry.url, "mime": "text/html", "status": str(response.status),
                "digest": "X", "length": str(entry.length), "offset": str(entry.offset),
                "filename": path.name,
            }  # fmt: skip
            lines.append(f"{key} {entry.timestamp} {json.dumps(fields)}\n")
    return sorted(lines)


def filler(count: int) -> list[str]:
    """Lines of other sites, before, between and behind ours."""
    return [
        f"{key},{n:06})/ 20170901000000 "
        f'{{"url": "http://{n:06}.{key}/", "status": "200", "length": "9", "offset": "0", '
        f'"filename": "none.warc.gz"}}\n'
        for key in ("aaa", "example,a", "zzz")
        for n in range(count)
    ]


def write_cluster(folder: Path, lines: list[str], block_lines: int) -> Path:
    """A two-level index as Common Crawl lays it out."""
    folder.mkdir()
    blocks = [lines[at : at + block_lines] for at in range(0, len(lines), block_lines)]
    with (folder / "cdx-00000.gz").open("wb") as packed, (folder / "cluster.idx").open("w") as top:
        for number, block in enumerate(blocks):
            member = gzip.compress("".join(block).encode())
            key = " ".join(block[0].split(" ")[:2])
            top.write(f"{key}\tcdx-00000.gz\t{packed.tell()}\t{len(member)}\t{number + 1}\n")
            packed.write(member)
    return folder / "cluster.idx"


def crawl_index(
    folder: Path, destination: Path, *indexes: str, records: str, **changes: Any
) -> Counts:
    addresses = CdxAddresses(indexes=indexes, records=records)
    return crawl(folder, destination, "cdx", cdx=addresses, **changes)


@pytest.mark.parametrize("block_lines", [1, 3, 100])
def test_a_two_level_index_on_disk(archive: Path, tmp_path: Path, block_lines: int) -> None:
    lines = sorted(cdx_lines(archive) + filler(700))
    cluster = write_cluster(tmp_path / "cc", lines, block_lines)
    crawl_index(tmp_path, tmp_path / "out", str(cluster), records=str(archive))
    assert outcomes(tmp_path / "out") == URLS
    assert_nearest(tmp_path / "out")
    assert {row["source"] for row in read_captures(tmp_path / "out").values()} == {"cdx"}


def test_a_plain_index_and_an_old_one_with_columns(archive: Path, tmp_path: Path) -> None:
    lines = sorted(cdx_lines(archive) + filler(500))
    (tmp_path / "all.cdxj").write_text("".join(lines))
    old = [" CDX N b a m s k r M S V g\n"]
    for line in lines:
        key, time, text = line.split(" ", 2)
        f = json.loads(text)
        old.append(f"{key} {time} {f['url']} text/html {f['status']} X - - {f['length']} "
                   f"{f['offset']} {f['filename']}\n")  # fmt: skip
    (tmp_path / "all.cdx").write_text("".join(old))
    for name in ("all.cdxj", "all.cdx"):
        crawl_index(tmp_path, tmp_path / name[4:], str(tmp_path / name), records=str(archive))
        assert outcomes(tmp_path / name[4:]) == URLS
    assert file_digests(tmp_path / "cdx") == file_digests(tmp_path / "cdxj")


class ArchiveServer:
    """An index server and the records, over HTTP with ranges."""

    def __init__(self, archive: Path, fault: str = "") -> None:
        self.archive, self.fault = archive, fault
        self.ranges: list[str] = []
        self.by_key: dict[str, list[str]] = {}
        for line in cdx_lines(archive):
            key, time, text = line.split(" ", 2)
            fields = {"urlkey": key, "timestamp": time, **json.loads(text)}
            self.by_key.setdefault(key, []).append(json.dumps(fields))

    async def serve(self, ready: "Future[str]", stop: asyncio.Event) -> None:
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/index":
            assert request.query["output"] == "json"
            found = self.by_key.get(surt_key(request.query["url"]), [])
            if self.fault == "the Wayback Machine's form":
                return web.Response(text='[["urlkey","timestamp","original"],["a","b","c"]]')
            if self.fault == "compressed" and found:
                body = gzip.compress("\n".join(found).encode())
                return web.Response(body=body, headers={"Content-Encoding": "gzip"})
            if self.fault == "endless":
                return web.Response(text="x" * 5_000_000)
            missing = '{"message": "No Captures found for: x"}'
            return web.Response(text="\n".join(found) or missing, status=200 if found else 404)
        body = (self.archive / request.path.removeprefix("/records/")).read_bytes()
        wanted = request.headers["Range"]
        self.ranges.append(wanted)
        if self.fault == "busy once" and len(self.ranges) == 1:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if self.fault == "no ranges":
            return web.Response(body=body)
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        if self.fault == "other range":
            first, last = first + 1, last + 1
        sent = f"bytes {first}-{last}/{len(body)}"
        return web.Response(
            status=206, body=body[first : last + 1], headers={"Content-Range": sent}
        )


@pytest.mark.parametrize("fault", ["", "busy once", "compressed"])
def test_an_index_server_and_ranges_over_http(archive: Path, tmp_path: Path, fault: str) -> None:
    server = ArchiveServer(archive, fault)
    config = CrawlConfig(source="cdx", retries=1, retry_delay_s=0.01)
    with thread_serving(server.serve) as address:
        crawl_index(
            tmp_path, tmp_path / "out", f"{address}/index", records=f"{address}/records/",
            config=config,
        )  # fmt: skip
    assert outcomes(tmp_path / "out") == URLS
    assert_nearest(tmp_path / "out")
    assert all(wanted.startswith("bytes=") for wanted in server.ranges)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("no ranges", "bad_response"),
        ("other range", "bad_response"),
        ("the Wayback Machine's form", "bad_response"),
        ("endless", "too_large"),
    ],
)
def test_a_server_that_sends_something_else_is_not_believed(
    archive: Path, tmp_path: Path, fault: str, outcome: str
) -> None:
    with thread_serving(ArchiveServer(archive, fault).serve) as address:
        crawl_index(tmp_path, tmp_path / "out", f"{address}/index", records=f"{address}/records")
    row = read_captures(tmp_path / "out")[link_id("http://b.example/twin")]
    assert row["outcome"] == outcome


def test_a_block_that_is_cut_short_is_one_clear_error(archive: Path, tmp_path: Path) -> None:
    cluster = write_cluster(tmp_path / "cc", cdx_lines(archive), 1_000)
    name, offset, length = cluster.read_text().split("\t")[1:4]
    cluster.write_text(cluster.read_text().replace(f"\t{length}\t", f"\t{int(length) // 2}\t"))
    assert (name, offset) == ("cdx-00000.gz", "0")
    with pytest.raises(SourceError, match="the block at byte 0 is cut short"):
        crawl_index(tmp_path, tmp_path / "out", str(cluster), records=str(archive))


@pytest.mark.parametrize("source", ["warc", "cdx"])
def test_a_crawl_that_broke_off_goes_on(
    archive: Path, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.cdxj").write_text("".join(cdx_lines(archive)))

    def go(destination: Path, concurrency: int) -> None:
        if source == "warc":
            warcs = sorted(archive.iterdir())
            crawl_files(tmp_path, warcs, destination, concurrency=concurrency)
        else:
            index = str(tmp_path / "all.cdxj")
            crawl_index(tmp_path, destination, index, records=str(archive), concurrency=concurrency)

    go(tmp_path / "whole", 5)
    written = crawl_work.write_visit
    calls = itertools.count()

    def fail_at_the_third(*arguments: Any) -> Any:
        if next(calls) == 3:
            raise SourceError("pulled out")
        return written(*arguments)

    monkeypatch.setattr(crawl_work, "write_visit", fail_at_the_third)
    with pytest.raises(SourceError, match="pulled out"):
        go(tmp_path / "broken", 1)
    go(tmp_path / "broken", 3)
    assert file_digests(tmp_path / "broken") == file_digests(tmp_path / "whole")


def test_several_indexes_are_one_archive(archive: Path, tmp_path: Path) -> None:
    lines = cdx_lines(archive)
    for number in range(3):
        part = tmp_path / f"{number}.cdxj"
        part.write_text("".join(lines[number::3]))
    indexes = [str(tmp_path / f"{number}.cdxj") for number in range(3)]
    crawl_index(tmp_path, tmp_path / "out", *indexes, records=str(archive))
    assert outcomes(tmp_path / "out") == URLS
    assert_nearest(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.cdxj", "no such index file"), ("all.cdx.gz", "unpack a .gz first")],
)
def test_what_cannot_be_searched_is_refused(name: str, message: str, tmp_path: Path) -> None:
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x"))
    with pytest.raises(SourceError, match=message):
        crawl_index(tmp_path, tmp_path / "out", str(tmp_path / name), records=str(tmp_path))
