"""The replay gateway over real HTTP: nearest capture, original fields, redirects, misses."""

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from tests.webtext.small_web import gateway_running, page, record, redirect, write_archive
from webtext import crawl_urls
from webtext.crawl_urls import archive_key, clean_url, join_url
from webtext.errors import SourceError
from webtext.warc_index import WarcIndex

URL_A = "http://a.example/page?x=1"


def ask(address: str, *paths: str, method: str = "GET") -> list[tuple[int, Any, bytes]]:
    async def run() -> list[tuple[int, Any, bytes]]:
        found = []
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            for path in paths:
                url = URL(address + path, encoded=True)
                async with session.request(method, url, allow_redirects=False) as response:
                    found.append((response.status, response.headers, await response.read()))
        return found

    return asyncio.run(run())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    dates = [datetime(year, 6, 1, tzinfo=UTC) for year in (2016, 2017, 2018)]
    return write_archive(
        tmp_path / "a.warc.gz",
        [
            *(record(URL_A, page(str(date.year)), date=date) for date in dates),
            record("http://a.example/gone", b"gone", status=404),
            redirect("http://a.example/old", "../page?x=1#top", 301),
            record("http://odd.example/", b"x", status=999),
            record(
                "http://a.example/headers",
                b"\x1f\x8bnot really",
                headers=(
                    ("Content-Type", "text/html"),
                    ("Set-Cookie", "a=1"),
                    ("Set-Cookie", "b=2"),
                    ("Content-Encoding", "gzip"),
                    ("Transfer-Encoding", "chunked"),
                    ("Location", "http://elsewhere.example/"),
                ),
            ),
        ],
    )


@pytest.mark.parametrize(
    ("asked", "year"),
    [("20170901000000", "2017"), ("20171215", "2018"), ("2", "2016"), ("2030", "2018")],
)
def test_answers_with_the_nearest_capture(archive: Path, asked: str, year: str) -> None:
    with gateway_running(archive) as address:
        ((status, headers, body),) = ask(address, f"/{asked}id_/{URL_A}")
    assert (status, body) == (200, page(year))
    assert headers["Memento-Datetime"].endswith(f"Jun {year} 00:00:00 GMT")


def test_finds_every_form_of_an_address_and_no_other(archive: Path) -> None:
    same = [
        "https://a.example/page?x=1",
        "http://A.EXAMPLE:80/page?x=1",
        "http://a.example./page?x=1",
        "http://a.example/%70age?x=1",
    ]
    other = [
        "http://a.example/page?x=2",
        "http://a.example/page",
        "http://a.example:81/page?x=1",
        "http://www.a.example/page?x=1",
        "http://a.example/Page?x=1",
    ]
    with gateway_running(archive) as address:
        found = ask(address, *(f"/2017id_/{url}" for url in same + other))
    assert [status for status, _, _ in found] == [200] * len(same) + [404] * len(other)


def test_passes_the_original_fields_and_bytes(archive: Path) -> None:
    with gateway_running(archive) as address:
        ((status, headers, body),) = ask(address, "/2017id_/http://a.example/headers")
    assert (status, body) == (200, b"\x1f\x8bnot really")
    assert headers.getall("X-Archive-Orig-Set-Cookie") == ["a=1", "b=2"]
    assert headers["X-Archive-Orig-Content-Encoding"] == headers["Content-Encoding"] == "gzip"
    assert "Set-Cookie" not in headers
    assert "Location" not in headers, "a 200 must not become a redirect"


def test_redirects_stay_in_the_archive(archive: Path) -> None:
    with gateway_running(archive) as address:
        ((status, headers, _),) = ask(address, "/2017id_/http://a.example/old")
        assert status == 301
        assert headers["Location"] == "/20170901000000id_/http://a.example/page?x=1"
        assert headers["X-Archive-Orig-Location"] == "../page?x=1#top"
        ((status, _, body),) = ask(address, headers["Location"])
    assert (status, body) == (200, page("2017"))


def test_tells_an_archived_404_from_a_page_not_archived(archive: Path) -> None:
    with gateway_running(archive) as address:
        gone, missing, nonsense, odd = ask(
            address,
            "/2017id_/http://a.example/gone",
            "/2017id_/http://a.example/never",
            "/robots.txt",
            "/2017id_/http://odd.example/",
        )
    assert gone[0] == missing[0] == 404
    assert "Memento-Datetime" in gone[1]
    assert "X-Gateway-Error" not in gone[1]
    assert "Memento-Datetime" not in missing[1]
    assert missing[1]["X-Gateway-Error"] == "not-archived"
    assert b"not in the archive" in missing[2]
    assert nonsense[0] == 400
    assert odd[0] == 999


