"""Which steps read which tokens, whatever the model room's order of sequences is.

A step reads rows of shards. Of a row it reads the tokens as inputs and each one's successor as
target, so the token after the row (the first of the next row of the same shard) is read as well:
row r covers tokens r × context to (r + 1) × context, the last one included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from infra.lineage_answers import Reading, Span


class Order(Protocol):
    """The order in which one training reads its sequences; the model room knows it."""

    @property
    def model(self) -> str:
        """Label of the model artifact."""

    @property
    def steps(self) -> int:
        """Steps of the whole training."""

    @property
    def context(self) -> int:
        """Tokens of a row."""

    @property
    def without_update(self) -> frozenset[int]:
        """Steps that left no trace in the weights: skipped or rolled back after a spike."""

    def rows_of_step(self, step: int) -> list[tuple[str, int]]:
        """The shard and the row of each sequence of a step (1, 2, ...)."""

    def steps_of_rows(self, shard: str, rows: Sequence[int]) -> list[int]:
        """The steps that read one of these rows of a shard at least, in order."""


def rows_of_span(span: Span, context: int) -> range:
    """The rows of a shard whose reading touches a span, the one whose last target it is included.

    A row beyond the shard's last is not among them: a span ends inside the shard.
    """
    first = span.start // context
    if span.start % context == 0 and first > 0:
        first -= 1
    return range(first, (span.start + span.length - 1) // context + 1)


def read_spans(order: Order, spans: Iterable[Span]) -> Reading:
    """The steps of a training that read any of the spans; those for validation are read by none."""
    rows: dict[str, set[int]] = {}
    for span in spans:
        if span.split == "train":
            rows.setdefault(span.shard, set()).update(rows_of_span(span, order.context))
    steps: set[int] = set()
    for shard, touched in rows.items():
        steps.update(order.steps_of_rows(shard, sorted(touched)))
    return Reading(
        model=order.model,
        steps=tuple(sorted(steps)),
        without_update=tuple(sorted(steps & order.without_update)),
        of_steps=order.steps,
        sequences=sum(map(len, rows.values())),
    )
