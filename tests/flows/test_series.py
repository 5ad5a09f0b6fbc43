"""A series holds its months' files as they are, the new ones behind the old."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.months import find_series, find_trainable
from flows.series_stage import SeriesConfig, gather_series
from infra.errors import StoreError
from infra.files import files_below
from infra.parts import describe_file
from infra.store import Artifact, Store
from model.sequences import Shards
from tests.webtext.corpora import document_row, write_part
from webtext.counts import silent
from webtext.shards import ShardsConfig, pack_shards_partition

CONTEXT = 8


def finished(store: Store, stage: str, folder: Path, month: int, inputs: dict) -> Artifact:
    """An artifact of the files in a folder."""
    records = [one.as_input(role) for role, ones in inputs.items() for one in ones]
    artifact = store.artifact(stage, 1, f"tiny-2017-{month:02d}", {"month": month}, records)
    with store.writing(artifact, "run"):
        for path in files_below(folder):
            target = artifact.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / path).replace(target)
        files = [p for p in files_below(artifact.path) if p.parts[0] != ".work"]
        store.finish(
            artifact,
            files=[describe_file(artifact.path, path) for path in files],
            counts=json.loads((folder / "../counts.json").read_text()),
            partitions=[],
            measurements={},
            run_id="run",
            prefect_flow_run_id=None,
            started_at="",
        )
    return artifact


def month(store: Store, scratch: Path, number: int) -> dict[str, Artifact]:
    """A month's corpus and shards, two partitions of a few documents."""
    folder = scratch / f"{number}"
    for partition in range(2):
        for split, texts in (("train", range(3)), ("validation", range(3, 4))):
            rows = [
                document_row(1000 * number + 100 * partition + text, f"{number} {text} tells of it")
                for text in texts
            ]
            write_part(folder / "corpus", split, rows, partition)
    (folder / "counts.json").write_text('{"rows_in": 8, "rows_out": 8, "losses": {}, "facts": {}}')
    corpus = finished(store, "corpus", folder / "corpus", number, {})
    facts: dict[str, int] = {}
    for partition in range(2):
        counts = pack_shards_partition(
            corpus=corpus.path,
            partition=partition,
            destination=folder / "shards",
            config=ShardsConfig(sequence_tokens=CONTEXT),
            progress=silent,
        )
        facts = {name: facts.get(name, 0) + value for name, value in counts.facts.items()}
    told = {"rows_in": 8, "rows_out": 8, "losses": {}, "facts": facts}
    (folder / "counts.json").write_text(json.dumps(told))
    shards = finished(store, "shards", folder / "shards", number, {"corpus": [corpus]})
    return {"corpus": corpus, "shards": shards}


def gather(months: list[dict[str, Artifact]], destination: Path) -> Path:
    gather_series(
        shards=[one["shards"].path for one in months],
        corpus=[one["corpus"].path for one in months],
        config=SeriesConfig(months=tuple(f"2017-{n:02d}" for n, _ in enumerate(months, 1))),
        destination=destination,
        progress=silent,
    )
    return destination


def test_a_month_more_leaves_every_file_before_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    months = [month(store, tmp_path, number) for number in (1, 2)]
    one, two = gather(months[:1], tmp_path / "one"), gather(months, tmp_path / "two")
    before = [path for path in files_below(one) if len(path.parts) > 1]
    for path in before:
        assert (one / path).read_bytes() == (two / path).read_bytes()
    assert len(files_below(two)) > len(files_below(one))
    old, new = Shards(one, "train", CONTEXT), Shards(two, "train", CONTEXT)
    assert new.sequences > old.sequences
    indices = np.arange(old.sequences)
    assert np.array_equal(old.read(indices)[0], new.read(indices)[0])
    described = json.loads((two / "months.json").read_text())
    assert described[1]["sequences"]["train"] == [old.sequences, new.sequences]


def test_spans_and_documents_tell_every_token(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = gather([month(store, tmp_path, n) for n in (1, 2)], tmp_path / "series")
    spans = [
        row for p in sorted((folder / "spans").iterdir()) for row in pq.read_table(p).to_pylist()
    ]
    keys = {
        row["link_id"]
        for path in (folder / "data").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    assert {span["link_id"] for span in spans} == keys
    for span in spans:
        tokens = np.load(folder / span["shard"]).reshape(-1)
        assert tokens[span["start"] + span["length"] - 1] == 50256
    card = (folder / "README.md").read_text()
    assert "| 2017-02 | 8 |" in card
    assert len(json.loads((folder / "croissant.json").read_text())["distribution"]) == 10


def test_training_is_given_the_shards_that_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert find_series(store, "tiny") is None
    shards = month(store, tmp_path, 1)["shards"]
    assert find_trainable(store, "shards", "tiny").label == shards.label
    with pytest.raises(StoreError, match="series"):
        find_trainable(store, "series", "tiny")
