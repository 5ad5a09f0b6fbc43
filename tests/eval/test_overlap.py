"""Benchmarks' overlap with a corpus equals that of plain sets of strings, by document and item."""

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval import bloom, overlap_find, overlap_ngrams, overlap_own
from eval.errors import BenchmarkError, EvalError
from eval.items import Limits, Source
from eval.overlap_benchmarks import read_tasks
from eval.overlap_filter import count_partitions, read_segments, whole_rate
from eval.overlap_hits import read_asked
from eval.overlap_items import find_occurrences
from eval.overlap_ngrams import words_of
from eval.overlap_own import NAMES
from eval.overlap_report import PUBLISHED, Overlap, read_report, top_documents
from eval.overlap_scores import CleanScoresConfig, read_clean_scores, score_clean_items
from eval.scores import EvalConfig, benchmark_tasks, read_scores, score_benchmark
from tests.eval.overlap_corpus import (
    link_id,
    make_filter,
    make_ngrams,
    make_overlap,
    silent,
    write_corpus,
    write_lambada,
)
from tests.eval.scorers import UniformScorer
from webtext.vocabulary import gpt2_encoding

WORDS = ["a", "the", "sea", "Wind", "n't", "up;", "to", "é", "42", "on"]


def prose(seed: int, words: int) -> str:
    drawn = random.Random(seed)
    return " ".join(drawn.choice(WORDS) for _ in range(words))


def strings(text: str, n: int) -> list[str]:
    words = words_of(text)
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def only(overlap: Path, variant: str = "paper") -> Overlap:
    return next(row for row in read_report(overlap).overlaps if row.variant == variant)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = [
        [prose(seed, 40 + 60 * (seed % 7)) for seed in range(p, p + 20)] for p in (0, 100, 200)
    ]
    return write_corpus(tmp_path / "corpus", [*texts, []])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"segment_ngrams": 399},  # many segments, documents cut by their ends
        {"false_positive_rate": 0.9},  # wrong half of the time: the exact pass must find out
    ],
)
def test_it_equals_a_plain_set_of_strings(corpus: Path, tmp_path: Path, settings: dict) -> None:
    passages = [f"{prose(seed, 30)} end" for seed in range(500, 560)]
    benchmarks = write_lambada(tmp_path / "benchmarks", passages)
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 4, n=4, **settings)
    trained: dict[str, set[bytes]] = {}
    for part in range(4):
        for row in pq.read_table(corpus / "train" / f"part-{part:05d}.parquet").to_pylist():
            for ngram in strings(row["text"], 4):
                trained.setdefault(ngram, set()).add(row["link_id"])
    asked = [strings(passage, 4) for passage in passages]
    found = only(overlap)
    assert found.ngrams == sum(map(len, asked))
    assert found.overlapping == sum(ngram in trained for row in asked for ngram in row)
    assert 0 < found.overlapping < found.ngrams
    distinct = {ngram for row in asked for ngram in row}
    assert found.distinct_ngrams == len(distinct)
    assert found.distinct_overlapping == len(distinct & set(trained))
    items = pq.read_table(overlap / "items.parquet").to_pylist()
    items = [row for row in items if row["variant"] == "paper"]
    assert [row["overlapping"] for row in items] == [
        sum(x in trained for x in row) for row in asked
    ]
    assert [row["ngrams"] for row in items] == [len(row) for row in asked]
    shared: dict[bytes, int] = {}
    for ngram in distinct & set(trained):
        for key in trained[ngram]:
            shared[key] = shared.get(key, 0) + 1
    documents = top_documents(overlap, "lambada", 10_000)
    assert {row["link_id"]: row["shared_ngrams"] for row in documents} == shared
    assert all(a["shared_ngrams"] >= b["shared_ngrams"] for a, b in pairwise(documents))
    assert all(row["example"] in distinct & set(trained) for row in documents)
    assert found.documents == len(shared)


def test_wrong_yeses_of_the_filter_are_counted(corpus: Path, tmp_path: Path) -> None:
    benchmarks = write_lambada(
        tmp_path / "benchmarks", [prose(seed, 60) for seed in range(700, 720)]
    )
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 4, n=6, false_positive_rate=0.9)
    check = read_report(overlap).filter
    assert check.false_positives > 10
    assert check.false_positives == sum(
        a.likely - a.found for a in read_asked(tmp_path / "work/hits")
    )
    strict = make_overlap(corpus, benchmarks, tmp_path / "strict", 4, n=6)
    assert read_report(strict).filter.false_positives == 0
    assert read_report(strict).filter.rate <= 1e-8
    assert read_report(strict).overlaps == read_report(overlap).overlaps


