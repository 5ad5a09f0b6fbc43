"""The model card as a hub reads it, and what it says after a takedown."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from eval.protocols import COLUMNS
from flows.cli import main
from flows.model_index import _yaml
from flows.takedowns import takedowns_of
from flows.trace import Desk
from infra.lineage_answers import LinkTrace, StepTrace
from infra.store import Store, verify_artifact
from tests.end_to_end.conftest import Ended


def test_a_hub_reads_every_score_from_the_cards_head(tiny_store: tuple[Path, Ended]) -> None:
    store = Store(tiny_store[0])
    folder = store.find("card").path
    card = ModelCard.load(folder / "README.md")
    head = card.data
    assert (head.library_name, head.pipeline_tag) == ("transformers", "text-generation")
    assert head.datasets == [f"webtext-{store.find('corpus').fingerprint[:12]}"]
    assert set(head.metrics) == {
        "perplexity", "accuracy", "bits_per_byte", "bits_per_character",
    }  # fmt: skip
    scores = {
        one["column"]: one
        for one in json.loads((folder / "scores.json").read_text())
        if one["variant"] == "paper"
    }
    assert head.eval_results is not None
    found = {one.metric_args["protocol"].split("/")[0]: one for one in head.eval_results}
    assert found.keys() == scores.keys() == set(COLUMNS)
    for column, result in found.items():
        assert result.metric_value == scores[column]["value"]
        assert result.metric_args.get("low") == scores[column]["low"]
        assert result.task_type == "text-generation"
        assert "demo" in result.dataset_name
        assert result.metric_type in head.metrics
    name, results = model_index_to_eval_results(metadata_load(folder / "README.md")["model-index"])
    assert name == f"gpt2-webtext-{store.find('model').fingerprint[:12]}"
    assert len(results) == len(COLUMNS)
    assert "license" not in head.to_dict()
    assert "SPDX" not in str(card)
    assert card.text.lstrip().startswith("# A GPT-2 of")
    # The hub's own writer says the same.
    assert yaml.safe_load(head.to_yaml()) == metadata_load(folder / "README.md")


@pytest.mark.parametrize("text", ["no", "1e3", "a: b", "- x", "“quoted” \" '", "x\ny", "#", "null"])
def test_any_text_is_safe_in_the_head(text: str) -> None:
    value = {"a": text, "list": [text, {"deep": [text]}], "n": 1.5}
    assert yaml.safe_load("\n".join(_yaml(value, 0))) == value


def test_cards_are_issued_again_when_what_was_trained_on_goes(
    copied_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(copied_store)
    model, old = store.find("model"), store.find("card")
    step = Desk(store, None, lambda *_: None).ask(f"{model.label}@1-6", limit=0)
    assert isinstance(step, StepTrace)
    read = step.documents[0]
    assert read.url is not None
    spans = pq.read_table(store.find("shards").path / "spans").to_pylist()
    tokens = sum(span["length"] for span in spans if span["link_id"].hex() == read.link_id)
    steps = {one.step for one in step.documents if one.link_id == read.link_id}
    told = ["remove", "--url", read.url, "--reason", "the owner | asked", "--store"]
    assert main([*told, str(copied_store)]) == 0
    out = capfd.readouterr().out
    assert f"{old.label}: they are in its model's training text; issued again as " in out
    [new] = [one for one in store.finished() if one.stage == "card" and one.label != old.label]
    text = (new.path / "README.md").read_text()
    [takedown] = takedowns_of(store, model)
    assert (takedown.documents, takedown.tokens) == (1, tokens)
    assert (takedown.steps, takedown.of_steps) == (len(steps), 6)
    row = f"| {takedown.date} | the owner ? asked | 1 | {tokens:,} | {len(steps)} of 6 |"
    assert row in text
    assert "has been taken down since it was trained" in text
    assert "taken down" not in (old.path / "README.md").read_text()
    assert ModelCard.load(new.path / "README.md").data.eval_results
    assert verify_artifact(new.path) == []
    for weights in ("model.safetensors", "config.json"):
        assert (new.path / weights).read_bytes() == (model.path / weights).read_bytes()
    # Once is enough; every listing tells.
    assert main([*told, str(copied_store)]) == 0
    assert "issued again" not in capfd.readouterr().out
    assert main(["runs", "--store", str(copied_store), "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    by_label = {row["artifact"]: row for row in rows["artifacts"]}
    assert by_label[old.label]["superseded_by"] == new.label
    assert by_label[new.label]["superseded_by"] is None
    assert by_label[model.label]["removed_documents"] == 1
    assert rows["runs"][0]["flow"] == "remove"
    desk = Desk(store, None, lambda *_: None)
    page = desk.ask(read.url)
    assert isinstance(page, LinkTrace)
    assert page.taken_down == f"{takedown.date}: the owner | asked"
    for subject in (f"{model.label}@1", "lambada", model.label, old.label):
        assert getattr(desk.ask(subject), "removed_documents") == 1, subject  # noqa: B009
    assert main(["runs", "--store", str(copied_store)]) == 0
    shown = capfd.readouterr().err
    assert f"superseded by {new.label}" in shown
    assert "1 removed documents" in shown
