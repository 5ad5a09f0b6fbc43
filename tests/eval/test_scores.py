"""Scores: exact identities of a uniform model, independence of batches, bytes, intervals."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from eval import likelihood
from eval.errors import BenchmarkError, MissingBenchmark, ScorerError
from eval.protocols import BENCHMARKS, COLUMNS, Benchmark, benchmark_of, columns_of
from eval.scorer import VOCABULARY_SIZE, LogLikelihoods, Scorer
from eval.scores import EvalConfig, Score, read_scores, score_benchmark
from tests.eval.scorers import (
    BatchedScorer,
    NaiveScorer,
    UniformScorer,
    byte_encoding,
    gpt2_encoding,
    random_gpt2,
    silent,
)

QUICK = EvalConfig(bootstrap_samples=50)
BLOCK_TOKENS = 40_000


def cbt_file(questions: int) -> str:
    context = "".join(f"{n} The cat {n} sat on a mat , and slept .\n" for n in range(1, 21))
    names = "cat|mat|table|dog|king|sun|moon|star|a ship|queen"
    return "".join(
        f"{context}21 Then the XXXXX number {n} went away .\tking\t\t{names}\n\n"
        for n in range(questions)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small file of every benchmark."""
    folder = tmp_path / "benchmarks"
    for sub in ("wikitext-2", "wikitext-103"):
        (folder / sub).mkdir(parents=True)
        text = ' \n = Title = \n \n A @-@ b <unk> , " said " he . \n' * 30
        (folder / sub / "wiki.test.tokens").write_text(text, "utf-8")
    passages = [f"The {w} came and then we all saw the {w}" for w in ("dog", "cat", "sun", "Sam")]
    lines = "".join(json.dumps({"text": passage}) + "\n" for passage in passages * 3)
    (folder / "lambada_test.jsonl").write_text(lines, "utf-8")
    (folder / "cbtest_CN_valid_2000ex.txt").write_text(cbt_file(3), "utf-8")
    (folder / "cbtest_NE_valid_2000ex.txt").write_text(cbt_file(2), "utf-8")
    (folder / "ptb.test.txt").write_text(" it was n't <unk> N \n" * 40, "utf-8")
    (folder / "enwik8").write_text("<page>é one</page>\n" * 60, "utf-8")
    (folder / "text8").write_text(" one two three" * 80, "utf-8")
    sentences = "".join(f"Sentence {n} isn 't long .\n" for n in range(20))
    (folder / "news.en.heldout-00000-of-00050").write_text(sentences, "utf-8")
    return folder


def score(
    scorer: Scorer, benchmark: Benchmark, folder: Path, destination: Path, config: EvalConfig
) -> list[Score]:
    destination.mkdir(parents=True, exist_ok=True)
    return score_benchmark(
        scorer=scorer,
        encode=byte_encoding,
        benchmark=benchmark,
        folder=folder,
        destination=destination,
        config=config,
        progress=silent,
    )


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_uniform_identities(folder: Path, tmp_path: Path, benchmark: Benchmark) -> None:
    scores = score(UniformScorer(), benchmark, folder, tmp_path / "out", QUICK)
    assert {found.column for found in scores} == set(columns_of(benchmark))
    for found in scores:
        if found.unit == "perplexity":
            expected = VOCABULARY_SIZE ** (found.tokens / found.units)
        elif found.unit == "bits":
            expected = found.tokens * math.log2(VOCABULARY_SIZE) / found.units
        else:
            # Every token costs the same: the shortest candidate wins, the first of two such.
            expected = 0.0
        assert found.value == pytest.approx(expected, rel=1e-12)
        if found.items == 1:
            assert found.low is found.high is None
        else:
            assert found.low <= found.value * (1 + 1e-12)
            assert found.high >= found.value * (1 - 1e-12)


def test_ties_go_to_the_first_candidate(folder: Path, tmp_path: Path) -> None:
    text = cbt_file(2).replace("\tking\t", "\tcat\t")
    (folder / "cbtest_CN_valid_2000ex.txt").write_text(text, "utf-8")
    summed, averaged = score(UniformScorer(), "cbt_cn", folder, tmp_path / "out", QUICK)
    assert (summed.value, summed.correct, summed.items) == (100.0, 2, 2)
    # By the mean every candidate is as good as any other, whatever its length.
    assert (averaged.variant, averaged.correct) == ("raw-token", 2)


@pytest.mark.parametrize(
    ("benchmark", "columns"),
    [("lambada", 2), ("wikitext2", 1), ("ptb", 1), ("1bw", 1)],
)
def test_uniform_identities_on_real_files(
    real_data: Path, tmp_path: Path, benchmark: Benchmark, columns: int
) -> None:
    scores = score_benchmark(
        scorer=UniformScorer(),
        encode=gpt2_encoding(real_data / "vocab"),
        benchmark=benchmark,
        folder=real_data / "benchmarks",
        destination=tmp_path,
        config=EvalConfig(variants=("paper",), bootstrap_samples=20),
        progress=silent,
    )
    assert len(scores) == columns
    found = scores[0]
    assert found.value == pytest.approx(VOCABULARY_SIZE ** (found.tokens / found.units), rel=1e-12)
    units = {"lambada": 5153, "wikitext2": 245_569, "ptb": 82_430, "1bw": 2_641}
    assert found.units == units[benchmark]


