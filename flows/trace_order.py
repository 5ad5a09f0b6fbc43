"""The model room's order of sequences, as lineage asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infra.lineage_build import Build, Known
from infra.lineage_steps import Order
from model.sequences import Order as SequenceOrder
from model.sequences import SequenceAddress, Shards


class TrainingOrder:
    """Which rows of the shards each step of a trained model read."""

    def __init__(self, model: Known, shards: Known) -> None:
        """Read the shards' headers. Raises ShardsError where one is damaged."""
        config = model.manifest.identity.config
        training = config["training"]
        self.model = model.label
        self.steps: int = training["steps"]
        self.context: int = config["network"]["context"]
        self.without_update = frozenset(_refused(model.folder / "spikes.jsonl"))
        self._shards = Shards(shards.folder, "train", self.context)
        self._order = SequenceOrder(self._shards, training["seed"], training["sequences_per_step"])

    def rows_of_step(self, step: int) -> list[tuple[str, int]]:
        """The shard and the row of each sequence of a step."""
        indices = self._order.step_indices(step)
        addresses = [self._shards.address(int(index)) for index in indices]
        return [(address.shard, address.row) for address in addresses]

    def steps_of_rows(self, shard: str, rows: Sequence[int]) -> list[int]:
        """The steps that read one of these rows of a shard at least, in order."""
        first = self._shards.index(SequenceAddress(shard, 0))
        indices = first + np.array(rows, dtype=np.int64)
        return [int(step) for step in self._order.steps_of(indices, self.steps)]


def _refused(path: Path) -> Iterator[int]:
    """The steps that made no update or whose update was taken back, by the record of spikes."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for spike in map(json.loads, lines):
            if spike["action"] == "skipped":
                yield spike["step"]
            elif spike["action"] == "rolled_back":
                yield from range(spike["rolled_back_to"] + 1, spike["step"] + 1)


def orders_of(build: Build) -> list[Order]:
    """The order of each training on a build's shards."""
    shards = build.get("shards")
    return [] if shards is None else [TrainingOrder(model, shards) for model in build.models]
