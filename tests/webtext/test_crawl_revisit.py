"""Equal bodies are stored once, and every reader still finds them."""

import hashlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import fastwarc.warc
import pytest
from warcio.archiveiterator import ArchiveIterator

from tests.webtext.small_web import (
    HTML,
    file_digests,
    gateway_running,
    link_id,
    page,
    read_captures,
    record,
    write_archive,
    write_links,
)
from webtext.crawl import CrawlConfig, crawl_partition
from webtext.warc import read_capture, read_response

SAME = page("the same text on many addresses " * 60)
SMALL = page("small")
BODIES = {
    **{f"http://m{number}.example/": SAME for number in range(6)},
    **{f"http://s{number}.example/": SMALL for number in range(2)},
    "http://other.example/": page("another text, as long as the others " * 60),
}


@pytest.fixture
def crawled(tmp_path: Path) -> Path:
    archive = write_archive(
        tmp_path / "web.warc.gz",
        [
            record(
                url, body, headers=(*HTML, ("X-Host", url)), date=datetime(2017, 9, day, tzinfo=UTC)
            )
            for day, (url, body) in enumerate(BODIES.items(), 1)
        ],
    )
    crawl(archive, tmp_path / "out", tmp_path)
    return tmp_path / "out"


def crawl(archive: Path, destination: Path, folder: Path, concurrency: int = 4) -> None:
    with gateway_running(archive) as address:
        crawl_partition(
            links=write_links(folder / "links-artifact", BODIES),
            partition=0,
            destination=destination,
            config=CrawlConfig(),
            gateway=address,
            concurrency=concurrency,
            host_delay_s=0.0,
        )


def test_a_repeated_body_is_stored_once(crawled: Path) -> None:
    with (crawled / "warc" / "part-00000.warc.gz").open("rb") as stream:
        kinds = Counter(each.rec_type for each in ArchiveIterator(stream))
    assert kinds == {"warcinfo": 1, "response": 4, "revisit": 5, "metadata": 9}
    rows = read_captures(crawled)
    holders = {rows[link_id(url)]["payload_offset"] for url, body in BODIES.items() if body == SAME}
    assert len(holders) == 1
    first = min(link_id(url) for url, body in BODIES.items() if body == SAME)
    assert rows[first]["warc_offset"] in holders, "the body is not with the first by link_id"


def test_every_row_leads_to_its_own_fields_and_body(crawled: Path) -> None:
    rows = read_captures(crawled)
    for url, body in BODIES.items():
        row = rows[link_id(url)]
        response = read_capture(crawled, row, max_bytes=100_000)
        assert response.url == response.header("x-host") == url
        assert response.payload == body
        assert row["payload_bytes"] == len(body)
        assert response.date == row["captured_at"]


def test_foreign_readers_take_revisits_as_the_standard_has_them(crawled: Path) -> None:
    path = crawled / "warc" / "part-00000.warc.gz"
    known: dict[tuple[str, str], str] = {}
    with path.open("rb") as stream:
        for each in ArchiveIterator(stream, check_digests="raise"):
            fields = each.rec_headers
            name = fields["WARC-Target-URI"], fields["WARC-Date"]
            if each.rec_type == "response":
                body = each.content_stream().read()
                assert fields["WARC-Payload-Digest"].startswith("sha1:")
                known[name] = fields["WARC-Payload-Digest"]
                assert hashlib.sha1(body).digest()
            elif each.rec_type == "revisit":
                refers = fields["WARC-Refers-To-Target-URI"], fields["WARC-Refers-To-Date"]
                assert known[refers] == fields["WARC-Payload-Digest"]
                assert fields["WARC-Profile"].endswith("/revisit/identical-payload-digest")
                assert each.http_headers.get_header("X-Host") == name[0]
                assert each.content_stream().read() == b""
    count = sum(1 for _ in fastwarc.warc.ArchiveIterator(str(path)))
    assert count == 1 + 9 + 9


def test_our_gateway_replays_a_revisit_whole(crawled: Path) -> None:
    async def ask(address: str) -> None:
        async with aiohttp.ClientSession() as session:
            for url, body in BODIES.items():
                async with session.get(f"{address}/20170901000000id_/{url}") as response:
                    assert response.status == 200
                    assert await response.read() == body
                    assert response.headers["X-Archive-Orig-X-Host"] == url

    import asyncio

    with gateway_running(crawled / "warc" / "part-00000.warc.gz") as address:
        asyncio.run(ask(address))


def test_a_crawl_of_a_crawl_with_revisits_is_the_same_crawl(crawled: Path, tmp_path: Path) -> None:
    crawl(crawled / "warc" / "part-00000.warc.gz", tmp_path / "again", tmp_path, concurrency=1)
    assert file_digests(tmp_path / "again") == file_digests(crawled)


def test_a_revisit_by_itself_has_no_body(crawled: Path) -> None:
    rows = read_captures(crawled).values()
    (row, *_) = [row for row in rows if row["payload_offset"] != row["warc_offset"]]
    place = row["warc_offset"], row["warc_length"]
    alone = read_response(crawled / row["warc_file"], *place, max_bytes=10_000)
    assert alone.payload == b""
    assert alone.refers_to is not None
