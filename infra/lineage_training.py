"""Whether models and scores are of what their manifests say: shards, steps, items."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from infra.lineage_build import Build, Known, Library
from infra.lineage_tables import read_columns


def check_models(library: Library, build: Build) -> Iterator[str]:
    """What does not fit between a build's shards, the models trained on them, and their scores."""
    shards = build.get("shards")
    if shards is None:
        return
    for model in build.models:
        yield from _check_model(library.series_of(model) or shards, model)
        for scores in build.scores.get(model.label, ()):
            yield from _check_scores(scores)


def _check_model(shards: Known, model: Known) -> Iterator[str]:
    record = json.loads(model.file("training.json").read_bytes())
    if record["shards"] != shards.manifest.fingerprint:
        yield f"{model.label} says that it was trained on other shards than {shards.label}"
    sequences = sum(
        file.rows or 0 for file in shards.manifest.files if file.path.startswith("train/")
    )
    if record["train_sequences"] != sequences:
        yield (
            f"{model.label} was trained on {record['train_sequences']:,} sequences, "
            f"{shards.label} holds {sequences:,}"
        )
    with model.file("losses.jsonl").open(encoding="utf-8") as lines:
        steps = [json.loads(line)["step"] for line in lines]
    wanted = model.manifest.identity.config["training"]["steps"]
    if steps != list(range(1, wanted + 1)):
        yield f"{model.label}: losses.jsonl does not tell of each of its {wanted:,} steps once"


def _check_scores(scores: Known) -> Iterator[str]:
    rows = Counter(read_columns(scores.file("items.parquet"), ["variant"])["variant"].to_pylist())
    for score in json.loads(scores.file("scores.json").read_bytes()):
        items, held = score["items"], rows.get(score["variant"], 0)
        if items != held:
            yield (
                f"{scores.label}: {score['column']} {score['variant']} stands on {items:,} items, "
                f"items.parquet holds {held:,}"
            )
