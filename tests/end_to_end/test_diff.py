"""`webtext diff` of two whole runs: what it tells is worked out again from the store's tables."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval.scores import read_scores
from flows.cli import main
from flows.diff import RunsDiff, diff_runs
from infra.errors import StoreError
from infra.lineage_build import Library
from infra.store import Store
from tests.end_to_end.conftest import TINY, Ended, last_run, webtext

pytestmark = pytest.mark.slow


class Two:
    """A store with two runs of the tiny demo: the second with longer documents and another rate."""

    def __init__(self, store: Path, first: str, second: str) -> None:
        self.store, self.first, self.second = store, first, second

    def diff(self, first: str | None = None, second: str | None = None) -> RunsDiff:
        library = Library(Store(self.store))
        return diff_runs(library, first or self.first, second or self.second, 0, lambda *_: None)

    def folder(self, run: str, stage: str) -> Path:
        uses = json.loads((self.store / "runs" / f"{run}.json").read_text())["uses"]
        [label] = {use["artifact"] for use in uses if use["artifact"].startswith(f"{stage}/")}
        return self.store / label

    def documents(self, run: str) -> dict[bytes, dict]:
        corpus = self.folder(run, "corpus")
        return {
            row["link_id"]: {**row, "split": split}
            for split in ("train", "validation")
            for row in pq.read_table(corpus / split).to_pylist()
        }


@pytest.fixture(scope="module")
def two(
    tiny_store: tuple[Path, Ended], tmp_path_factory: pytest.TempPathFactory, shared_api: str
) -> Two:
    store = tmp_path_factory.mktemp("diff") / "runs"
    shutil.copytree(tiny_store[0], store, ignore=shutil.ignore_patterns("prefect"))
    first = str(last_run(store)["run_id"])
    done = webtext(
        "run", "--profile", TINY, "--store", store, "--set", "documents.min_tokens=200",
        "--set", "train.learning_rate=2e-3", "--set", "corpus.validation_share=0.3",
        "--benchmarks", Store(store).find("demo-benchmarks").path, api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    return Two(store, first, str(last_run(store)["run_id"]))


def test_the_parting_and_its_causes_are_named(two: Two) -> None:
    found = two.diff()
    assert (found.first, found.second) == (two.first, two.second)
    assert found.parting == "documents"
    by_stage = {stage.stage: stage for stage in found.stages}
    for stage in ("demo-web", "submissions", "links", "captures", "pages"):
        assert by_stage[stage].same
        assert by_stage[stage].first == by_stage[stage].second
    order = [stage.stage for stage in found.stages]
    assert order.index("demo-web") < order.index("submissions") < order.index("model")

    def causes(stage: str) -> dict[str, tuple[object, object]]:
        return {one.what: (one.first, one.second) for one in by_stage[stage].causes}

    assert causes("documents") == {"config.min_tokens": (128, 200)}
    assert by_stage["documents"].follows == ()
    assert causes("corpus") == {"config.validation_share": (0.2, 0.3)}
    assert by_stage["corpus"].follows == ("documents", "duplicates")
    assert causes("signatures") == {}
    assert causes("model") == {"config.training.learning_rate": (0.001, 0.002)}
    assert by_stage["model"].follows == ("shards",)
    counts = {one.what: (one.first, one.second) for one in by_stage["documents"].counts}
    kept = [
        pq.read_table(two.folder(run, "documents") / "documents").num_rows
        for run in (two.first, two.second)
    ]
    assert counts["rows_out"] == tuple(kept)
    [benchmark] = causes("scores/ptb").values()
    assert "sha256" in str(benchmark)


def test_documents_that_went_and_changed_are_those_of_the_tables(two: Two) -> None:
    found = two.diff().documents
    assert found is not None
    before, after = two.documents(two.first), two.documents(two.second)
    assert found.documents == (len(before), len(after))
    assert found.removed == len(before.keys() - after.keys()) > 0
    assert found.added == len(after.keys() - before.keys())
    assert found.removed_why["too_short"] == sum(
        before[key]["tokens"] < 200 for key in before.keys() - after.keys()
    )
    moved = [
        key for key in before.keys() & after.keys() if before[key]["split"] != after[key]["split"]
    ]
    assert found.changed == {"split": len(moved)}
    assert moved
    tokens = [sum(row["tokens"] for row in documents.values()) for documents in (before, after)]
    assert found.tokens == tuple(tokens)
    shares = [Counter[str](), Counter[str]()]
    for side, documents in zip(shares, (before, after), strict=True):
        for row in documents.values():
            side[row["domain"]] += row["tokens"]
    assert found.domains == ()  # the limit of 0 shows none
    shown = diff_runs(
        Library(Store(two.store)), two.first, two.second, 5, lambda *_: None
    ).documents
    assert shown is not None
    assert len(shown.domains) == 5
    for domain in shown.domains:
        assert domain.first == pytest.approx(shares[0][domain.domain] / tokens[0])
        assert domain.second == pytest.approx(shares[1][domain.domain] / tokens[1])
    assert {one.why for one in shown.examples} >= {"too_short", "split"}
    urls = {row["url"] for row in before.values()}
    assert {one.url for one in shown.examples} <= urls


def test_turned_around_what_went_has_come(two: Two) -> None:
    there, back = two.diff().documents, two.diff(two.second, two.first).documents
    assert there is not None
    assert back is not None
    assert (back.added, back.removed) == (there.removed, there.added)
    assert back.added_why == there.removed_why
    assert back.changed == there.changed


def test_loss_curves_and_scores_are_compared(two: Two) -> None:
    found = two.diff()
    curves = [
        [
            json.loads(line)
            for line in (two.folder(run, "model") / "losses.jsonl").read_text().splitlines()
        ]
        for run in (two.first, two.second)
    ]
    assert found.losses is not None
    assert found.losses.steps == (6, 6)
    assert found.losses.first_different_step == 1
    assert found.losses.last_losses == (curves[0][-1]["loss"], curves[1][-1]["loss"])
    apart = {a["step"]: b["loss"] - a["loss"] for a, b in zip(*curves, strict=True)}
    at = found.losses.largest_at
    assert at is not None
    assert found.losses.largest_difference == apart[at] == max(apart.values(), key=abs)
    assert {one.column for one in found.scores} >= {"lambada_ppl", "cbt_ne", "1bw", "text8"}
    assert found.not_compared == ()
    for one in found.scores:
        sides = [_score(two, run, one.column) for run in (two.first, two.second)]
        assert (one.first, one.second) == tuple(sides)
        if one.low is not None and one.high is not None:
            assert one.low <= one.change <= one.high
    assert any(one.low is not None for one in found.scores)


def _score(two: Two, run: str, column: str) -> float:
    uses = json.loads((two.store / "runs" / f"{run}.json").read_text())["uses"]
    [value] = [
        score.value
        for use in uses
        if use["artifact"].startswith("scores/")
        for score in read_scores(two.store / use["artifact"] / "scores.json")
        if (score.column, score.variant) == (column, "paper")
    ]
    return value


def test_a_run_beside_itself_parts_nowhere(two: Two, capfd: pytest.CaptureFixture[str]) -> None:
    same = two.diff(two.first, two.first)
    assert same.parting is None
    assert (same.documents, same.losses, same.scores) == (None, None, ())
    assert all(stage.same for stage in same.stages)
    assert main(["diff", two.first, "latest", "--store", str(two.store)]) == 0
    shown = capfd.readouterr().err
    for told in ("they part at documents", "min_tokens: 128 → 200", "too_short", "paper: "):
        assert told in shown
    assert "[{" not in shown
    with pytest.raises(StoreError, match="no run begins with 'nothing'"):
        two.diff("nothing")