def test_equal_bytes_whatever_the_order_and_the_compiler(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_filter(corpus, tmp_path / "one", [0, 1, 2, 3], segment_ngrams=500)
    make_filter(corpus, tmp_path / "other", [3, 1, 0, 2], segment_ngrams=500)
    for module in (bloom, overlap_ngrams):
        monkeypatch.setattr(module, "compiled", None)
    make_filter(corpus, tmp_path / "numpy", [2, 0, 3, 1], segment_ngrams=500)
    assert (
        files_of(tmp_path / "one") == files_of(tmp_path / "other") == files_of(tmp_path / "numpy")
    )
    assert overlap_find.hash_ngrams("a b", 1).size == 2


def test_the_whole_filter_keeps_its_rate_however_many_segments(
    corpus: Path, tmp_path: Path
) -> None:
    counts = make_filter(corpus, tmp_path / "filter", [0, 1, 2, 3], segment_ngrams=150)
    assert len(read_segments(tmp_path / "filter", 0)) > 15
    assert read_segments(tmp_path / "filter", 3) == []
    assert whole_rate(tmp_path / "filter", 4) <= 1e-8
    assert count_partitions(corpus) == 4
    assert [count["rows_in"] for count in counts] == [20, 20, 20, 0]
    for count in counts:
        assert count["rows_in"] == count["rows_out"] + sum(count["losses"].values())


def test_short_documents_are_counted(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [["one two three", "", prose(1, 8)]])
    (count,) = make_filter(corpus, tmp_path / "filter", [0])
    assert count["losses"] == {"under_8_words": 2}


def test_a_corpus_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no training documents"):
        count_partitions(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part-00000.parquet").write_bytes(b"nothing")
    with pytest.raises(EvalError, match=r"cannot read the table .*part-00000"):
        make_filter(tmp_path, tmp_path / "filter", [0])


def test_case_punctuation_and_tokenization_do_not_hide_an_overlap(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path / "corpus", [["He SAID: \u201cthe cat, the dog\u2014and the (old) sea!\u201d"]]
    )
    benchmarks = write_lambada(tmp_path / "b", ["he said the cat the dog and the old sea"])
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 1)
    assert only(overlap).share == 100
    (document,) = top_documents(overlap, "lambada", 10)
    assert document["link_id"] == link_id(0)
    assert document["url"] == "http://p0.org/0"


def test_ngrams_across_documents_are_none(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path / "corpus", [["one two three four", "five six seven eight nine"]]
    )
    benchmarks = write_lambada(tmp_path / "b", ["one two three four five six seven eight nine"])
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 1)
    assert only(overlap).overlapping == 0
    assert top_documents(overlap, "lambada", 10) == []


