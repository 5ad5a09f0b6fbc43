"""Scores on record of OpenAI's weights."""

from pathlib import Path

import pytest

from eval.on_record import RECORDS, check_records
from eval.scores import EvalConfig, Score, score_benchmark
from tests.eval.scorers import UniformScorer, byte_encoding, silent


@pytest.fixture
def scores(real_data: Path, tmp_path: Path) -> list[Score]:
    return [
        score
        for benchmark in ("lambada", "wikitext2")
        for score in score_benchmark(
            scorer=UniformScorer(),
            encode=byte_encoding,
            benchmark=benchmark,
            folder=real_data / "benchmarks",
            destination=tmp_path,
            config=EvalConfig(bootstrap_samples=2, max_items=2),
            progress=silent,
        )
    ]


def test_the_values_are_those_on_record() -> None:
    assert sorted(record.value for record in RECORDS) == [29.94, 32.56, 37.37, 40.06, 46.67]
    # 1,678 of 5,153 passages.
    (words,) = [r for r in RECORDS if (r.column, r.variant) == ("lambada_acc", "lm-eval")]
    assert abs(words.value - 100 * 1678 / 5153) < words.within / 2


def test_met_and_not_met(scores: list[Score]) -> None:
    values = {(r.column, r.variant): r.value for r in RECORDS}
    whole = [
        score.model_copy(
            update={
                "value": values.get((score.column, score.variant), 0.0) + off,
                "protocol": score.protocol.model_copy(update={"sample": None}),
            }
        )
        for score, off in zip(scores, [0, 0, 0.009, 0.05, 0.0, 0.03, 0.0, 0.011, 0.0], strict=True)
    ]
    checks = {(c.record.column, c.record.variant): c.outcome for c in check_records(whole)}
    assert checks == {
        ("lambada_ppl", "lm-eval"): "met",
        ("lambada_acc", "lm-eval"): "not met",
        ("lambada_acc", "raw-token"): "met",
        ("wikitext2", "lm-eval"): "not met",
        ("wikitext2", "raw-token"): "met",
    }


def test_what_was_made_otherwise_is_not_compared(scores: list[Score]) -> None:
    checks = check_records(scores)
    assert {check.outcome for check in checks} == {"not comparable"}
    assert all("made on a sample: 2 of " in check.reason for check in checks)
    assert {check.reason for check in check_records([])} == {"not scored"}
    other = scores[2].model_copy(
        update={"data": scores[2].data.model_copy(update={"is_known": False, "label": "other"})}
    )
    assert "made on other" in {check.reason for check in check_records([other])}