def test_a_damaged_record_is_an_answer_and_not_a_crash(tmp_path: Path) -> None:
    whole = record(URL_A, page("x" * 5000))
    path = write_archive(tmp_path / "a.warc.gz", [record("http://b.example/"), whole])
    with gateway_running(path) as address:
        path.write_bytes(path.read_bytes()[:-40])
        damaged, other = ask(address, f"/2017id_/{URL_A}", "/2017id_/http://b.example/")
    assert damaged[0] == 502
    assert damaged[1]["X-Gateway-Error"] == "damaged-record"
    assert other[0] == 200


def test_several_files_are_one_archive(tmp_path: Path) -> None:
    days = [datetime(2017, month, 1, tzinfo=UTC) for month in (1, 12)]
    paths = [
        write_archive(tmp_path / f"{number}.warc.gz", [record(URL_A, page(str(number)), date=day)])
        for number, day in enumerate(days)
    ]
    index = WarcIndex.build(paths)
    assert len(index) == 2
    assert index.find(URL_A, 20170301000000) is not None
    assert index.find(URL_A, 20170301000000)[0] == paths[0]  # type: ignore[index]
    assert index.find(URL_A, 20170901000000)[0] == paths[1]  # type: ignore[index]
    assert WarcIndex.build([]).find(URL_A, 20170901000000) is None
    with pytest.raises(SourceError, match="missing"):
        WarcIndex.build([tmp_path / "missing.warc.gz"])


def test_serves_the_real_pages_byte_for_byte(real_data: Path) -> None:
    folder = real_data / "real-web"
    lines = (folder / "pages.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][::20]
    with gateway_running(folder / "pages.warc.gz") as address:
        found = ask(address, *(f"/20170901000000id_/{clean_url(row['url'])}" for row in rows))
    assert [status for status, _, _ in found] == [200] * len(rows)
    assert [hashlib.sha256(body).hexdigest() for _, _, body in found] == [
        row["sha256"] for row in rows
    ]


def test_run_gateway_says_when_it_is_ready_and_ends_on_sigterm(archive: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from webtext.gateway import run_gateway; "
        "run_gateway([Path(sys.argv[1])], port=0)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(archive)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        ready, address, records = child.stdout.readline().split()
        assert (ready, records) == ("ready", "7")
        ((status, _, _),) = ask(address, f"/2017id_/{URL_A}")
        assert status == 200
    finally:
        child.terminate()
        assert child.wait(10) == 0
        child.stdout.close()


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=80), base=st.sampled_from(["", "http://", "https://a.example/"]))
def test_a_cleaned_address_is_printable_and_stays_as_it_is(text: str, base: str) -> None:
    try:
        cleaned = clean_url(base + text)
    except ValueError:
        return
    assert cleaned.isascii()
    assert cleaned.isprintable()
    assert " " not in cleaned
    assert "#" not in cleaned
    assert clean_url(cleaned) == cleaned
    assert archive_key(cleaned) == archive_key(base + text)
    assert str(URL(cleaned, encoded=True)) == cleaned


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/x y?q=ä#f", "http://a.example/x%20y?q=%C3%A4"),
        ("//B.example", "http://b.example/"),
        ("https://user:secret@b.example:443/", "https://b.example/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("\t/tab\r\n/x ", "http://a.example/tab/x"),
        ("/100%/x", "http://a.example/100%25/x"),
        ("?y=2", "http://a.example/page?y=2"),
        ("", "http://a.example/page?x=1"),
    ],
)
def test_redirect_targets_become_addresses(target: str, expected: str) -> None:
    assert join_url(URL_A, target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "ftp://a.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "file:///etc/passwd",
        "http://a b.example/",
        "http://[::1/",
        "http://a.example:99999/",
        "/" + "x" * 5000,
        "http://a..example/",
        "gopher://a.example/",
        "http://a.example:port/",
    ],
)
def test_other_targets_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        join_url(URL_A, target)


@given(st.from_regex(crawl_urls._CLEAN, fullmatch=True))
def test_the_short_way_of_cleaning_changes_nothing(url: str) -> None:
    assert crawl_urls._clean_any(url) == url


@pytest.mark.parametrize(
    "text", ["http://" + "a" * 4_000 + " ", "http://" + "a." * 2_000, "http://a/" + "%" * 4_000]
)
def test_cleaning_takes_linear_time(text: str) -> None:
    before = time.process_time()
    with contextlib.suppress(ValueError):
        clean_url(text)
    assert time.process_time() - before < 0.5