@pytest.mark.parametrize("benchmark", ["lambada", "cbt_cn", "wikitext2", "1bw"])
def test_naive_and_batched_scorers_agree(
    folder: Path, tmp_path: Path, benchmark: Benchmark
) -> None:
    model = random_gpt2(2, 32, 128)
    naive = score(NaiveScorer(model, 128), benchmark, folder, tmp_path / "naive", QUICK)
    batched = score(BatchedScorer(model, 128), benchmark, folder, tmp_path / "batched", QUICK)
    for one, other in zip(naive, batched, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-5)
        assert other.protocol == one.protocol
    rows = [
        pq.read_table(tmp_path / way / "items.parquet").to_pylist() for way in ("naive", "batched")
    ]
    for row, twin in zip(*rows, strict=True):
        assert twin["nll"] == pytest.approx(row["nll"], rel=1e-5)
        assert twin["correct"] == row["correct"]


def test_function_words_are_left_out_of_the_argmax(folder: Path, tmp_path: Path) -> None:
    """Token 1 is the argmax of a uniform model as soon as token 0 is masked."""
    lines = [json.dumps({"text": f"some words and {word}"}) for word in ("the", "cat")]
    (folder / "lambada_test.jsonl").write_text("\n".join(lines), "utf-8")
    ids = {" the": 0, " cat": 1}
    config = EvalConfig(variants=("paper", "lm-eval"), bootstrap_samples=5)
    scores = score_benchmark(
        scorer=UniformScorer(),
        encode=lambda text: [ids[text]] if text in ids else [9] * max(1, len(text.split())),
        benchmark="lambada",
        folder=folder,
        destination=tmp_path,
        config=config,
        progress=silent,
    )
    rows = pq.read_table(tmp_path / "items.parquet").to_pylist()
    correct = {(row["variant"], row["item"]): row["correct"] for row in rows}
    assert (correct["paper", 0], correct["paper", 1]) == (False, True)
    assert {score.protocol.filter for score in scores} == {"none", "function-words/1"}


def test_lambada_against_a_calculation_by_hand(folder: Path, tmp_path: Path) -> None:
    model = random_gpt2(2, 32, 128)
    scorer = NaiveScorer(model, 128)
    scores = score(scorer, "lambada", folder, tmp_path / "out", QUICK)
    by_name = {(found.column, found.variant): found.value for found in scores}
    nll, tokens = 0.0, 0
    for line in (folder / "lambada_test.jsonl").read_text().splitlines():
        context, _, word = json.loads(line)["text"].rpartition(" ")
        ids = byte_encoding(f"{context} {word}")
        ((found, _),) = scorer.log_likelihoods([ids], [len(context)])
        nll -= float(found.astype(np.float64).sum())
        tokens += len(found)
    assert by_name["lambada_ppl", "lm-eval"] == pytest.approx(math.exp(nll / 12), rel=1e-9)
    assert by_name["lambada_ppl", "raw-token"] == pytest.approx(math.exp(nll / tokens), rel=1e-9)


