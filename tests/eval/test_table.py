"""The score table beside the published one."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from eval.deviations import OPEN_QUESTIONS
from eval.protocols import COLUMNS, Benchmark
from eval.published import PUBLISHED, nearest_row
from eval.scores import EvalConfig, score_benchmark
from eval.table import TITLES, format_score, notes, render_markdown, table_rows, variant_rows
from tests.eval.scorers import UniformScorer, byte_encoding, silent


def test_the_published_table_is_whole() -> None:
    assert [row.name for row in PUBLISHED] == ["124M", "355M", "774M", "1558M"]
    assert all(tuple(row.scores) == COLUMNS for row in PUBLISHED)
    assert PUBLISHED[0].scores["lambada_ppl"] == 35.13
    assert PUBLISHED[3].scores["1bw"] == 42.16
    # Larger is better in every column but the two cells that look out of family.
    odd = {("wikitext103", "1558M"), ("1bw", "774M"), ("cbt_cn", "1558M")}
    for small, large in pairwise(PUBLISHED):
        for column in COLUMNS:
            if (column, large.name) not in odd:
                better = large.scores[column] > small.scores[column]
                assert better == (TITLES[column].endswith("(ACC)"))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [(1, "124M"), (200_000_000, "124M"), (220_000_000, "355M"), (10**12, "1558M")],
)
def test_the_nearest_size(parameters: int, name: str) -> None:
    assert nearest_row(parameters).name == name


def test_ten_rows_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_text(" a b \n", "utf-8")
    scores = score_benchmark(
        scorer=UniformScorer(),
        encode=byte_encoding,
        benchmark="ptb",
        folder=tmp_path,
        destination=tmp_path,
        config=EvalConfig(bootstrap_samples=10),
        progress=silent,
    )
    missing = {"lambada": "no file: looked for x|y", "cbt_ne": "asked not to"}
    rows = table_rows(scores, missing=missing, parameters=7_000_000)
    assert [row.column for row in rows] == list(COLUMNS)
    by_column = {row.column: row for row in rows}
    assert by_column["lambada_acc"].missing == "no file: looked for x|y"
    assert by_column["cbt_ne"].missing == "asked not to"
    assert by_column["cbt_cn"].missing == "not scored"
    ptb = by_column["ptb"]
    assert ptb.missing is None
    assert (ptb.value, ptb.published) == (scores[0].value, 65.85)
    assert ptb.label == "unknown file (ptb.test.txt)"
    assert ptb.protocol == scores[0].protocol.id
    markdown = render_markdown(rows)
    lines = markdown.splitlines()
    assert "| – |" in markdown
    assert "x¦y" in markdown
    assert [line.count("|") for line in lines[:12]] == [11] * 12
    assert lines[0].startswith("| column | score | 95 % interval | items | 124M | 355M | 774M |")
    (note,) = [line for line in lines if line.startswith("- ")]
    assert note.startswith("- PTB (PPL): unknown file: not the published file; ")
    assert notes(rows) == [("PTB (PPL)", "; ".join(ptb.deviations))]


def test_every_column_says_what_the_paper_leaves_open() -> None:
    assert set(OPEN_QUESTIONS) == set(COLUMNS)


def test_deviations_follow_from_protocol_and_data(real_data: Path, tmp_path: Path) -> None:
    def found(benchmark: Benchmark, folder: Path, context: int, **config: Any) -> tuple[str, ...]:
        scores = score_benchmark(
            scorer=UniformScorer(context),
            encode=byte_encoding,
            benchmark=benchmark,
            folder=folder,
            destination=tmp_path,
            config=EvalConfig(bootstrap_samples=10, variants=("paper",), **config),
            progress=silent,
        )
        (row,) = [
            row for row in table_rows(scores, missing={}, parameters=1) if row.column == benchmark
        ]
        return row.deviations

    benchmarks = real_data / "benchmarks"
    assert found("ptb", benchmarks, 1024) == (OPEN_QUESTIONS["ptb"],)
    assert found("1bw", benchmarks, 64, max_items=3) == (
        "1BW, 100 sentences of it: not the whole split",
        "3 of 100 sentences drawn by seed 0",
        "windows of 64 tokens, not 1,024",
        OPEN_QUESTIONS["1bw"],
    )
    (tmp_path / "ptb.test.txt").write_bytes(b"\xef\xbb\xbf a b \r\n")
    assert found("ptb", tmp_path, 1024)[:2] == (
        "unknown file: not the published file",
        "byte-order mark dropped; 1 CRLF read as LF",
    )


def test_every_reading_is_listed(tmp_path: Path) -> None:
    (tmp_path / "ptb.test.txt").write_text(" a n't \n" * 30, "utf-8")
    scores = score_benchmark(
        scorer=UniformScorer(16),
        encode=byte_encoding,
        benchmark="ptb",
        folder=tmp_path,
        destination=tmp_path,
        config=EvalConfig(bootstrap_samples=10, detokenizer_gain=True),
        progress=silent,
    )
    assert [(row.variant, row.unit) for row in variant_rows(reversed(scores))] == [
        ("paper", "perplexity a word or end of line"),
        ("raw-token", "perplexity a BPE token"),
    ]
    (row,) = [row for row in table_rows(scores, missing={}, parameters=1) if row.column == "ptb"]
    # "a n't\n" has 8 bytes as it is and 5 joined, for 3 units.
    assert row.gain == pytest.approx(50257 ** (8 / 3) - 50257 ** (5 / 3), rel=1e-9)


def test_scores_are_written_short() -> None:
    assert [format_score(v) for v in (1.156, 35.131, 899_114.6)] == ["1.16", "35.13", "899,115"]
