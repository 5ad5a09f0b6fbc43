"""Captures to pages: each `ok` capture once, hostile ones at their own cost, in any order."""

import gzip
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator

from tests.webtext.pages import WebPage, write_artifacts
from webtext import extract_worker
from webtext.cleaning import clean_text
from webtext.counts import Counts, silent
from webtext.decoding import decode_page
from webtext.errors import SourceError
from webtext.extract_worker import ExtractionWorker, PageRequest, PageResult, WorkerConfig
from webtext.page_head import find_author, find_canonical_host, find_date, find_title
from webtext.pages import PagesConfig, extract_pages_partition
from webtext.tables import PAGES
from webtext.vocabulary import gpt2_encoding

SENTENCES = [
    "The library opened its doors in the spring of nineteen hundred and four.",
    "Visitors came from the villages around, most of them on foot.",
    "A reading room with forty chairs was added three years afterwards.",
    "Nobody remembers who chose the green lamps that still hang there.",
]
PROSE = "".join(
    f"<p>{sentence} It was chapter {n}.</p>" for n in range(4) for sentence in SENTENCES
)
GERMAN = "".join(
    f"<p>Das Haus in der Straße {n} wurde schon vor vielen Jahren gebaut, es gefällt.</p>"
    for n in range(20)
)


def html(body: str, head: str = "") -> bytes:
    page = f"<!DOCTYPE html><html><head>{head}</head><body><article>{body}</article></body></html>"
    return page.encode()


def run(folder: Path, pages: list[WebPage], **config: object) -> tuple[Counts, dict[int, dict]]:
    captures, _links = write_artifacts(folder, pages)
    counts = extract_pages_partition(
        captures=captures,
        partition=0,
        destination=folder / "out",
        config=PagesConfig(**config),
        progress=silent,
    )
    table = pq.read_table(folder / "out" / "pages" / "part-00000.parquet")
    assert table.schema == PAGES
    return counts, {int.from_bytes(row["link_id"], "big"): row for row in table.to_pylist()}


def test_every_ok_capture_is_a_row_with_its_text_or_reason(tmp_path: Path) -> None:
    canonical = '<link rel="canonical" href="https://en.m.wikipedia.org/wiki/Library">'
    author = '<meta name="author" content="Ada Writer">'
    deep = "<div>" * 1_000 + PROSE + "</div>" * 1_000
    gzipped = (("Content-Encoding", "gzip"),)
    pages = [
        WebPage(1, html(PROSE, f"<title>The  library</title>{author}")),
        WebPage(2, html(PROSE, canonical)),
        WebPage(3, html(f"<p>{SENTENCES[0]}</p>")),
        WebPage(4, html(GERMAN)),
        WebPage(5, b""),
        WebPage(6, html("")),
        WebPage(7, html(PROSE), outcome="not_found"),
        WebPage(8, html("<p>x</p>" * 100_000)),
        WebPage(9, gzip.compress(html(PROSE)), headers=gzipped),
        WebPage(10, gzip.compress(b" " * 600_000), headers=gzipped),
        WebPage(11, "\n\n".join(SENTENCES * 4).encode(), media_type="text/plain"),
        WebPage(12, html(deep)),
    ]
    counts, rows = run(tmp_path, pages, max_page_bytes=500_000)
    assert sorted(rows) == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert {key: row["reason"] for key, row in rows.items() if row["reason"]} == {
        5: "extraction_failed",
        6: "no_text",
        8: "extraction_limit",
        10: "extraction_limit",
        12: "extraction_limit",
    }
    assert rows[12]["detail"] == "a tree deeper than 200 elements"
    assert all((row["text"] is None) == (row["reason"] is not None) for row in rows.values())
    assert (counts.rows_in, counts.rows_out, counts.facts["extracted"]) == (11, 11, 6)
    row = rows[1]
    assert (row["title"], row["language"], row["author"]) == ("The library", "en", None)
    assert row["language_probability"] > 0.99
    assert row["tokens"] == len(gpt2_encoding().encode_ordinary(row["text"]))
    assert row["words"] == len(row["text"].split())
    assert row["characters"] == len(row["text"])
    assert counts.facts["tokens"] == sum(row["tokens"] or 0 for row in rows.values())
    assert rows[9]["text"] == row["text"]
    assert rows[2]["canonical_host"] == "en.m.wikipedia.org"
    assert rows[4]["language"] == "de"


def test_an_author_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    ld = """<script type="application/ld+json">{"author": [{"name": "Ada  Writer"}]}</script>"""
    _, rows = run(tmp_path, [WebPage(1, html(PROSE, ld))], author=True)
    assert rows[1]["author"] == "Ada Writer"


