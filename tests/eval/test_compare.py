"""Two models compared item by item."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.compare import Scored, compare, read_scored, write_changes
from eval.errors import ComparisonError
from eval.protocols import Benchmark
from eval.scorer import LogLikelihoods
from eval.scores import EvalConfig, score_benchmark
from tests.eval.scorers import byte_encoding, silent
from tests.eval.test_scores import cbt_file


class Nudged:
    """Log-probabilities made of the tokens, those of two requests in three a little better."""

    context = 128

    def __init__(self, by: float, dtype: str = "float32") -> None:
        self.by = by
        self.dtype = dtype

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[LogLikelihoods]:
        answers = []
        for request, start in zip(requests, scored_from, strict=True):
            tokens = np.array(request[start:], np.float64)
            found = -3 - (tokens * 7.3 + start) % 4 + self.by * (len(request) % 3)
            answers.append((found, tokens % 5 == 0))
        return answers


def scored(folder: Path, scorer: Nudged, benchmark: Benchmark, **config: object) -> list[Scored]:
    destination = folder / f"{benchmark}-{id(scorer)}-{len(config)}"
    destination.mkdir(exist_ok=True)
    score_benchmark(
        scorer=scorer,
        encode=byte_encoding,
        benchmark=benchmark,
        folder=folder,
        destination=destination,
        config=EvalConfig.model_validate({"bootstrap_samples": 10, **config}),
        progress=silent,
    )
    return read_scored([destination])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sentences = "".join(f"Sentence {'so ' * (n % 7)}{n} isn 't long .\n" for n in range(60))
    (tmp_path / "news.en.heldout-00000-of-00050").write_text(sentences, "utf-8")
    (tmp_path / "cbtest_CN_valid_2000ex.txt").write_text(cbt_file(6), "utf-8")
    return tmp_path


def test_a_slightly_better_model_is_told_apart(folder: Path) -> None:
    first = scored(folder, Nudged(0.0), "1bw")
    second = scored(folder, Nudged(0.003), "1bw")
    (paper, raw), reasons = compare(first, second)
    assert reasons == []
    assert (paper.column, paper.variant, raw.variant) == ("1bw", "paper", "raw-token")
    assert paper.verdict == raw.verdict == "better"
    assert paper.first == first[0].score.value
    assert paper.second == second[0].score.value
    assert paper.change == pytest.approx(100 * (paper.second / paper.first - 1), rel=1e-9)
    assert paper.low is not None
    assert paper.high is not None
    assert paper.low < paper.change < paper.high < 0
    # Each alone has a far wider interval.
    alone = first[0].score
    assert alone.low is not None
    assert alone.high is not None
    assert (alone.high - alone.low) / alone.value > 20 * (paper.high - paper.low) / 100
    assert paper.better_share == 1.0
    assert paper.items == 60
    assert 30 < paper.items_better < 60
    assert paper.items_worse == 0
    assert paper.sign_test is not None
    assert paper.sign_test < 1e-6
    (back, _), _ = compare(second, first)
    assert back.verdict == "worse"
    assert back.better_share == 0.0


def test_equal_models_are_not_told_apart(folder: Path) -> None:
    first = scored(folder, Nudged(0.0), "cbt_cn")
    (paper, _), _ = compare(first, first)
    assert (paper.verdict, paper.change, paper.sign_test) == ("not told apart", 0.0, None)
    assert (paper.better_share, paper.unit) == (0.5, "percentage points")


def test_other_arithmetic_is_comparable_and_other_protocols_are_not(folder: Path) -> None:
    first = scored(folder, Nudged(0.0), "1bw")
    half = scored(folder, Nudged(0.0, "bfloat16"), "1bw")
    assert len(compare(first, half)[0]) == 2
    sample = scored(folder, Nudged(0.0), "1bw", max_items=10, variants=["paper"])
    with pytest.raises(ComparisonError, match="sample: None and '10 of 60 sentences") as error:
        compare(first, sample)
    assert "1bw (raw-token): the second model has no score of it" in str(error.value)
    with pytest.raises(ComparisonError, match="no score made by the same protocol"):
        compare(first, scored(folder, Nudged(0.0), "cbt_cn"))


def test_missing_items_are_an_error(folder: Path) -> None:
    first = scored(folder, Nudged(0.0), "1bw")
    cut = [Scored(found.score, found.rows[1:]) for found in first]
    with pytest.raises(ComparisonError, match="60 and 59"):
        compare(first, cut)


def test_changes_are_written_by_item(folder: Path) -> None:
    first = scored(folder, Nudged(0.0), "cbt_cn")
    second = scored(folder, Nudged(0.01), "cbt_cn")
    assert write_changes(first, second, folder / "changes.parquet") == 12
    rows = pq.read_table(folder / "changes.parquet").to_pylist()
    assert [row["item"] for row in rows[:6]] == list(range(6))
    assert {row["variant"] for row in rows} == {"paper", "raw-token"}
    for row, mine in zip(rows, first[0].rows, strict=False):
        assert row["nll_first"] == mine.nll
        assert row["correct_first"] == mine.correct
