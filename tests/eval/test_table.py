"""The score table beside the published one."""

from itertools import pairwise
from pathlib import Path

import pytest

from eval.protocols import COLUMNS
from eval.published import PUBLISHED, nearest_row
from eval.scores import EvalConfig, score_benchmark
from eval.table import TITLES, format_score, render_markdown, table_rows
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
    assert markdown.count("\n") == 12
    assert "| – |" in markdown
    assert "x¦y" in markdown
    assert all(line.count("|") == 8 for line in markdown.splitlines())


def test_scores_are_written_short() -> None:
    assert [format_score(v) for v in (1.156, 35.131, 899_114.6)] == ["1.16", "35.13", "899,115"]
