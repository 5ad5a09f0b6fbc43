"""The whole pipeline on the tiny demo: what it prints, makes, reuses and explains."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from eval.bias import read_bias
from eval.overlap_report import read_report
from eval.overlap_scores import read_clean_scores
from flows.bias_show import bias_markdown
from flows.overlap_show import clean_markdown, overlap_markdown
from infra.store import Store
from tests.end_to_end.conftest import STAGES, TINY, Ended, digests, last_run, manifests, webtext

COLUMNS = 10
REASONS = {("duplicates", "exact"): "exact_duplicate", ("duplicates", "near"): "near_duplicate"}
"""Planted outcomes of the duplicates table, and what the counts call them."""
TinyStore = tuple[Path, Ended]


def counts(store: Path, stage: str) -> dict:
    return Store(store).find(stage).manifest().counts


def test_a_run_ends_with_the_ten_columns(tiny_store: TinyStore) -> None:
    store, ended = tiny_store
    for stage in STAGES:
        assert f"✓ {stage}" in ended.err
    table = ended.err[ended.err.index("Zero-shot scores") :]
    for title in ("LAMBADA (PPL)", "CBT-CN (ACC)", "WikiText103 (PPL)", "1BW (PPL)"):
        assert title in table
    assert table.count("demo, ") == COLUMNS
    assert last_run(store)["state"] == "finished"


def test_it_writes_below_its_store_alone(tiny_store: TinyStore, tmp_path: Path) -> None:
    store, _ended = tiny_store
    assert sorted(path.name for path in store.parent.iterdir()) == [store.name]
    assert not (Path.home() / ".prefect").exists() or os.environ.get("PREFECT_HOME") is None


def test_what_it_took_is_near_its_estimate(tiny_store: TinyStore) -> None:
    """Estimated from assumptions alone: nothing was measured in this store before."""
    store, _ended = tiny_store
    done = webtext("plan", "latest", "--store", store, "--json")
    assert done.code == 0, done.err
    compared = json.loads(done.out)
    expected = {one["stage"]: one for one in compared["estimate"]["stages"]}
    taken = compared["actuals"]
    for stage in ("submissions", "links"):  # their dump was read to its end
        assert taken[stage]["rows_out"] == expected[stage]["rows_out"]
    assert taken["model"]["tokens"] == expected["model"]["tokens"]
    for stage, one in expected.items():
        assert taken[stage]["how"] == "made"
        # Nine tenths of it is starting: a busy machine may take many times as long.
        assert 1 / 6 < taken[stage]["seconds"] / one["seconds"] < 25, stage
        if stage != "model":
            peak = taken[stage]["memory_bytes"]
            assert 2**25 < peak < one["memory_bytes"] / one["parallel"], stage
    shown = webtext("plan", compared["run_id"], "--store", store)
    assert "taken / estimated" in shown.err
    assert "captures" in shown.err


def test_every_planted_case_meets_its_outcome(tiny_store: TinyStore) -> None:
    """Each case names the stage where it ends and the reason; that reason must be counted there."""
    store, _ended = tiny_store
    planted = json.loads((Store(store).find("demo-web").path / "planted.json").read_text())
    lost = {stage: counts(store, stage)["losses"] for stage in STAGES[1:9]}
    reasons = {(case["stage"], case["outcome"]) for case in planted}
    assert len(reasons) > 25
    missing = {
        (stage, outcome)
        for stage, outcome in reasons
        if outcome != "ok" and not lost[stage].get(REASONS.get((stage, outcome), outcome))
    }
    assert not missing
    for stage, reason in (
        ("links", "karma_below_minimum"),
        ("links", "same_link"),
        ("submissions", "wikipedia"),
        ("captures", "wikipedia_redirect"),
        ("captures", "not_found"),
        ("captures", "robots_disallowed"),
        ("captures", "wrong_content_type"),
        ("documents", "too_short"),
        ("documents", "language"),
        ("duplicates", "exact_duplicate"),
        ("duplicates", "near_duplicate"),
    ):
        assert lost[stage][reason] > 0, (stage, reason)


def test_the_books_balance_from_row_to_document(tiny_store: TinyStore) -> None:
    store, _ended = tiny_store
    chain = ("submissions", "links", "captures", "pages", "documents", "corpus", "shards")
    for before, after in pairwise(chain):
        assert counts(store, before)["rows_out"] == counts(store, after)["rows_in"]


def test_a_second_run_does_no_stage_work(tiny_store: TinyStore, shared_api: str) -> None:
    store, _ended = tiny_store
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/*/*.json")}
    again = webtext("run", "--profile", TINY, "--store", store, api_url=shared_api)
    assert again.code == 0, again.err
    uses = last_run(store)["uses"]
    assert isinstance(uses, list)
    assert {use["how"] for use in uses} == {"reused"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        pytest.param("documents.min_tokens=150", "documents", marks=pytest.mark.slow),
        pytest.param("corpus.validation_share=0.3", "corpus", marks=pytest.mark.slow),
        pytest.param("links.min_karma=4", "links", marks=pytest.mark.slow),
    ],
)
def test_a_changed_config_reruns_its_stage_and_those_after(
    copied_store: Path, shared_api: str, setting: str, first: str
) -> None:
    done = webtext(
        "corpus", "--profile", TINY, "--store", copied_store, "--set", setting, api_url=shared_api
    )
    assert done.code == 0, done.err
    uses = last_run(copied_store)["uses"]
    assert isinstance(uses, list)
    how = {use["artifact"].split("/")[0]: use["how"] for use in uses}
    stages = STAGES[: STAGES.index("shards") + 1]
    expected = {
        stage: "made" if index >= STAGES.index(first) else "reused"
        for index, stage in enumerate(stages)
    }
    assert how == expected


def test_the_bytes_do_not_depend_on_the_number_of_workers(
    tiny_store: TinyStore, shared_api: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    done = webtext(
        "corpus", "--profile", TINY, "--store", store, "--workers", 1, api_url=shared_api
    )
    assert done.code == 0, done.err
    alone = digests(store)
    assert {label.split("/")[0] for label in alone} == set(STAGES[: STAGES.index("shards") + 1])
    assert alone.items() <= digests(tiny_store[0]).items()


def test_the_model_beside_the_card_opens_with_transformers(tiny_store: TinyStore) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import pipeline

    card = Store(tiny_store[0]).find("card").path
    generator = pipeline("text-generation", model=str(card), device="cpu")
    [answer] = generator("The list", max_new_tokens=4, do_sample=False)
    assert answer["generated_text"].startswith("The list")
    assert len(answer["generated_text"]) > len("The list")


def test_the_card_has_gpt2s_sections_and_the_artifacts_numbers(tiny_store: TinyStore) -> None:
    store, _ended = tiny_store
    card = Store(store).find("card").path
    text = (card / "README.md").read_text()
    for heading in (
        "## Model description",
        "## Intended uses and limitations",
        "### How to use",
        "### Limitations and bias",
        "## Training data",
        "## Training procedure",
        "### Preprocessing",
        "## Evaluation results",
    ):
        assert f"\n{heading}\n" in text
    facts = counts(store, "shards")["facts"]
    assert f"{facts['train_tokens']:,} tokens to train on" in text
    losses = (card / "losses.jsonl").read_text().splitlines()
    assert f"{json.loads(losses[-1])['loss']:.4f} nats a token" in text
    for label, manifest in manifests(store).items():
        stage = label.split("/")[0]
        if stage not in ("card", "demo-web"):
            assert manifest.fingerprint[:12] in text or stage == "demo-benchmarks", label
    assert bias_markdown(read_bias(Store(store).find("bias").path)) in text
    assert overlap_markdown(read_report(Store(store).find("overlap").path)) in text
    clean = read_clean_scores(Store(store).find("clean-scores").path)
    assert len(clean) == 2 * COLUMNS
    assert clean_markdown(clean) in text
    scores = json.loads((card / "scores.json").read_text())
    assert len({score["column"] for score in scores}) == COLUMNS
    assert all(score["data"]["label"] == "demo" for score in scores)


def test_the_card_and_a_command_tell_the_domains_beside_webtexts(tiny_store: TinyStore) -> None:
    store, _ended = tiny_store
    done = webtext("fidelity", last_run(store)["run_id"], "--store", store, "--json")
    assert done.code == 0, done.err
    tables = json.loads(done.out)["tables"]
    assert list(tables) == ["links", "captures", "documents", "corpus"]
    for name, figures in tables.items():
        assert figures["rows"] == counts(store, name)["rows_out"]
    links = f"| links | {tables['links']['rows']:,} | 0.0% | 0 | 0.0% | – | – | – |"
    assert links in (Store(store).find("card").path / "README.md").read_text()
    shown = webtext("fidelity", "--store", store)
    assert "covered mass" in shown.err
    assert webtext("fidelity", "links", "--store", store).code == 1


def test_lineage_leads_from_a_score_to_the_demo_web(tiny_store: TinyStore) -> None:
    store, _ended = tiny_store
    done = webtext("lineage", "--store", store, "--json", "lambada_acc")
    assert done.code == 0, done.err
    names = []

    def walk(node: dict) -> None:
        names.append(node["name"].split("/")[0])
        for parent in node.get("made_from", []):
            walk(parent)

    walk(json.loads(done.out))
    before = STAGES[: STAGES.index("bias")]
    assert set(names) >= {*before, "scores"} - {"fidelity", "dataset"}
    shown = webtext("lineage", "--store", store, "card")
    assert "demo-web/tiny-" in shown.err


@pytest.mark.slow
def test_generate_is_equal_for_equal_seeds(tiny_store: TinyStore) -> None:
    store, _ended = tiny_store
    texts = [
        webtext("generate", "--store", store, "--tokens", 8, "--seed", seed, "Return the")
        for seed in (1, 1, 2)
    ]
    assert all(text.code == 0 for text in texts), texts[0].err
    assert texts[0].out == texts[1].out != texts[2].out
    assert texts[0].out.startswith("Return the")


def test_verify_finds_a_changed_byte_and_a_rerun_remakes_what_was_removed(
    copied_store: Path, shared_api: str
) -> None:
    assert webtext("verify", "--store", copied_store).code == 0
    whole = digests(copied_store)
    documents = Store(copied_store).find("documents").path
    part = documents / "documents" / "part-00000.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    done = webtext("verify", "--store", copied_store)
    assert done.code == 1
    assert "CORRUPT" in done.err
    assert "part-00000.parquet has sha256" in done.err
    (documents / "manifest.json").unlink()
    again = webtext("corpus", "--profile", TINY, "--store", copied_store, api_url=shared_api)
    assert again.code == 0, again.err
    assert digests(copied_store) == whole


@pytest.mark.slow
def test_gc_keeps_what_the_last_run_uses(copied_store: Path, shared_api: str) -> None:
    changed = webtext(
        "corpus", "--profile", TINY, "--store", copied_store, "--set", "links.min_karma=4",
        api_url=shared_api,
    )  # fmt: skip
    assert changed.code == 0, changed.err
    listed = webtext("gc", "--store", copied_store)
    assert not [line for line in listed.err.splitlines() if " MB  " in line and "runs/" not in line]
    (copied_store / "runs" / f"{last_run(copied_store)['run_id']}.json").unlink()
    kept = set(digests(copied_store))
    done = webtext("gc", "--store", copied_store, "--delete")
    assert done.code == 0
    gone = kept - set(digests(copied_store))
    assert {label.split("/")[0] for label in gone} == {
        "links", "captures", "pages", "documents", "signatures", "duplicates", "corpus", "dataset",
        "fidelity", "shards",
    }  # fmt: skip
    assert webtext("verify", "--store", copied_store).code == 0


@pytest.mark.slow
def test_training_and_scoring_are_commands_of_their_own(
    copied_store: Path, shared_api: str, tmp_path: Path
) -> None:
    """Another seed's model from the same shards; then the card's folder, as anybody's GPT-2."""
    trained = webtext(
        "train", "shards", "--profile", TINY, "--store", copied_store, "--set", "train.seed=3",
        api_url=shared_api,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert len(list(copied_store.glob("model/*/manifest.json"))) == 2
    cut = Store(copied_store).find("demo-benchmarks").path
    scored = webtext(
        "eval", Store(copied_store).find("card").path, "--profile", TINY, "--benchmarks", cut,
        "--store", copied_store, api_url=shared_api,
    )  # fmt: skip
    assert scored.code == 0, scored.err
    assert "WikiText103 (PPL)" in scored.err
