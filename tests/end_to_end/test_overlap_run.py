"""`webtext overlap` on the tiny demo: all stages made once, reused, equal whatever the workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store import Store
from tests.end_to_end.conftest import TINY, Ended, digests, last_run, manifests, webtext

MADE = ("ngram-filter", "benchmark-ngrams", "ngram-hits", "overlap", "clean-scores")


def made_of(store: Path) -> dict[str, dict[str, str]]:
    return {label: files for label, files in digests(store).items() if label.split("/")[0] in MADE}


@pytest.mark.slow
def test_overlap_of_the_demo(
    tiny_store: tuple[Path, Ended], copied_store: Path, shared_api: str
) -> None:
    common = ("overlap", "--profile", TINY, "--store", copied_store, "--json")
    done = webtext(*common, "--workers", 2, api_url=shared_api)
    assert done.code == 0, done.err
    value = json.loads(done.out)
    overlaps = {row["benchmark"]: row for row in value["report"]["overlaps"]}
    assert len(overlaps) == 9
    # The demo's benchmarks are cut from held-out pages, which say some things that others say, too.
    assert any(0 < row["overlapping"] < row["ngrams"] for row in overlaps.values())
    assert value["report"]["filter"]["false_positives"] == 0
    assert value["report"]["filter"]["rate"] < 1e-8
    assert {row["column"] for row in value["clean_scores"]} >= {"lambada_acc", "1bw"}
    for row in value["clean_scores"]:
        assert row["items"] <= row["all_items"]
        if row["items"] == row["all_items"]:
            assert row["value"] == pytest.approx(row["all_value"])
    trained = {
        row["link_id"].hex()
        for path in (Store(copied_store).find("corpus").path / "train").glob("*.parquet")
        for row in pq.read_table(path, columns=["link_id"]).to_pylist()
    }
    assert {row["link_id"] for row in value["documents"]} <= trained
    first = made_of(copied_store)
    assert len(first) == len(MADE)

    again = webtext(*common, api_url=shared_api)
    assert json.loads(again.out) == value
    uses = last_run(copied_store)["uses"]
    assert isinstance(uses, list)
    assert {use["how"] for use in uses} == {"reused"}

    for label in first:
        shutil.rmtree(copied_store / label)
    alone = webtext(*common, "--workers", 1, api_url=shared_api)
    assert alone.code == 0, alone.err
    assert made_of(copied_store) == first
    model = next(label for label in manifests(copied_store) if label.startswith("model/"))
    for reference in (model, "shards", "corpus"):
        named = webtext(*common[:1], reference, *common[1:], api_url=shared_api)
        assert named.code == 0, named.err
        made = json.loads(named.out)["made"]
        assert ("clean-scores" in made) == (reference == model)
        assert made["ngram-filter"] == value["made"]["ngram-filter"]

    wrong = webtext(*common[:1], "links", *common[1:], api_url=shared_api)
    assert wrong.code == 1
    assert "made from no corpus" in " ".join(wrong.err.split())