def test_an_empty_partition_is_written(tmp_path: Path) -> None:
    counts, rows = run(tmp_path, [])
    assert (counts.rows_in, rows) == (0, {})


def test_a_page_over_its_cpu_time_costs_itself_alone(tmp_path: Path) -> None:
    slow = html("".join(f"<p>word {n} <b>bold</b> <i>more</i></p>" for n in range(120_000)))
    pages = [WebPage(1, html(PROSE)), WebPage(2, slow), WebPage(3, html(PROSE))]
    _, rows = run(tmp_path, pages, cpu_limit_s=0.6)
    assert rows[1]["text"] == rows[3]["text"]
    assert rows[2]["reason"] == "extraction_limit"
    assert rows[2]["detail"] == "over 0.6 s of CPU time"


def test_a_page_over_the_memory_costs_itself_alone() -> None:
    cells = b"<td>cell text</td>" * 50
    table = (
        b"<html><body><table>" + (b"<tr>" + cells + b"</tr>") * 5_000 + b"</table></body></html>"
    )
    config = WorkerConfig(memory_limit_mb=512, max_page_bytes=50_000_000)
    with ExtractionWorker(config) as worker:
        result = worker.extract(PageRequest("http://example.org/"), table)
        assert result.reason in {"extraction_limit", "extraction_failed"}
        assert worker.extract(PageRequest("http://example.org/"), html(PROSE)).reason is None


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(task) for task in tasks]


def test_a_stray_kill_of_the_worker_costs_nothing() -> None:
    with ExtractionWorker(WorkerConfig()) as worker:
        first = worker.extract(PageRequest("http://example.org/"), html(PROSE))
        (victim,) = children(worker._keeper.pid)
        os.kill(victim, signal.SIGKILL)
        assert worker.extract(PageRequest("http://example.org/"), html(PROSE)) == first
        assert children(worker._keeper.pid) != [victim]


def test_workers_die_with_the_process_that_started_them() -> None:
    script = textwrap.dedent("""
        import time
        from webtext.extract_worker import *
        worker = ExtractionWorker(WorkerConfig())
        worker.extract(PageRequest("http://example.org/"), b"<html><p>a</p><p>b</p></html>")
        print(worker._keeper.pid, flush=True)
        time.sleep(60)
    """)
    stage = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    keeper = int(stage.stdout.readline())
    family = [keeper, *children(keeper)]
    assert len(family) == 2
    stage.kill()
    stage.wait()
    stage.stdout.close()
    deadline = time.monotonic() + 5
    while any(map(is_running, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, family))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"part-00003\.parquet"):
        extract_pages_partition(
            captures=tmp_path,
            partition=3,
            destination=tmp_path / "out",
            config=PagesConfig(),
            progress=silent,
        )


@pytest.mark.parametrize(
    ("payload", "charset", "expected"),
    [
        ("naïve".encode(), "iso-8859-1", "naïve"),
        ("naïve – “so”".encode("cp1252"), "iso-8859-1", "naïve – “so”"),
        (b"\xef\xbb\xbfmark", None, "mark"),
        ("mark é".encode("utf-16"), None, "mark é"),
        (
            b'<meta charset="koi8-r">' + "слово".encode("koi8-r"),
            None,
            '<meta charset="koi8-r">слово',
        ),
        (("é" * 2000).encode() + b"\xff", None, "é" * 2000 + "\ufffd"),
    ],
)
def test_decoding(payload: bytes, charset: str | None, expected: str) -> None:
    assert decode_page(payload, charset) == expected


def test_a_page_cannot_name_a_codec_that_is_no_encoding() -> None:
    assert decode_page(b'<meta charset="unicode_escape">\\x41 \xff', None).startswith("<meta")
    assert "\\x41" in decode_page(b'<meta charset="unicode_escape">\\x41 \xff', None)


def test_text_is_cleaned() -> None:
    assert clean_text("  e\u0301\0\ud800 \r\nﬁ\r") == "é \nﬁ"


def test_what_the_head_says() -> None:
    from trafilatura.utils import load_html

    tree = load_html(
        '<html><head><title>Window</title><meta property="og:title" content=" Shared \n title ">'
        '<link rel="Canonical" href="/wiki/X">'
        '<script type="application/ld+json">{"@graph": [{"datePublished": "2016-02-29T10:00"}]}'
        "</script></head><body><p>a</p></body></html>"
    )
    assert find_title(tree) == "Shared title"
    assert find_date(tree) == "2016-02-29"
    assert find_canonical_host(tree, "http://DE.Wikipedia.org/a/b") == "de.wikipedia.org"
    broken = load_html(
        '<html><head><link rel="canonical" href="http://[">'
        '<meta name="date" content="2017-02-30"></head><body><p>a</p></body></html>'
    )
    assert find_date(broken) is None
    assert find_author(broken) is None
    assert find_canonical_host(broken, "http://a.org/") is None


