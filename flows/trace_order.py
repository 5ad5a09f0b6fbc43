"""The model room's order of sequences, as lineage asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infra.lineage_build import Build, Known, Library
from infra.lineage_series import name_in_series
from infra.lineage_steps import Order
from model.sequences import Order as SequenceOrder
from model.sequences import SequenceAddress, Shards


class TrainingOrder:
    """Which rows of the shards each step of a trained model read."""

    def __init__(self, model: Known, shards: Known, month: int | None = None) -> None:
        """Read the shards' headers. Raises ShardsError where one is damaged.

        Args:
            model: the trained model.
            shards: the shards, or the series of shards, that it was trained on.
            month: of a series, the month whose own names of shards `steps_of_rows` is given.
        """
        config = model.manifest.identity.config
        training = config["training"]
        self.model = model.label
        self.steps: int = training["steps"]
        self.context: int = config["network"]["context"]
        self.without_update = frozenset(_refused(model.file("spikes.jsonl")))
        self._month = month
        self._shards = Shards(shards.whole(), "train", self.context)
        self._order = SequenceOrder(self._shards, training["seed"], training["sequences_per_step"])

    def rows_of_step(self, step: int) -> list[tuple[str, int]]:
        """The shard and the row of each sequence of a step."""
        indices = self._order.step_indices(step)
        addresses = [self._shards.address(int(index)) for index in indices]
        return [(address.shard, address.row) for address in addresses]

    def steps_of_rows(self, shard: str, rows: Sequence[int]) -> list[int]:
        """The steps that read one of these rows of a shard at least, in order."""
        if self._month is not None:
            shard = name_in_series(self._month, shard)
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


def orders_of(library: Library, build: Build) -> list[Order]:
    """The order of each training on a build's shards, alone or as a month of a series."""
    shards = build.get("shards")
    return [] if shards is None else [_order(library, model, shards) for model in build.models]


def order_of_model(library: Library, model: Known, build: Build) -> TrainingOrder:
    """The order of a training, with the names of shards as it read them."""
    return TrainingOrder(model, library.series_of(model) or build.need("shards"))


def _order(library: Library, model: Known, shards: Known) -> TrainingOrder:
    series = library.series_of(model)
    if series is None:
        return TrainingOrder(model, shards)
    return TrainingOrder(model, series, series.inputs("shards").index(shards.label))
