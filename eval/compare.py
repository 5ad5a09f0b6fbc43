"""Compares two models item by item: paired differences with 95 % intervals.

Two scores of one column are comparable where their protocols are equal in everything but the
arithmetic; then both have the same items, and resampling the same items of both removes what the
items have in common. Perplexities are compared by their ratio (the difference of the mean NLLs,
exponentiated), bits and accuracies by their difference.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from eval.errors import ComparisonError
from eval.intervals import Numbers, paired_interval
from eval.item_table import ItemRow, read_items
from eval.protocols import COLUMNS, VARIANTS, Column, Measure, Variant
from eval.scores import SCORES_NAME, Score, ratio_parts, read_scores

Verdict = Literal["better", "worse", "not told apart"]

ITEM_CHANGES = pa.schema(
    [
        pa.field("column", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("nll_first", pa.float64(), nullable=False),
        pa.field("nll_second", pa.float64(), nullable=False),
        pa.field("correct_first", pa.bool_()),
        pa.field("correct_second", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Scored:
    """A score with the items that it was added up from."""

    score: Score
    rows: list[ItemRow]


class Comparison(BaseModel):
    """One column of two models."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    variant: Variant
    """Which reading of it."""
    first: float
    """Score of the first model."""
    second: float
    """Score of the second."""
    change: float
    """From the first to the second, in `unit`."""
    low: float | None
    """Lower end of its 95 % interval; None for a single item."""
    high: float | None
    """Upper end of it."""
    unit: Literal["% of the perplexity", "bits", "percentage points"]
    """What `change` is in."""
    verdict: Verdict
    """What the second model is, where the interval leaves out no change."""
    better_share: float | None
    """Share of the resamples in which the second is better."""
    items: int
    """Items of each."""
    items_better: int
    """Items that the second model likes better, or alone has right."""
    items_worse: int
    """Items that the first likes better, or alone has right."""
    sign_test: float | None
    """Two-sided exact p-value of better against worse items (McNemar's for accuracies)."""
    protocol: str
    """The first's protocol id."""


def read_scored(folders: Iterable[Path]) -> list[Scored]:
    """The scores in some folders, each with its items."""
    found = []
    for folder in folders:
        rows = read_items(folder)
        found += [
            Scored(score, [row for row in rows if row.variant == score.variant])
            for score in read_scores(folder / SCORES_NAME)
        ]
    return found


def compare(
    first: Sequence[Scored], second: Sequence[Scored], *, samples: int = 2000, seed: int = 0
) -> tuple[list[Comparison], list[str]]:
    """Comparisons of all scores that both have, and why others cannot be compared.

    Raises ComparisonError where there is nothing to compare, or items are missing.
    """
    found, reasons = [], []
    theirs = {(scored.score.column, scored.score.variant): scored for scored in second}
    for mine in sorted(first, key=_order):
        name = (mine.score.column, mine.score.variant)
        other = theirs.get(name)
        if other is None:
            reasons.append(f"{name[0]} ({name[1]}): the second model has no score of it")
        elif differing := _differing(mine.score, other.score):
            reasons.append(f"{name[0]} ({name[1]}): other protocols ({'; '.join(differing)})")
        else:
            found.append(_compare(mine, other, samples, seed))
    if not found:
        raise ComparisonError(
            "the two models have no score made by the same protocol; score both on the same files "
            "with the same settings\n" + "\n".join(reasons)
        )
    return found, reasons


def write_changes(first: Sequence[Scored], second: Sequence[Scored], path: Path) -> int:
    """Write a row an item of what both were scored on; gives their number."""
    theirs = {(scored.score.column, scored.score.variant): scored for scored in second}
    rows = [
        {
            "column": mine.score.column,
            "variant": mine.score.variant,
            "item": a.item,
            "nll_first": a.nll,
            "nll_second": b.nll,
            "correct_first": a.correct,
            "correct_second": b.correct,
        }
        for mine in sorted(first, key=_order)
        if (other := theirs.get((mine.score.column, mine.score.variant))) is not None
        and not _differing(mine.score, other.score)
        for a, b in _pairs(mine, other)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=ITEM_CHANGES), path, compression="zstd")
    return len(rows)