def test_a_page_that_kills_its_worker_costs_itself_alone() -> None:
    """Killed with -9 over the same page twice: a reason; the pages after it are as ever."""
    slow = html("".join(f"<p>word {n} <b>bold</b></p>" for n in range(150_000)))
    with ExtractionWorker(WorkerConfig(max_page_bytes=50_000_000)) as worker:
        before = worker.extract(PageRequest("http://example.org/"), html(PROSE))
        worker.send(PageRequest("http://example.org/"), slow)
        killed: list[int] = []
        while len(killed) < 2:
            for child in children(worker._keeper.pid):
                if child not in killed and cpu_seconds(child) > 0.1:
                    os.kill(child, signal.SIGKILL)
                    killed.append(child)
            time.sleep(0.01)
        result = worker.receive()
        assert (result.reason, result.detail) == ("extraction_limit", "worker died: SIGKILL")
        assert worker.extract(PageRequest("http://example.org/"), html(PROSE)) == before


def cpu_seconds(pid: int) -> float:
    """CPU time of a process since it was forked, user and system."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def real_requests(folder: Path, most: int) -> list[tuple[PageRequest, bytes]]:
    pages = []
    with (folder / "real-web" / "pages.warc.gz").open("rb") as file:
        for number, record in enumerate(ArchiveIterator(file, parse_http=True)):
            body = record.reader.read()
            if number % 40 == 0 and len(body) < 60_000:
                pages.append((PageRequest(record.headers["WARC-Target-URI"]), body))
            if len(pages) == most:
                break
    return pages


def test_results_do_not_depend_on_the_pages_before(real_data: Path) -> None:
    """In any order, twice over, after other numbers of pages, beside another worker at work."""
    pages = real_requests(real_data, 6)
    forwards = extract_all(pages)
    assert sum(result.reason is None for result in forwards) >= 4
    with ThreadPoolExecutor(2) as pool:
        backwards, twice = pool.map(
            extract_all, [pages[::-1], [page for page in pages for _ in range(2)]]
        )
    assert backwards[::-1] == forwards
    assert twice[::2] == twice[1::2] == forwards


def test_results_do_not_depend_on_when_a_worker_is_replaced(real_data: Path) -> None:
    """The keeper's loop with a worker for every two pages gives what one worker gives."""
    pages = real_requests(real_data, 5)
    script = "import webtext.extract_worker as w; w.PAGES_A_WORKER = 2; w._main()"
    settings = WorkerConfig().model_dump_json(include=set(WorkerConfig.model_fields))
    frames = io.BytesIO()
    for request, body in pages:
        extract_worker._write_frame(frames, request._asdict(), body)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, settings],
        input=frames.getvalue(), capture_output=True, env=extract_worker._environment(), check=True,
    )  # fmt: skip
    answers, results = io.BytesIO(done.stdout), []
    while (frame := extract_worker._read_frame(answers)) is not None:
        results.append(PageResult(**frame[0], text=frame[1].decode()))
    assert results == extract_all(pages)


@pytest.mark.slow
def test_the_limit_of_cpu_time_does_not_depend_on_load(tmp_path: Path) -> None:
    """Beside busy processes a page takes longer than its limit by the clock, and passes."""
    body = html("".join(f"<p>word {n} <b>bold</b> <i>more</i></p>" for n in range(6_000)))
    request = PageRequest("http://example.org/")
    with ExtractionWorker(WorkerConfig()) as worker:
        worker.extract(request, html(PROSE))
        began = time.monotonic()
        alone = worker.extract(request, body)
        seconds = time.monotonic() - began
    assert alone.reason is None
    limit = 2.5 * seconds
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(10)]
    try:
        with ExtractionWorker(WorkerConfig(cpu_limit_s=limit)) as worker:
            began = time.monotonic()
            assert worker.extract(request, body) == alone
            assert time.monotonic() - began > limit
    finally:
        for process in busy:
            process.kill()
            process.wait()


def extract_all(pages: list[tuple[PageRequest, bytes]]) -> list[PageResult]:
    with ExtractionWorker(WorkerConfig()) as worker:
        return [worker.extract(*page) for page in pages]
