"""An existing corpus: every row of every file is kept with its origin, or counted by reason."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webtext.counts import Counts, silent
from webtext.documents import DocumentsConfig, filter_documents_partition
from webtext.dumps import DumpPosition
from webtext.errors import SourceError
from webtext.row_config import RowsConfig
from webtext.row_files import read_rows
from webtext.row_pages import RowPagesConfig, make_row_pages_partition
from webtext.rows import read_row_file
from webtext.tables import DOCUMENTS, LINKS, ORIGINS, PAGES, ROWS, part_name
from webtext.urls import link_id

SHA = "ab" * 32
PROSE = "The house stood on the hill above the town, and nobody had lived in it for years. " * 20


def write_lines(path: Path, rows: list) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def read(file: Path, folder: Path, number: int = 0, **config: object) -> tuple[Counts, list[dict]]:
    counts = read_row_file(
        file=file,
        sha256=SHA,
        partition=number,
        destination=folder,
        config=RowsConfig(**{"partitions": 4, **config}),
    )
    table = pq.read_table(folder / "rows" / f"file-{number:05d}.parquet")
    assert table.schema == ROWS
    return counts, table.to_pylist()


def test_every_row_is_kept_or_counted(tmp_path: Path) -> None:
    rows = [
        {"text": PROSE, "url": "HTTP://Example.org/a#x", "title": "T", "date": "2017-01-01"},
        "",
        "{not json",
        {"text": None},
        {"text": "  \n "},
        {"text": "x" * 101},
        {"text": 7},
        {"text": "caf\u0065\u0301"},
        {"text": "bad url", "url": "ftp://x"},
    ]
    file = write_lines(tmp_path / "a.jsonl.gz", rows)
    counts, kept = read(file, tmp_path / "out", max_text_bytes=len(PROSE))
    assert counts.rows_in == len(rows)
    losses = {"blank_line": 1, "broken_json": 1, "no_text": 3}
    assert counts.losses == losses
    counts, kept = read(file, tmp_path / "short", max_text_bytes=100)
    assert counts.losses == losses | {"text_too_long": 2}
    by_row = {row["row"]: row for row in read(file, tmp_path / "again")[1]}
    assert by_row[0]["url"] == "http://example.org/a"
    assert by_row[0]["link_id"] == link_id("http://example.org/a")
    assert (by_row[0]["title"], by_row[0]["date"]) == ("T", "2017-01-01")
    assert by_row[7]["text"] == "caf\u00e9"
    assert by_row[8]["url"] == f"row://{SHA}/8"
    assert len(kept) == 2


def test_a_table_and_json_lines_of_the_same_rows_give_the_same(tmp_path: Path) -> None:
    rows = [
        {"text": f"text {number}", "meta": {"url": f"http://h{number}.example/"}, "score": number}
        for number in range(3_000)
    ]
    config = {"url_column": "meta.url", "karma_column": "score"}
    _, lines = read(write_lines(tmp_path / "a.jsonl", rows), tmp_path / "lines", **config)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    _, table = read(tmp_path / "a.parquet", tmp_path / "table", **config)
    assert lines == table
    assert sorted(row["karma"] for row in lines) == list(range(3_000))
    assert lines == sorted(lines, key=lambda row: (row["partition"], row["link_id"], row["row"]))
    assert {row["partition"] for row in lines} == {0, 1, 2, 3}


def test_the_file_is_named_by_content_and_origin(tmp_path: Path) -> None:
    read_row_file(
        file=write_lines(tmp_path / "a.jsonl", [{"text": "a"}]),
        sha256=SHA,
        partition=3,
        destination=tmp_path,
        config=RowsConfig(),
        origin="hf://datasets/o/d@c/a.jsonl",
    )
    record = json.loads((tmp_path / "sources" / "file-00003.json").read_text())
    assert record == {"sha256": SHA, "origin": "hf://datasets/o/d@c/a.jsonl"}


def test_a_table_without_texts_says_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="no column text; it has body"):
        read(tmp_path / "a.parquet", tmp_path / "out")
    assert read(tmp_path / "a.parquet", tmp_path / "ok", text_column="body")[0].rows_out == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz"])
def test_a_damaged_file_is_an_error_and_no_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = [{"text": f"text number {number} {number * 7919}"} for number in range(5_000)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_lines(path, rows)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="truncated or corrupt"):
        read(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("rows/*"))


def test_text_that_is_no_utf8_counts_as_absent(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "a.parquet")
    counts, kept = read(tmp_path / "a.parquet", tmp_path / "out")
    assert counts.losses == {"no_text": 1}
    assert [row["text"] for row in kept] == ["good"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_rows_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("x") / "a.jsonl"
    path.write_bytes(b"\n".join(lines) or b"\n")
    found = [row for batch in read_rows(path, ["text"], DumpPosition()) for row in batch]
    assert len(found) == len((b"\n".join(lines) or b"\n").removesuffix(b"\n").split(b"\n"))
    assert all(isinstance(row, dict) or row in ("blank_line", "broken_json") for row in found)


def pages(folder: Path, partitions: int = 4) -> tuple[Counts, dict[str, list[dict]]]:
    counts, tables = [], {name: [] for name in ("links", "pages", "origins")}
    for partition in range(partitions):
        counts.append(
            make_row_pages_partition(
                rows=folder, partition=partition, destination=folder, config=RowPagesConfig()
            )
        )
        for name, schema in (("links", LINKS), ("pages", PAGES), ("origins", ORIGINS)):
            table = pq.read_table(folder / name / part_name(partition))
            assert table.schema == schema
            tables[name] += table.to_pylist()
    return Counts.total(counts), tables


def test_of_one_address_the_first_row_stays(tmp_path: Path) -> None:
    first = [{"text": PROSE, "url": "http://a.example/"}, {"text": PROSE + "b"}]
    second = [{"text": "other", "url": "https://a.example/"}, {"text": PROSE + "c"}]
    read(write_lines(tmp_path / "a.jsonl", first), tmp_path, 0)
    read(write_lines(tmp_path / "b.jsonl", second), tmp_path, 1)
    counts, tables = pages(tmp_path)
    # The second rows have one key: both files pretend to be the same.
    assert counts.losses == {"repeated_link": 2}
    kept = {row["link_id"]: row["text"] for row in tables["pages"]}
    assert kept[link_id("http://a.example/")] == PROSE.strip()
    assert {(row["file"], row["row"]) for row in tables["origins"]} == {(0, 0), (0, 1)}
    assert [row["submissions"] for row in tables["links"]] == [[], []]


def test_wikipedia_is_stripped_and_the_rest_becomes_documents(tmp_path: Path) -> None:
    rows = [
        {"text": PROSE, "url": "https://en.wikipedia.org/wiki/Hill"},
        {"text": PROSE + "One.", "url": "http://a.example/"},
        {"text": PROSE + "Two."},
        {"text": "Too short."},
    ]
    read(write_lines(tmp_path / "a.jsonl", rows), tmp_path)
    pages(tmp_path)
    losses, texts = {}, []
    for partition in range(4):
        counts = filter_documents_partition(
            pages=tmp_path,
            links=tmp_path,
            partition=partition,
            destination=tmp_path / "out",
            config=DocumentsConfig(),
            progress=silent,
        )
        losses |= counts.losses
        table = pq.read_table(tmp_path / "out" / "documents" / part_name(partition))
        assert table.schema == DOCUMENTS
        texts += table["text"].to_pylist()
    assert losses == {"wikipedia": 1, "too_short": 1}
    assert sorted(texts) == [PROSE + "One.", PROSE + "Two."]


def test_without_rows_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="read a file first"):
        pages(tmp_path)
