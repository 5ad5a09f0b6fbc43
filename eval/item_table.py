"""`items.parquet`: a row an item and variant, what a score is added up from.

`nll` is in nats and, where there are choices, that of the right answer; `choices` are the
log-probabilities by which one was chosen (of `raw-token` their mean over BPE tokens). LAMBADA's
rows have both an NLL and whether the word was found, for they fill two columns.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from eval.items import Task
from eval.likelihood import Likelihood

ITEMS_NAME = "items.parquet"

TIE_DIGITS = 9
"""Candidates whose scores agree to so many decimals of a nat are equally likely."""

ITEMS = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("nll", pa.float64(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("units", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("choices", pa.list_(pa.field("item", pa.float64(), nullable=False))),
    ]
)


class ItemRow(BaseModel):
    """A row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    variant: str
    """Which reading of the column."""
    item: int
    """Position in the file, from 0: passage, question, page, sentence or window."""
    nll: float
    """Nats, of all scored tokens or of the right answer."""
    tokens: int
    """Scored BPE tokens."""
    units: int
    """Canonical units."""
    correct: bool | None
    """Whether it was answered rightly; None where nothing is asked."""
    choices: tuple[float, ...] | None
    """Scores of the candidates in the file's order; None where nothing is chosen."""


def item_rows(task: Task, answers: Sequence[Likelihood]) -> list[ItemRow]:
    """The rows of one task."""
    return [_choice_row(task, a) if a.answer is not None else _row(task, a) for a in answers]


def write_items(rows: Sequence[ItemRow], destination: Path) -> None:
    """Write the rows of all variants to `destination/items.parquet`."""
    table = pa.Table.from_pylist([row.model_dump() for row in rows], schema=ITEMS)
    pq.write_table(table, destination / ITEMS_NAME, compression="zstd")


def read_items(folder: Path) -> list[ItemRow]:
    """The rows of a folder's `items.parquet`."""
    rows = pq.read_table(folder / ITEMS_NAME, schema=ITEMS).to_pylist()
    return [ItemRow.model_validate(row) for row in rows]


def _row(task: Task, answer: Likelihood) -> ItemRow:
    tokens = sum(answer.tokens)
    greedy = answer.last_greedy if task.last_token else answer.all_greedy
    return ItemRow(
        variant=task.variant,
        item=answer.index,
        nll=math.fsum(answer.nll),
        tokens=tokens,
        units=tokens if task.unit_is_token else answer.units,
        correct=all(greedy) if len(task.protocols) > 1 else None,
        choices=None,
    )


def _choice_row(task: Task, answer: Likelihood) -> ItemRow:
    assert answer.answer is not None
    each = zip(answer.nll, answer.tokens, strict=True)
    scores = tuple(-nll / tokens if task.unit_is_token else -nll for nll, tokens in each)
    ranked = [round(score, TIE_DIGITS) for score in scores]
    return ItemRow(
        variant=task.variant,
        item=answer.index,
        nll=answer.nll[answer.answer],
        tokens=answer.tokens[answer.answer],
        units=answer.units,
        correct=ranked.index(max(ranked)) == answer.answer,
        choices=scores,
    )
