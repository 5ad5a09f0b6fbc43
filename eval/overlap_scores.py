"""Every score again, on the clean items only: those that share little with the training text.

An item is clean up to a share of its n-grams: at 0 none of them may be in the training text; a
window of 1,024 tokens has some everyday phrase in a large corpus nearly always, so a looser limit
is shown beside it. Likelihoods are those of the scores artifact, no model is asked anew, and the
interval is the bootstrap's over the items that are left.

    clean.json   a row a score and limit
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from eval.errors import EvalError
from eval.intervals import ratio_interval
from eval.item_table import ItemRow, read_items
from eval.overlap_report import Report, read_report
from eval.protocols import Column, Variant, benchmark_of
from eval.scorer import Progress
from eval.scores import SCORES_NAME, Score, ratio_parts, read_scores, statistic_of


class CleanScoresConfig(BaseModel):
    """Which items count as clean."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    limits: tuple[float, ...] = (0.0, 0.1)
    """Most share of an item's n-grams that the training text may hold, a row of scores for each."""
    bootstrap_samples: int = Field(default=1000, ge=1)
    """Resamples of the items for the 95 % interval."""
    seed: int = Field(default=0, ge=0)
    """Draws the resamples."""


class CleanScore(BaseModel):
    """One score on the clean items alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    variant: Variant
    """Which reading of the column."""
    protocol: str
    """Id of the protocol of the score on all items."""
    limit: float
    """Most share of an item's n-grams that the training text holds."""
    all_items: int
    """Items of the score itself."""
    all_value: float
    """The score itself."""
    items: int
    """Clean items among them."""
    value: float | None
    """The score on those; None where there is none."""
    low: float | None
    """Lower end of the 95 % bootstrap interval; None for fewer than two items."""
    high: float | None
    """Upper end of it."""


def score_clean_items(
    *,
    scores: Sequence[Path],
    overlap: Path,
    destination: Path,
    config: CleanScoresConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Score the clean items of scores artifacts by the items of an overlap artifact.

    Raises EvalError where they were made of different files or items.
    """
    report = read_report(overlap)
    items = pq.read_table(overlap / "items.parquet")
    rows: list[CleanScore] = []
    for done, folder in enumerate(scores, 1):
        answers = read_items(folder)
        for score in read_scores(folder / SCORES_NAME):
            _check_same_file(score, report)
            asked = [row for row in answers if row.variant == score.variant]
            shares = _shares(score, asked, items)
            rows += [_clean_score(score, asked, shares, limit, config) for limit in config.limits]
        progress(done, len(scores))
    content = json.dumps([row.model_dump(mode="json") for row in rows], indent=1)
    (destination / "clean.json").write_text(content + "\n", "utf-8")
    return {"scores": len(rows)}


def read_clean_scores(artifact: Path) -> list[CleanScore]:
    """The rows of a clean-scores artifact."""
    content = json.loads((artifact / "clean.json").read_text("utf-8"))
    return [CleanScore.model_validate(row) for row in content]


def _check_same_file(score: Score, report: Report) -> None:
    """Whether the score was made of the file whose overlap was looked at."""
    key = (benchmark_of(score.column), score.variant)
    for overlap in report.overlaps:
        if (overlap.benchmark, overlap.variant) == key:
            if overlap.data.sha256 == score.data.sha256:
                return
            raise EvalError(
                f"the score of {score.column} ({score.variant}) was made of {score.data.name} with "
                f"sha256 {score.data.sha256[:12]}…, the overlap of one with "
                f"{overlap.data.sha256[:12]}…; give the folder that was scored"
            )
    raise EvalError(
        f"the overlap holds nothing of {score.column} ({score.variant}); "
        "give the folder of benchmarks that was scored"
    )


def _shares(score: Score, asked: Sequence[ItemRow], items: pa.Table) -> npt.NDArray[np.float64]:
    """For every scored item the share of its n-grams in the training text; 0 where it has none."""
    wanted = (benchmark_of(score.column), score.variant)
    rows = items.filter(
        pc.and_(pc.equal(items["benchmark"], wanted[0]), pc.equal(items["variant"], wanted[1]))
    )
    columns = (rows[name].to_pylist() for name in ("item", "ngrams", "overlapping"))
    share = {item: found / max(ngrams, 1) for item, ngrams, found in zip(*columns, strict=True)}
    strangers = [row.item for row in asked if row.item not in share]
    if strangers:
        raise EvalError(
            f"{len(strangers)} items of {score.column} ({score.variant}) are not among those whose "
            "overlap was looked at; give the model that was scored, whose context cuts the items"
        )
    return np.array([share[row.item] for row in asked], dtype=np.float64)


def _clean_score(
    score: Score,
    asked: Sequence[ItemRow],
    shares: npt.NDArray[np.float64],
    limit: float,
    config: CleanScoresConfig,
) -> CleanScore:
    clean = [row for row, share in zip(asked, shares.tolist(), strict=True) if share <= limit]
    measure = score.protocol.measure
    top, bottom = ratio_parts(measure, clean)
    value, interval = None, None
    if clean:
        ratio = math.fsum(top) / max(math.fsum(bottom), 1.0)
        value = _scores_of(score, (ratio,))[0]
        interval = ratio_interval(top, bottom, samples=config.bootstrap_samples, seed=config.seed)
    low, high = _scores_of(score, interval) if interval else (None, None)
    return CleanScore(
        column=score.column,
        variant=score.variant,
        protocol=score.protocol.id,
        limit=limit,
        all_items=len(asked),
        all_value=score.value,
        items=len(clean),
        value=value,
        low=low,
        high=high,
    )


def _scores_of(score: Score, ratios: tuple[float, ...]) -> list[float]:
    """Perplexities, bits or per cent; no share is below 0 or above 1, and no NLL below 0."""
    most = 1.0 if score.protocol.measure == "accuracy" else math.inf
    values = statistic_of(score.protocol.measure)(np.clip(np.array(ratios), 0.0, most))
    found: list[float] = values.tolist()
    return found
