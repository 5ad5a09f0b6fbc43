"""Scores that others reported of OpenAI's smallest GPT-2, to check an installation with.

Whoever has the real weights at hand (`openai-community/gpt2`, 124M) and the real files should meet
these to the digits given, for they are exact properties of weights, files and protocol. The sources
are public discussions of lm-evaluation-harness and of LAMBADA in OpenAI's repository; none of the
numbers was made here.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from eval.protocols import Column, Variant
from eval.scores import MOST_CONTEXT, Score

GPT2_124M_SHA256 = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
"""`model.safetensors` of `openai-community/gpt2`, 548,105,171 bytes."""

GPT2_124M_PARAMETERS = 124_439_808


class Record(BaseModel):
    """A score on record."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: Column
    """Column of the published table."""
    variant: Variant
    """Which reading of it."""
    value: float
    """What was reported."""
    within: float
    """How far ours may be: a unit of the last digit, two passages of LAMBADA."""
    what: str
    """What it is of."""


RECORDS: tuple[Record, ...] = (
    Record(
        column="wikitext2",
        variant="lm-eval",
        value=37.37,
        within=0.01,
        what="word perplexity of WikiText-2's raw test pages",
    ),
    Record(
        column="wikitext2",
        variant="raw-token",
        value=29.94,
        within=0.01,
        what="token perplexity of WikiText-2's rows joined by blank lines, disjoint windows",
    ),
    Record(
        column="lambada_acc",
        variant="lm-eval",
        value=32.56,
        within=0.04,
        what="whole last words of LAMBADA, no filter",
    ),
    Record(
        column="lambada_ppl",
        variant="lm-eval",
        value=40.06,
        within=0.01,
        what="perplexity of LAMBADA's last words",
    ),
    Record(
        column="lambada_acc",
        variant="raw-token",
        value=46.67,
        within=0.04,
        what="last tokens of LAMBADA",
    ),
)


class Check(BaseModel):
    """A score on record beside ours."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    record: Record
    """What was reported."""
    value: float | None
    """Ours; None where it was not scored as the record was."""
    outcome: Literal["met", "not met", "not comparable"]
    """Whether ours is within the record's bounds."""
    reason: str
    """Why it is not comparable, or empty."""


def check_records(scores: Iterable[Score]) -> list[Check]:
    """Each score on record beside ours."""
    found = {(score.column, score.variant): score for score in scores}
    return [_check(record, found.get((record.column, record.variant))) for record in RECORDS]


def _check(record: Record, score: Score | None) -> Check:
    reason = _obstacle(score)
    if score is None or reason:
        return Check(record=record, value=None, outcome="not comparable", reason=reason)
    met = abs(score.value - record.value) <= record.within
    outcome: Literal["met", "not met"] = "met" if met else "not met"
    return Check(record=record, value=score.value, outcome=outcome, reason="")


def _obstacle(score: Score | None) -> str:
    """Why a score was not made as those on record, or nothing."""
    if score is None:
        return "not scored"
    if not score.data.is_known:
        return f"made on {score.data.label}"
    if score.protocol.sample is not None:
        return f"made on a sample: {score.protocol.sample}"
    if score.protocol.window != MOST_CONTEXT or score.protocol.dtype != "float32":
        return f"made with windows of {score.protocol.window:,} in {score.protocol.dtype}"
    return ""
