"""The hostile web, crawled live in a process of its own whose memory and time are bounded."""

import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator as FastWarc
from warcio.archiveiterator import ArchiveIterator as WarcIO

from tests.webtext.certificates import make_certificates
from tests.webtext.hostile_cases import CASES, MAX_BODY
from tests.webtext.hostile_server import PAGE, Case, HostileServer, hostile_web
from tests.webtext.small_web import link_id, read_captures, write_links
from webtext.tables import part_name
from webtext.warc import Response, read_response

LIMITS = {
    "source": "live",
    "user_agent": "webtext-test/1 (+https://a.example/bot)",
    "max_body_bytes": MAX_BODY,
    "max_header_bytes": 8_192,
    "max_redirects": 3,
    "connect_timeout_s": 2.0,
    "total_timeout_s": 0.7,
    "retries": 1,
    "retry_delay_s": 0.01,
    "max_retry_after_s": 0.05,
}
TOGETHER = "together"
MAX_GROWTH_KIB = {TOGETHER: 120 * 1024}
MAX_GROWTH_ALONE_KIB = 24 * 1024
MAX_WALL_ALONE_S = 4.0
MAX_WALL_TOGETHER_S = 15.0


@dataclass
class Crawled:
    """What came of all cases."""

    servers: dict[str, HostileServer]
    rows: dict[str, dict[str, Any]]
    costs: dict[str, dict[str, float]]
    """By crawl: the name of a case that is crawled alone, or `together`."""
    folders: dict[str, Path]
    said: str
    """All that the process wrote beside its costs."""


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Crawled:
    folder = tmp_path_factory.mktemp("hostile")
    authority, certificates = make_certificates(folder)
    crawls = {TOGETHER: [case for case in CASES if not case.alone]}
    crawls |= {case.name: [case] for case in CASES if case.alone}
    with hostile_web(CASES, certificates) as servers:
        folders = {name: folder / str(number) for number, name in enumerate(crawls)}
        for name, cases in crawls.items():
            write_links(folders[name] / "links", [servers[case.name].url for case in cases])
        job = {
            "crawls": [
                {"links": str(place / "links"), "destination": str(place / "out")}
                for place in folders.values()
            ],
            "exempt": [server.address for server in servers.values()],
            "authority": str(authority),
            "config": LIMITS,
        }
        costs, said = crawl_in_a_process(job, folder)
    rows: dict[str, dict[str, Any]] = {}
    for name, cases in crawls.items():
        captures = read_captures(folders[name] / "out")
        rows |= {case.name: captures[link_id(servers[case.name].url)] for case in cases}
    return Crawled(servers, rows, dict(zip(crawls, costs, strict=True)), folders, said)


def crawl_in_a_process(job: dict[str, Any], folder: Path) -> tuple[list[dict[str, float]], str]:
    """The costs of each crawl, and what was said on the error stream.

    The environment names a proxy and credentials that must not be used.
    """
    netrc = folder / "netrc"
    netrc.write_text("default login user password secret\n")
    nowhere = "http://user:secret@127.0.0.1:9"
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    environment = {**os.environ, **dict.fromkeys(names, nowhere), "NETRC": str(netrc)}
    environment.pop("no_proxy", None)
    environment.pop("NO_PROXY", None)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.webtext.hostile_crawl"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=environment,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name))
def test_each_behaviour_has_its_outcome(crawled: Crawled, case: Case) -> None:
    row = crawled.rows[case.name]
    assert row["outcome"] == case.outcome, row["detail"]
    if case.detail is None:
        assert row["detail"] is None
    else:
        assert case.detail in row["detail"]


def test_there_are_enough_behaviours_and_none_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 100


@pytest.mark.parametrize("name", [case.name for case in CASES if case.alone])
def test_a_dangerous_behaviour_is_bounded_by_itself(crawled: Crawled, name: str) -> None:
    cost = crawled.costs[name]
    assert cost["grown_kib"] < MAX_GROWTH_ALONE_KIB, cost
    assert cost["wall_s"] < MAX_WALL_ALONE_S, cost
    assert cost["cpu_s"] < MAX_WALL_ALONE_S, cost


def test_the_rest_together_is_bounded(crawled: Crawled) -> None:
    cost = crawled.costs[TOGETHER]
    assert 0 < cost["grown_kib"] < MAX_GROWTH_KIB[TOGETHER], cost
    assert cost["wall_s"] < MAX_WALL_TOGETHER_S, cost


def test_no_request_carries_cookies_credentials_or_where_it_came_from(crawled: Crawled) -> None:
    requests = [sent for server in crawled.servers.values() for sent in server.requests]
    assert len(requests) > 2 * 100
    for sent in requests:
        lines = sent.lower().split(b"\r\n")
        names = {line.partition(b":")[0] for line in lines[1:] if line}
        assert names == {b"host", b"user-agent", b"accept", b"accept-encoding"}, sent
        assert b"secret" not in sent
        assert re.fullmatch(rb"get /[!-~]* http/1\.1", lines[0]), sent
    assert len(crawled.servers["cookies"].requests) >= 3


def test_nothing_of_the_web_is_said_by_the_process(crawled: Crawled) -> None:
    assert crawled.said == ""


def test_the_tables_hold_no_control_characters(crawled: Crawled) -> None:
    control = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
    for row in crawled.rows.values():
        for column in ("outcome", "detail", "final_url", "content_type", "warc_file"):
            assert not control.search(row[column] or ""), row
        assert len(row["detail"] or "") <= 200


def test_warc_readers_find_the_records_that_were_written(crawled: Crawled) -> None:
    for folder in crawled.folders.values():
        path = folder / "out" / "warc" / part_name(0).replace(".parquet", ".warc.gz")
        members = gzip_members(path.read_bytes())
        assert all(member.startswith(b"WARC/1.1\r\n") for member in members)
        with path.open("rb") as stream:
            kinds = [record.rec_type for record in WarcIO(stream, check_digests="raise")]
        assert len(kinds) == len(members)
        assert sum(1 for _ in FastWarc(str(path), parse_http=False)) == len(members)


def gzip_members(data: bytes) -> list[bytes]:
    members = []
    while data:
        stream = zlib.decompressobj(31)
        members.append(stream.decompress(data))
        data = stream.unused_data
    return members


def stored(crawled: Crawled, name: str) -> Response:
    row = crawled.rows[name]
    place = crawled.folders[TOGETHER] / "out" / row["warc_file"]
    return read_response(place, row["warc_offset"], row["warc_length"], max_bytes=1_000_000)


def test_bodies_are_stored_as_sent_and_headers_cleaned(crawled: Crawled) -> None:
    assert stored(crawled, "nuls-in-body").payload == b"<html>\0\0\xff\xfe</html>"
    assert gzip.decompress(stored(crawled, "gzip").payload).startswith(b"<html>")
    assert stored(crawled, "brotli").page(max_bytes=MAX_BODY).startswith(b"<html>")
    assert stored(crawled, "zstd").page(max_bytes=MAX_BODY).startswith(b"<html>")
    assert stored(crawled, "second-response").payload == PAGE
    assert stored(crawled, "unicode-controls-in-header").header("x-a") == "a WARC/1.1 b c"
