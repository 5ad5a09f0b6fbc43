"""Pages to documents: each `ok` capture once, hostile ones at their own cost, in any order."""

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator

from tests.webtext.pages import WebPage, write_artifacts
from webtext.counts import Counts, silent
from webtext.documents import DocumentsConfig, extract_documents_partition
from webtext.errors import SourceError
from webtext.extract import clean_text, decode_page, find_canonical_host, find_date, find_title
from webtext.extract_worker import ExtractionWorker, PageRequest, WorkerConfig
from webtext.tables import DOCUMENTS, REJECTED
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


def run(folder: Path, pages: list[WebPage], **config: object) -> tuple[Counts, dict, dict]:
    captures, links = write_artifacts(folder, pages)
    counts = extract_documents_partition(
        captures=captures,
        links=links,
        partition=0,
        destination=folder / "out",
        config=DocumentsConfig(**config),
        progress=silent,
    )
    documents = pq.read_table(folder / "out" / "documents" / "part-00000.parquet")
    rejected = pq.read_table(folder / "out" / "rejected" / "part-00000.parquet")
    assert documents.schema == DOCUMENTS
    assert rejected.schema == REJECTED
    by_key = {int.from_bytes(row["link_id"], "big"): row for row in documents.to_pylist()}
    rejected_by_key = {int.from_bytes(row["link_id"], "big"): row for row in rejected.to_pylist()}
    return counts, by_key, rejected_by_key


def test_every_ok_capture_comes_out_once_with_its_reason(tmp_path: Path) -> None:
    canonical = '<link rel="canonical" href="https://en.m.wikipedia.org/wiki/Library">'
    pages = [
        WebPage(1, html(PROSE, "<title>The  library</title>")),
        WebPage(2, html(PROSE, canonical)),
        WebPage(3, html(f"<p>{SENTENCES[0]}</p>")),
        WebPage(4, html(GERMAN)),
        WebPage(5, b""),
        WebPage(6, html("")),
        WebPage(7, html(PROSE), outcome="not_found"),
        WebPage(8, html("<p>x</p>" * 100_000)),
        WebPage(9, gzip.compress(html(PROSE)), headers=(("Content-Encoding", "gzip"),)),
        WebPage(10, gzip.compress(b" " * 600_000), headers=(("Content-Encoding", "gzip"),)),
        WebPage(11, "\n\n".join(SENTENCES * 4).encode(), media_type="text/plain"),
    ]
    counts, documents, rejected = run(tmp_path, pages, max_page_bytes=500_000)
    assert sorted(documents) == [1, 9, 11]
    assert {key: row["reason"] for key, row in rejected.items()} == {
        2: "wikipedia",
        3: "too_short",
        4: "language",
        5: "extraction_failed",
        6: "no_text",
        8: "extraction_limit",
        10: "extraction_limit",
    }
    assert rejected[4]["language"] == "de"
    assert rejected[3]["tokens"] == len(gpt2_encoding().encode_ordinary(SENTENCES[0]))
    assert (counts.rows_in, counts.rows_out) == (10, 3)
    assert counts.losses["extraction_limit"] == 2
    row = documents[1]
    assert (row["title"], row["language"], row["karma"]) == ("The library", "en", 4)
    assert row["tokens"] == len(gpt2_encoding().encode_ordinary(row["text"]))
    assert row["words"] == len(row["text"].split())
    assert row["characters"] == len(row["text"])
    assert counts.facts["tokens"] == sum(row["tokens"] for row in documents.values())
    assert documents[9]["text"] == row["text"]


def test_config_decides(tmp_path: Path) -> None:
    pages = [WebPage(1, html(f"<p>{SENTENCES[0]}</p>")), WebPage(2, html(GERMAN))]
    _, documents, rejected = run(tmp_path, pages, min_tokens=5, languages=())
    assert sorted(documents) == [1, 2]
    assert not rejected


def test_an_empty_partition_is_written(tmp_path: Path) -> None:
    counts, documents, rejected = run(tmp_path, [])
    assert (counts.rows_in, documents, rejected) == (0, {}, {})


def test_a_page_over_its_cpu_time_costs_itself_alone(tmp_path: Path) -> None:
    slow = html("".join(f"<p>word {n} <b>bold</b> <i>more</i></p>" for n in range(120_000)))
    pages = [WebPage(1, html(PROSE)), WebPage(2, slow), WebPage(3, html(PROSE))]
    _, documents, rejected = run(tmp_path, pages, cpu_limit_s=0.6)
    assert sorted(documents) == [1, 3]
    assert rejected[2]["reason"] == "extraction_limit"
    assert rejected[2]["detail"] == "over 0.6 s of CPU time"


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


def test_tables_that_do_not_belong_together_are_an_error(tmp_path: Path) -> None:
    captures, _ = write_artifacts(tmp_path / "a", [WebPage(1, html(PROSE))])
    _, links = write_artifacts(tmp_path / "b", [WebPage(2, html(PROSE))])
    with pytest.raises(SourceError, match="do not belong together"):
        extract_documents_partition(
            captures=captures,
            links=links,
            partition=0,
            destination=tmp_path / "out",
            config=DocumentsConfig(),
            progress=silent,
        )


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"part-00003\.parquet"):
        extract_documents_partition(
            captures=tmp_path,
            links=tmp_path,
            partition=3,
            destination=tmp_path / "out",
            config=DocumentsConfig(),
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
    assert find_canonical_host(broken, "http://a.org/") is None


def test_results_do_not_depend_on_the_pages_before(real_data: Path) -> None:
    pages = []
    with (real_data / "real-web" / "pages.warc.gz").open("rb") as file:
        for number, record in enumerate(ArchiveIterator(file, parse_http=True)):
            body = record.reader.read()
            if number % 40 == 0 and len(body) < 60_000:
                pages.append((PageRequest(record.headers["WARC-Target-URI"]), body))
            if len(pages) == 8:
                break
    forwards = extract_all(pages)
    assert sum(result.reason is None for result in forwards) >= 5
    assert extract_all(pages[::-1])[::-1] == forwards
    assert extract_all([page for page in pages for _ in range(2)])[1::2] == forwards


def extract_all(pages: list[tuple[PageRequest, bytes]]) -> list[object]:
    with ExtractionWorker(WorkerConfig()) as worker:
        return [worker.extract(*page) for page in pages]