def stream_folder(folder: Path, words: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = " ".join(f"é{i}İ" if i % 5 == 0 else f"w{i}" for i in range(words))
    (folder / "text8").write_text(text, "utf-8")
    (folder / "wikitext2.test.tokens").write_text(f" {text} \n = A @-@ b = \n" * 2, "utf-8")
    return folder


@pytest.mark.parametrize("benchmark", ["text8", "wikitext2"])
def test_a_streams_ngrams_cross_its_windows(tmp_path: Path, benchmark: str) -> None:
    """An n-gram that begins in one window and ends in the next counts in both."""
    folder = stream_folder(tmp_path / "b", 120)
    encoding = gpt2_encoding()
    source = Source(folder, encoding.encode_ordinary, Limits(None, None, 0), 16, "float32")
    for task in benchmark_tasks(benchmark, source):  # type: ignore[arg-type]
        n = 3
        found = find_occurrences(benchmark, task, encoding.decode_bytes, n)  # type: ignore[arg-type]
        assert len(found.items) > 10 or task.variant == "lm-eval"
        assert (np.diff(found.first) >= 0).all()
        assert (found.last >= found.first).all()
        crossing = (found.last > found.first).sum()
        assert crossing == 0 if task.variant == "lm-eval" else crossing > len(found.items)
        whole = (folder / task.data.name).read_text("utf-8")
        if task.variant == "raw-token" or benchmark == "text8":
            assert found.ngrams == strings(whole, n)


def test_a_stream_counts_what_windows_share(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "text8").write_text(" ".join(f"word{i}" for i in range(2_000)), "utf-8")
    corpus = write_corpus(
        tmp_path / "corpus", [["word7 word8 word9 word10 word11 word12 word13 word14"]]
    )
    overlap = make_overlap(corpus, folder, tmp_path / "work", 1)
    rows = pq.read_table(overlap / "items.parquet").to_pylist()
    rows = [row for row in rows if row["variant"] == "paper"]
    assert len(rows) > 3
    assert [row["overlapping"] for row in rows] == [1] + [0] * (len(rows) - 1)
    seams = len(rows) - 1
    total = only(overlap).ngrams
    assert total == 2_000 - 7
    assert total < sum(row["ngrams"] for row in rows) <= total + 8 * seams


def test_own_training_text_is_compared_where_it_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap_own, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(overlap_own, "SEAM_BYTES", 1 << 7)
    folder = tmp_path / "b"
    (folder / "simple-examples/data").mkdir(parents=True)
    shared = "he did n't know what the old man had said to her"
    (folder / "ptb.test.txt").write_text(f" {shared} \n {prose(3, 30)} \n", "utf-8")
    train = " filler line of words here \n" * 400 + f" {shared} \n" * 3
    (folder / "simple-examples/data/ptb.train.txt").write_text(train, "utf-8")
    write_lambada(folder, [prose(9, 20)])
    corpus = write_corpus(tmp_path / "corpus", [["nothing of it"]])
    overlap = make_overlap(corpus, folder, tmp_path / "work", 1)
    for row in read_report(overlap).overlaps:
        if row.benchmark == "ptb":
            # A word is lost with the contraction where it is written in one.
            assert row.own_overlapping == (5 if row.variant == "paper" else 6)
            assert row.overlapping == 0
            assert row.own_share == pytest.approx(100 * row.own_overlapping / row.ngrams)
        else:
            assert row.own_overlapping is None
            assert row.own_share is None


def test_every_published_row_is_a_benchmark_with_own_text() -> None:
    assert set(PUBLISHED) <= set(NAMES)
    assert np.mean([share for share, _own in PUBLISHED.values()]) == pytest.approx(3.16, abs=0.01)


def test_benchmark_ngrams_have_equal_bytes_again(tmp_path: Path) -> None:
    folder = write_lambada(stream_folder(tmp_path / "b", 200), [prose(s, 30) for s in range(5)])
    for name in ("one", "two"):
        make_ngrams(folder, tmp_path / name)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert {task.benchmark for task in read_tasks(tmp_path / "one")} == {
        "lambada", "wikitext2", "text8",
    }  # fmt: skip


def test_a_broken_benchmark_is_told(tmp_path: Path) -> None:
    (tmp_path / "lambada_test.jsonl").write_text("{", "utf-8")
    with pytest.raises(BenchmarkError, match="line 1"):
        make_ngrams(tmp_path, tmp_path / "out")


def test_clean_scores_are_the_scores_of_the_clean_items(tmp_path: Path) -> None:
    seen, unseen = prose(1, 30), [f"{prose(seed, 5)} unlike {prose(seed, 6)}" for seed in (5, 6, 7)]
    benchmarks = write_lambada(tmp_path / "b", [unseen[0], seen, *unseen[1:]])
    corpus = write_corpus(tmp_path / "corpus", [[seen]])
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 1)
    assert only(overlap).clean_items == 3
    made = tmp_path / "scores"
    made.mkdir()
    encode = gpt2_encoding().encode_ordinary
    score_benchmark(
        scorer=UniformScorer(), encode=encode, benchmark="lambada", folder=benchmarks,
        destination=made, config=EvalConfig(bootstrap_samples=50), progress=silent,
    )  # fmt: skip
    # What the clean items alone would score, from a file that holds no other.
    alone = tmp_path / "alone"
    alone.mkdir()
    score_benchmark(
        scorer=UniformScorer(), encode=encode, benchmark="lambada",
        folder=write_lambada(tmp_path / "clean", unseen),
        destination=alone, config=EvalConfig(bootstrap_samples=50), progress=silent,
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    config = CleanScoresConfig(limits=(0.0, 1.0), bootstrap_samples=50)
    score_clean_items(
        scores=[made], overlap=overlap, destination=out, config=config, progress=silent
    )
    rows = read_clean_scores(out)
    for score, expected in zip(
        read_scores(made / "scores.json"), read_scores(alone / "scores.json"), strict=True
    ):
        strict, loose = [
            row for row in rows if (row.column, row.variant) == (score.column, score.variant)
        ]
        assert (strict.items, strict.all_items) == (3, 4)
        assert (strict.value, strict.low, strict.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
        assert (loose.items, loose.value) == (4, pytest.approx(score.value))
        assert (loose.low, loose.high) == pytest.approx((score.low, score.high))


def test_without_a_clean_item_there_is_no_clean_score(tmp_path: Path) -> None:
    seen = prose(1, 30)
    benchmarks = write_lambada(tmp_path / "b", [seen])
    corpus = write_corpus(tmp_path / "corpus", [[seen]])
    overlap = make_overlap(corpus, benchmarks, tmp_path / "work", 1)
    config = EvalConfig(bootstrap_samples=5)
    made, out = tmp_path / "scores", tmp_path / "out"
    made.mkdir()
    out.mkdir()
    score_benchmark(
        scorer=UniformScorer(), encode=gpt2_encoding().encode_ordinary, benchmark="lambada",
        folder=benchmarks, destination=made, config=config, progress=silent,
    )  # fmt: skip
    clean = CleanScoresConfig(limits=(0.0,))
    score_clean_items(
        scores=[made], overlap=overlap, destination=out, config=clean, progress=silent
    )
    assert {(row.items, row.value, row.low) for row in read_clean_scores(out)} == {(0, None, None)}
    for field, message in (("sha256", "sha256"), ("column", "holds nothing")):
        scores = json.loads((made / "scores.json").read_text())
        for score in scores:
            if field == "sha256":
                score["data"]["sha256"] = "0" * 64
            else:
                score["column"] = score["protocol"]["column"] = "ptb"
        other = tmp_path / field
        other.mkdir()
        (other / "scores.json").write_text(json.dumps(scores))
        (other / "items.parquet").write_bytes((made / "items.parquet").read_bytes())
        with pytest.raises(EvalError, match=message):
            score_clean_items(
                scores=[other], overlap=overlap, destination=out, config=clean, progress=silent
            )
