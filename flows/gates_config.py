"""Gates: what a profile expects of a stage's figures before anything is spent on the next stage."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows import stages

_FIGURE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
COVERAGE = "benchmarks"
"""Not a stage: the benchmarks' files, which are looked at before training and before scoring."""
_STAGES = sorted(
    {one.name for one in vars(stages).values() if isinstance(one, stages.Stage)} | {COVERAGE}
)


class Gate(BaseModel):
    """An expectation of one figure; `[gates.NAME]` in a profile, each under a name of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    """The stage whose figures are looked at, right after it, or `benchmarks` for the columns of the
    score table that have a file, before training."""
    figure: str
    """`rows_in`, `rows_out`, `losses.REASON` or `facts.NAME` of the stage's counts, as in its
    manifest; of `model` `loss` or `validation_loss`, of `benchmarks` `present`."""
    per: str | None = None
    """The count that the figure is divided by, such as `rows_in`; none for the figure itself."""
    least: float | None = None
    """Below it the gate is closed."""
    most: float | None = None
    """Above it the gate is closed."""
    step: int | None = Field(default=None, ge=1)
    """Of `model`: the step at which the figure is looked at, while training goes on."""
    min_rows: int = Field(default=0, ge=0)
    """Do not judge where fewer rows came in: shares of a handful say nothing."""
    action: Literal["stop", "mark", "off"] = "stop"
    """What a closed gate does: stop the run before the next stage, mark the run and go on, or
    nothing."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stage not in _STAGES:
            raise ValueError(f"there is no stage {self.stage!r}; known: {', '.join(_STAGES)}")
        for name in (self.figure, self.per or "rows_in"):
            if not _FIGURE.fullmatch(name):
                raise ValueError(f"{name!r} is no figure, such as rows_out or losses.language")
        if self.least is None and self.most is None:
            raise ValueError("an expectation has `least`, `most` or both")
        if self.step is not None and self.stage != stages.MODEL.name:
            raise ValueError(f"`step` is for the stage {stages.MODEL.name}, not for {self.stage}")
        return self

    def describe(self) -> str:
        """The figure in words, such as `captures rows_out / rows_in`."""
        over = f" / {self.per}" if self.per else ""
        when = f" at step {self.step:,}" if self.step is not None else ""
        return f"{self.stage} {self.figure}{over}{when}"

    def expectation(self) -> str:
        """The bounds in words."""
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def allows(self, value: float) -> bool:
        """Whether a value is within the bounds; what is no number is not."""
        low = self.least if self.least is not None else float("-inf")
        high = self.most if self.most is not None else float("inf")
        return low <= value <= high
