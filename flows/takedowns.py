"""What takedowns mean for a model: how much of what it was trained on was removed since."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from flows import stages
from flows.removal_list import listed_removals
from flows.removed import named_by_partition
from flows.trace_order import TrainingOrder
from infra.lineage import artifact_of, input_of
from infra.lineage_answers import Span, plain
from infra.lineage_build import Known
from infra.lineage_series import name_in_series
from infra.lineage_steps import read_spans
from infra.lineage_tables import find_rows
from infra.store import Artifact, Store
from webtext.removals import Removal


class Takedown(BaseModel):
    """Removals of one day for one reason, and what a model has read of what they name."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    date: str
    """YYYY-MM-DD."""
    reason: str
    """Why, as it was given."""
    documents: int
    """Documents in its training text."""
    tokens: int
    """Their tokens, an end of text for each included."""
    steps: int
    """Steps that read any of them."""
    of_steps: int
    """Steps of the whole training."""


def takedowns_of(store: Store, model: Artifact) -> tuple[Takedown, ...]:
    """The takedowns that reach a model's training text, in the order of the store's list.

    Raises:
        StoreError: the shards or the corpus that it was trained on are gone.
    """
    removals = listed_removals(store.root)
    if not removals:
        return ()
    shards = input_of(store, model, stages.SHARDS.name)
    months = _months(store, shards)
    groups: dict[tuple[str, str], list[Removal]] = {}
    for removal in removals:
        groups.setdefault((removal.date, removal.reason), []).append(removal)
    order = TrainingOrder(_known(store, model), _known(store, shards))
    found, counted = [], set[bytes]()
    for (date, reason), group in groups.items():
        chosen = [
            (month, partition, key)
            for month, corpus in enumerate(months)
            for partition, key, _url in named_by_partition(corpus.path / "train", group)
            if key not in counted
        ]
        counted.update(key for _month, _partition, key in chosen)
        if chosen:
            spans = list(_spans(_known(store, shards), chosen))
            reading = read_spans(order, spans)
            found.append(
                Takedown(
                    date=date,
                    reason=reason,
                    documents=len(chosen),
                    tokens=sum(span.length for span in spans),
                    steps=len(reading.steps),
                    of_steps=reading.of_steps,
                )
            )
    return tuple(found)


def _months(store: Store, shards: Artifact) -> list[Artifact]:
    """The corpora that shards, or the months of a series, were made from, in their order."""
    inputs = shards.identity.inputs
    corpora = [artifact_of(store, one) for one in inputs if one.role == stages.CORPUS.name]
    for corpus in corpora:
        store.bring(corpus.path, lambda name: name.startswith("train/"))
    return corpora


def _spans(shards: Known, chosen: list[tuple[int, int, bytes]]) -> Iterator[Span]:
    by_table: dict[str, list[bytes]] = {}
    for month, partition, key in chosen:
        name = f"spans/part-{partition:05d}.parquet"
        if shards.stage == stages.SERIES.name:
            name = name_in_series(month, name)
        by_table.setdefault(name, []).append(key)
    for name, keys in by_table.items():
        for row in find_rows(shards.file(name), "link_id", keys):
            yield Span(**{name: plain(value) for name, value in row.items()})


def _known(store: Store, artifact: Artifact) -> Known:
    return Known(artifact.label, artifact.path, artifact.manifest(), store)