def test_same_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    model = random_gpt2(2, 32, 128)
    for way in ("a", "b"):
        score(NaiveScorer(model, 128), "lambada", folder, tmp_path / way, QUICK)
    for name in ("scores.json", "items.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_scores_are_read_back(folder: Path, tmp_path: Path) -> None:
    scores = score(UniformScorer(), "wikitext2", folder, tmp_path / "out", QUICK)
    assert read_scores(tmp_path / "out" / "scores.json") == scores
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [found["protocol"]["id"] for found in written] == [found.protocol.id for found in scores]
    table = pq.read_table(tmp_path / "out" / "items.parquet")
    nll = sum(row["nll"] for row in table.to_pylist() if row["variant"] == "paper")
    assert nll == pytest.approx(scores[0].nll)


def test_a_change_of_protocol_is_another_id(folder: Path, tmp_path: Path) -> None:
    def ids(scorer: Scorer, config: EvalConfig) -> list[str]:
        scores = score(scorer, "ptb", folder, tmp_path / "out", config)
        return [found.protocol.id for found in scores]

    whole = ids(UniformScorer(), QUICK)
    assert whole == ids(UniformScorer(), EvalConfig(bootstrap_samples=9, seed=3))
    assert not set(whole) & set(ids(UniformScorer(64), QUICK))
    assert not set(whole) & set(ids(UniformScorer(), EvalConfig(max_tokens=50)))
    half = UniformScorer()
    half.dtype = "torch.bfloat16"  # type: ignore[attr-defined]
    assert not set(whole) & set(ids(half, QUICK))
    (folder / "ptb.test.txt").write_text(" other \n" * 30, "utf-8")
    assert not set(whole) & set(ids(UniformScorer(), QUICK))


def test_samples_are_scored_and_labelled(folder: Path, tmp_path: Path) -> None:
    config = EvalConfig(max_items=4, seed=5, variants=("paper",), columns=("lambada_acc",))
    (found,) = score(UniformScorer(), "lambada", folder, tmp_path / "out", config)
    assert (found.column, found.items) == ("lambada_acc", 4)
    assert found.protocol.sample == "4 of 12 passages drawn by seed 5"
    rows = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert len({row["item"] for row in rows}) == 4


def test_questions_with_equal_requests_are_asked_once(folder: Path, tmp_path: Path) -> None:
    scorer = UniformScorer()
    score(scorer, "lambada", folder, tmp_path / "out", QUICK)
    assert sum(scorer.asked) == 2 * 12


def test_blocks_are_bounded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cbtest_CN_valid_2000ex.txt").write_text(cbt_file(40), "utf-8")
    scorer = UniformScorer()
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(likelihood, "BLOCK_TOKENS", BLOCK_TOKENS)
    score_benchmark(
        scorer=scorer,
        encode=byte_encoding,
        benchmark="cbt_cn",
        folder=folder,
        destination=tmp_path,
        config=QUICK,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sum(scorer.asked) == 2 * 400
    assert max(scorer.asked) <= BLOCK_TOKENS / 400
    assert seen == sorted(seen)
    assert seen[-1] == (80, 80)


class BrokenScorer(UniformScorer):
    """Breaks its promise in one way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def log_likelihoods(self, *asked: object) -> list[LogLikelihoods]:
        answers = super().log_likelihoods(*asked)  # type: ignore[arg-type]
        if self.way == "fewer":
            return answers[1:]
        found, greedy = answers[0]
        broken = (found * math.nan, greedy) if self.way == "nan" else (found[1:], greedy)
        return [broken, *answers[1:]]


@pytest.mark.parametrize(
    ("way", "says"), [("fewer", "answers"), ("nan", "not finite"), ("short", "tokens to score")]
)
def test_broken_promises_are_named(folder: Path, tmp_path: Path, way: str, says: str) -> None:
    with pytest.raises(ScorerError, match=says):
        score(BrokenScorer(way), "ptb", folder, tmp_path / "out", QUICK)


def test_a_missing_benchmark_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingBenchmark, match="no file: looked for ptb"):
        score(UniformScorer(), "ptb", tmp_path, tmp_path / "out", QUICK)


def test_a_file_without_a_single_prediction_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="too short"):
        score_benchmark(
            scorer=UniformScorer(),
            encode=lambda _: [7],
            benchmark="ptb",
            folder=folder,
            destination=tmp_path,
            config=EvalConfig(variants=("raw-token",)),
            progress=silent,
        )


def test_columns_and_benchmarks_belong_together() -> None:
    assert tuple(column for name in BENCHMARKS for column in columns_of(name)) == COLUMNS
    assert all(column in columns_of(benchmark_of(column)) for column in COLUMNS)


@pytest.mark.parametrize("wrong", [{"max_items": 0}, {"columns": ["glue"]}, {"samples": 3}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvalConfig.model_validate(wrong)


LINE_FILES: dict[Benchmark, str] = {
    "lambada": "lambada_test.jsonl",
    "cbt_cn": "cbtest_CN_valid_2000ex.txt",
    "wikitext2": "wikitext-2/wiki.test.tokens",
    "ptb": "ptb.test.txt",
    "wikitext103": "wikitext-103/wiki.test.tokens",
    "1bw": "news.en.heldout-00000-of-00050",
}


@pytest.mark.parametrize("benchmark", LINE_FILES)
def test_marks_and_carriage_returns_change_no_score(
    folder: Path, tmp_path: Path, benchmark: Benchmark
) -> None:
    plain = score(UniformScorer(), benchmark, folder, tmp_path / "out", QUICK)
    path = folder / LINE_FILES[benchmark]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    marked = score(UniformScorer(), benchmark, folder, tmp_path / "out", QUICK)
    assert [found.value for found in marked] == [found.value for found in plain]
    assert all("byte-order mark dropped" in found.data.treatment for found in marked)
    assert all("CRLF read as LF" in found.data.treatment for found in marked)


FILES: dict[Benchmark, str] = {
    **LINE_FILES,
    "cbt_ne": "cbtest_NE_valid_2000ex.txt",
    "enwik8": "enwik8",
    "text8": "text8",
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_broken_utf8_and_empty_files_are_errors(
    folder: Path, tmp_path: Path, benchmark: Benchmark
) -> None:
    path = folder / FILES[benchmark]
    path.write_bytes(b"words \xff words and more\n")
    with pytest.raises(BenchmarkError, match="is not UTF-8: byte 0xff at offset 6"):
        score(UniformScorer(), benchmark, folder, tmp_path / "out", QUICK)
    # enwik8 and text8 are measured by the byte: there a mark is content.
    mark_alone = () if benchmark in {"enwik8", "text8"} else (b"\xef\xbb\xbf\r\n",)
    for empty in (b"", b"\n\n", *mark_alone):
        path.write_bytes(empty)
        with pytest.raises(BenchmarkError):
            score(UniformScorer(), benchmark, folder, tmp_path / "out", QUICK)