def _order(scored: Scored) -> tuple[int, int]:
    return COLUMNS.index(scored.score.column), VARIANTS.index(scored.score.variant)


def _differing(first: Score, second: Score) -> list[str]:
    """The fields in which two protocols differ, the arithmetic aside."""
    mine, theirs = first.protocol.model_dump(), second.protocol.model_dump()
    return [
        f"{name}: {mine[name]!r} and {theirs[name]!r}"
        for name in mine
        if name not in {"id", "dtype"} and mine[name] != theirs[name]
    ]


def _compare(mine: Scored, other: Scored, samples: int, seed: int) -> Comparison:
    measure = mine.score.protocol.measure
    pairs = list(_pairs(mine, other))
    a, denominators = ratio_parts(measure, [first for first, _ in pairs])
    b, _ = ratio_parts(measure, [second for _, second in pairs])
    estimate = math.fsum(b - a) / max(math.fsum(denominators), 1.0)
    interval = paired_interval(a, b, denominators, samples=samples, seed=seed)
    # A lower NLL is better, and a higher share of right answers.
    sign = 1.0 if measure == "accuracy" else -1.0
    better, worse = int(np.sum(sign * (b - a) > 0)), int(np.sum(sign * (b - a) < 0))
    low, high = (None, None) if interval is None else _changes(measure, np.array(interval[0]))
    larger = None if interval is None else interval[1]
    return Comparison(
        column=mine.score.column,
        variant=mine.score.variant,
        first=mine.score.value,
        second=other.score.value,
        change=_changes(measure, np.array([estimate]))[0],
        low=low,
        high=high,
        unit=_UNITS[measure],
        verdict=_verdict(sign, low, high),
        better_share=larger if larger is None or sign > 0 else 1 - larger,
        items=len(pairs),
        items_better=better,
        items_worse=worse,
        sign_test=_sign_test(better, worse),
        protocol=mine.score.protocol.id,
    )


_UNITS: dict[Measure, Literal["% of the perplexity", "bits", "percentage points"]] = {
    "perplexity": "% of the perplexity",
    "bits": "bits",
    "accuracy": "percentage points",
}


def _changes(measure: Measure, ratios: Numbers) -> list[float]:
    """Differences of mean NLLs or shares, in the unit of `Comparison.change`."""
    if measure == "perplexity":
        return [float(x) for x in 100 * np.expm1(ratios)]
    factor = 100.0 if measure == "accuracy" else 1 / math.log(2)
    return [float(x) for x in factor * ratios]


def _verdict(sign: float, low: float | None, high: float | None) -> Verdict:
    if low is None or high is None or low <= 0 <= high:
        return "not told apart"
    return "better" if sign * low > 0 else "worse"


def _sign_test(better: int, worse: int) -> float | None:
    """Two-sided exact binomial test that either is as likely (Conover 1999, section 3.4)."""
    from scipy.stats import binomtest

    if better + worse == 0:
        return None
    return float(binomtest(better, better + worse, 0.5).pvalue)


def _pairs(mine: Scored, other: Scored) -> Iterator[tuple[ItemRow, ItemRow]]:
    """The rows of the same items.

    Raises ComparisonError where one has an item that the other has not.
    """
    theirs = {row.item: row for row in other.rows}
    if theirs.keys() != {row.item for row in mine.rows}:
        raise ComparisonError(
            f"{mine.score.column} ({mine.score.variant}): the two tables of items hold other "
            f"items ({len(mine.rows)} and {len(other.rows)}); score both models again"
        )
    return ((row, theirs[row.item]) for row in mine.rows)
