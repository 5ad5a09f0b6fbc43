"""Pages to documents: each page once, with its reason and what was measured of it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.webtext.pages import WebPage, write_artifacts
from webtext.counts import Counts, silent
from webtext.documents import DocumentsConfig, filter_documents_partition
from webtext.errors import SourceError
from webtext.masking import mask_addresses
from webtext.quality_sets import MEASURES
from webtext.tables import ATTRIBUTES, DOCUMENTS, PAGES, REJECTED, part_name, write_table
from webtext.vocabulary import count_tokens

PROSE = "The library opened its doors in spring, and people came to it from the villages.\n" * 3
PROSE += "Visitors have walked here with their children ever since that day of the opening."


def page_row(key: int, text: str | None = PROSE, **given: object) -> dict:
    row: dict = {"link_id": key.to_bytes(16, "big"), "text": text}
    if text is not None:
        row |= {
            "language": "en",
            "language_probability": 1.0,
            "characters": len(text),
            "words": len(text.split()),
            "tokens": count_tokens(text),
        }
    return row | given


def run(folder: Path, rows: list[dict], **config: object) -> tuple[Counts, dict, dict, dict]:
    keys = [int.from_bytes(row["link_id"], "big") for row in rows]
    _captures, links = write_artifacts(folder, [WebPage(key, b"x") for key in keys])
    path = folder / "pages" / "pages" / part_name(0)
    write_table(path, pa.Table.from_pylist(rows, schema=PAGES))
    counts = filter_documents_partition(
        pages=folder / "pages",
        links=links,
        partition=0,
        destination=folder / "out",
        config=DocumentsConfig(**config),
        progress=silent,
    )
    tables = []
    for name, schema in (
        ("documents", DOCUMENTS),
        ("rejected", REJECTED),
        ("attributes", ATTRIBUTES),
    ):
        table = pq.read_table(folder / "out" / name / part_name(0))
        assert table.schema == schema
        tables.append({int.from_bytes(row["link_id"], "big"): row for row in table.to_pylist()})
    return counts, *tables


def test_every_page_comes_out_once_with_its_reason(tmp_path: Path) -> None:
    rows = [
        page_row(1, title="A title", author="Ada"),
        page_row(2, canonical_host="en.m.wikipedia.org"),
        page_row(3, "Too few words."),
        page_row(4, language="de"),
        page_row(5, None, reason="no_text", detail="no main text found"),
        page_row(6, None, reason="no_text", canonical_host="de.wikipedia.org"),
        page_row(7, language_probability=0.5),
    ]
    counts, documents, rejected, attributes = run(
        tmp_path, rows, min_tokens=20, min_language_probability=0.6
    )
    assert sorted(documents) == [1]
    assert {key: row["reason"] for key, row in rejected.items()} == {
        2: "wikipedia",
        3: "too_short",
        4: "language",
        5: "no_text",
        6: "wikipedia",
        7: "language",
    }
    assert rejected[3]["detail"] == "4 tokens, at least 20 wanted"
    assert sorted(attributes) == [1, 2, 3, 4, 7]
    assert attributes[3]["tokens"] == 4
    assert (counts.rows_in, counts.rows_out, counts.losses["language"]) == (7, 1, 2)
    row = documents[1]
    assert (row["title"], row["author"], row["karma"]) == ("A title", "Ada", 4)
    assert (row["text"], row["tokens"]) == (PROSE, count_tokens(PROSE))
    assert counts.facts["tokens"] == row["tokens"]


def test_config_decides(tmp_path: Path) -> None:
    rows = [page_row(1, "Short."), page_row(2, language="de", language_probability=0.2)]
    _, documents, rejected, _ = run(
        tmp_path, rows, min_tokens=1, languages=(), min_language_probability=0.9
    )
    assert sorted(documents) == [1, 2]
    assert not rejected


def test_an_empty_partition_is_written(tmp_path: Path) -> None:
    counts, documents, rejected, attributes = run(tmp_path, [])
    assert (counts.rows_in, documents, rejected, attributes) == (0, {}, {}, {})


def test_rule_sets_judge_and_leave_their_measures(tmp_path: Path) -> None:
    repeated = "the same words of it again and again\n" * 30
    rows = [page_row(1), page_row(2, repeated), page_row(3, PROSE + " { }")]
    config = {"gopher_quality": {"min_words": 5}, "gopher_repetition": {}, "min_tokens": 5}
    loose = {
        "max_duplicate_lines": 1,
        "max_duplicate_line_characters": 1,
        "max_top_ngrams": (1,) * 3,
    }
    config["gopher_repetition"] = loose | {"max_duplicate_ngrams": (0.95,) * 6}
    _, documents, rejected, attributes = run(tmp_path, rows, c4={}, **config)
    assert sorted(documents) == [1]
    assert rejected[2]["reason"] == "c4_sentences"
    assert rejected[3]["reason"] == "c4_curly_bracket"
    assert attributes[2]["gopher_duplicate_lines"] == 29 / 31
    assert attributes[1]["fineweb_short_lines"] is None
    assert set(MEASURES) <= set(attributes[1])
    _, _, rejected, _ = run(tmp_path / "strict", rows, gopher_repetition={}, min_tokens=5)
    assert rejected[2]["reason"] == "gopher_duplicate_lines"


def test_c4_drops_lines_and_the_document_is_counted_anew(tmp_path: Path) -> None:
    _, documents, _, _ = run(
        tmp_path, [page_row(1, PROSE + "\nShare this\nPlease accept our cookie policy, dear all.")],
        c4={}, min_tokens=5,
    )  # fmt: skip
    assert documents[1]["text"] == PROSE
    assert documents[1]["tokens"] == count_tokens(PROSE)
    _, documents, rejected, _ = run(
        tmp_path / "short", [page_row(1, PROSE + "\nShare this" * 50)], c4={}, min_tokens=100
    )
    assert (documents, rejected[1]["reason"]) == ({}, "too_short")


def test_masking_is_counted_and_changes_the_text_alone(tmp_path: Path) -> None:
    text = PROSE + " Write to ann@mail.test or bob@mail.test, not ann@mail.test, from 8.8.8.8."
    counts, documents, _, _ = run(
        tmp_path, [page_row(1, text)], min_tokens=5, mask_emails=True, mask_ips=True
    )
    assert documents[1]["text"].endswith(
        "person1@example.com or person2@example.com, not person1@example.com, from 192.0.2.1."
    )
    assert documents[1]["tokens"] == count_tokens(documents[1]["text"])
    assert (counts.facts["emails_masked"], counts.facts["ips_masked"]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a.b+c@mail.example.org.", "person1@example.com."),
        ("A@b.org a@B.org", "person1@example.com person1@example.com"),
        ("not@an address, @name, a@b", "not@an address, @name, a@b"),
        ("1.1.1.1 9.9.9.9 1.1.1.1", "192.0.2.1 192.0.2.2 192.0.2.1"),
        ("127.0.0.1 10.1.2.3 192.168.0.1 999.1.1.1", "127.0.0.1 10.1.2.3 192.168.0.1 999.1.1.1"),
        ("version 1.2.3.4.5 and v8.8.8.8", "version 1.2.3.4.5 and v8.8.8.8"),
        ("2606:4700::1111 at 12:30:45", "2001:db8::1 at 12:30:45"),
    ],
)
def test_addresses(text: str, masked: str) -> None:
    assert mask_addresses(text, emails=True, ips=True).text == masked
    assert mask_addresses(masked, emails=False, ips=True).text == masked


@pytest.mark.parametrize("hostile", ["a" * 400_000, "a@" * 200_000, "1." * 200_000, "a:" * 200_000])
def test_masking_takes_linear_time(hostile: str) -> None:
    assert mask_addresses(hostile, emails=True, ips=True).text == hostile


def test_tables_that_do_not_belong_together_are_an_error(tmp_path: Path) -> None:
    _, links = write_artifacts(tmp_path / "b", [WebPage(2, b"x")])
    path = tmp_path / "pages" / "pages" / part_name(0)
    write_table(path, pa.Table.from_pylist([page_row(1)], schema=PAGES))
    with pytest.raises(SourceError, match="do not belong together"):
        filter_documents_partition(
            pages=tmp_path / "pages",
            links=links,
            partition=0,
            destination=tmp_path / "out",
            config=DocumentsConfig(min_tokens=5),
            progress=silent,
        )
    with pytest.raises(SourceError, match=r"part-00003\.parquet"):
        filter_documents_partition(
            pages=tmp_path,
            links=links,
            partition=3,
            destination=tmp_path / "out",
            config=DocumentsConfig(),
            progress=silent,
        )
