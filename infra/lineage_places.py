"""From tokens back to documents: a place in a shard, and what the steps of a training read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import StoreError
from infra.lineage_answers import PlaceTrace, ReadDocument, Span, StepTrace, plain
from infra.lineage_build import Build, Known
from infra.lineage_series import name_in_month
from infra.lineage_steps import Order
from infra.lineage_tables import find_row, read_columns, value_set, whole_numbers
from infra.lineage_trace import Tracer

_SHARD = re.compile(r"(train|validation)/shard-([0-9]{5})-[0-9]{3,}\.npy")
_MOST_LINES = 100
"""Lines of losses.jsonl that an answer holds."""


class Spans:
    """The spans of a shards artifact, a partition in memory at a time for each that is asked."""

    def __init__(self, shards: Known) -> None:
        self.shards = shards
        self._tables: dict[int, pa.Table] = {}

    def within(self, shard: str, first: int, last: int) -> list[Span]:
        """The spans that hold a token of `first` to `last` (included) of a shard, in order.

        Raises:
            StoreError: the artifact has no such shard.
        """
        table = self._table(partition_of_shard(self.shards, shard))
        mine = pc.is_in(table["shard"], value_set=value_set([shard], pa.string()))
        table = table.take(pc.indices_nonzero(mine))
        start, length = whole_numbers(table["start"]), whole_numbers(table["length"])
        here = np.flatnonzero((start <= last) & (start + length > first))
        rows = table.take(value_set(here, pa.int64())).to_pylist()
        return [Span(**{name: plain(value) for name, value in row.items()}) for row in rows]

    def _table(self, partition: int) -> pa.Table:
        if partition not in self._tables:
            path = self.shards.part("spans", partition)
            self._tables[partition] = read_columns(path, list(Span.model_fields))
        return self._tables[partition]


def partition_of_shard(shards: Known, shard: str) -> int:
    """The partition that a shard is of, by its name. Raises StoreError where there is no such."""
    found = _SHARD.fullmatch(shard)
    if found is None or not any(file.path == shard for file in shards.manifest.files):
        names = [file.path for file in shards.manifest.files if file.path.endswith(".npy")]
        shown = ", ".join(names[:3])
        raise StoreError(f"{shards.label} has no shard {shard}; it has {shown}, ...")
    return int(found[2])


def trace_place(tracer: Tracer, shard: str, offset: int) -> PlaceTrace:
    """The document of one token, with its whole way. Raises StoreError outside the shard."""
    build = tracer.build
    shards = build.need("shards")
    partition = partition_of_shard(shards, shard)
    context = int(shards.manifest.identity.config["sequence_tokens"])
    rows = next(file.rows for file in shards.manifest.files if file.path == shard) or 0
    if not 0 <= offset < rows * context:
        raise StoreError(f"{shard} holds tokens 0 to {rows * context - 1:,}, no token {offset:,}")
    spans = Spans(shards).within(shard, offset, offset)
    span = spans[0] if spans else None
    return PlaceTrace(
        build=build.labels(),
        shard=shard,
        offset=offset,
        row=offset // context,
        span=span,
        token_of_document=span.document_start + offset - span.start if span else None,
        document=tracer.trace(bytes.fromhex(span.link_id), partition) if span else None,
    )


def trace_steps(
    tracer: Tracer,
    order: Order,
    model: Known,
    first: int,
    last: int,
    limit: int,
    months: Sequence[Build] = (),
) -> StepTrace:
    """What the steps `first` to `last` of a training read, by the first `limit` documents.

    With `months` the training read a series: its shards are those of these builds.

    Raises:
        StoreError: the training had no such step.
    """
    if not 1 <= first <= last <= order.steps:
        raise StoreError(f"{model.label} was trained for steps 1 to {order.steps}")
    found: list[ReadDocument] = []
    shown = 0
    for documents in _documents(months or tracer.build, order, first, last):
        if len(found) >= limit > 0:
            break
        found += documents
        shown += 1
    per_step = len(order.rows_of_step(first))
    return StepTrace(
        build=tracer.build.labels(),
        model=model.label,
        first_step=first,
        last_step=last,
        of_steps=order.steps,
        sequences=per_step * (last - first + 1),
        losses=tuple(_lines(model.file("losses.jsonl"), first, last)[:_MOST_LINES]),
        spikes=tuple(_lines(model.file("spikes.jsonl"), first, last)[:_MOST_LINES]),
        documents=tuple(found[:limit] if limit > 0 else found),
        sequences_shown=shown,
        scores=tuple(tracer.scores_of(model.label)),
    )


def _documents(
    builds: Build | Sequence[Build], order: Order, first: int, last: int
) -> Iterator[Sequence[ReadDocument]]:
    """The documents of each row that the steps read, with their URLs."""
    months = [builds] if isinstance(builds, Build) else builds
    spans = [Spans(month.need("shards")) for month in months]
    for step in range(first, last + 1):
        for name, row in order.rows_of_step(step):
            number, shard = (0, name) if isinstance(builds, Build) else name_in_month(name)
            begin = row * order.context
            # The token behind the row is its last target.
            touched = spans[number].within(shard, begin, begin + order.context)
            partition = partition_of_shard(spans[number].shards, shard)
            shown = [span.model_copy(update={"shard": name}) for span in touched]
            yield [_read_document(months[number], partition, step, row, span) for span in shown]


def _read_document(build: Build, partition: int, step: int, row: int, span: Span) -> ReadDocument:
    documents, url = build.get("documents"), None
    if documents is not None:
        path = documents.part("documents", partition)
        found = find_row(path, "link_id", bytes.fromhex(span.link_id), ["url"])
        url = found["url"] if found else None
    return ReadDocument(
        step=step,
        shard=span.shard,
        row=row,
        link_id=span.link_id,
        url=url,
        start=span.start,
        length=span.length,
    )


def _lines(path: Path, first: int, last: int) -> list[dict[str, Any]]:
    """The lines of a step log of the steps asked for; none where there is no such log."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line for line in lines if first <= line.get("step", 0) <= last]
