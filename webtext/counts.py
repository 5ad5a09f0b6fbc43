"""What a stage counted: rows in, rows out, and a named reason for every row lost between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Progress(Protocol):
    """Told how far a stage has come; called at most a few times a second."""

    def __call__(self, done: int, total: int | None = None, /, **facts: float) -> None:
        """Report `done` of `total` (None: not known) units, with further figures by name."""


def silent(_done: int, _total: int | None = None, /, **_facts: float) -> None:
    """A `Progress` that nobody listens to."""


class Counts(BaseModel):
    """Rows in and out of a partition; the books balance or the value cannot be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int = Field(ge=0)
    """Rows of the input table (lines of a dump for submissions)."""
    rows_out: int = Field(ge=0)
    """Rows that go on to the next stage."""
    losses: dict[str, int] = Field(default_factory=dict)
    """Rows that do not go on, by reason. `rows_in` = `rows_out` + their sum."""
    facts: dict[str, int] = Field(default_factory=dict)
    """Other totals that may be summed over partitions (bytes, tokens, ...)."""

    @model_validator(mode="after")
    def _balance(self) -> Self:
        lost = sum(self.losses.values())
        if self.rows_in != self.rows_out + lost:
            raise ValueError(
                f"{self.rows_in} rows in, but {self.rows_out} out and {lost} lost: "
                f"{self.rows_in - self.rows_out - lost} unaccounted for"
            )
        return self

    @classmethod
    def total(cls, parts: Iterable[Counts]) -> Counts:
        """The sum over partitions, reasons and facts in alphabetical order."""
        rows_in = rows_out = 0
        losses: dict[str, int] = {}
        facts: dict[str, int] = {}
        for part in parts:
            rows_in += part.rows_in
            rows_out += part.rows_out
            for reason, rows in part.losses.items():
                losses[reason] = losses.get(reason, 0) + rows
            for name, amount in part.facts.items():
                facts[name] = facts.get(name, 0) + amount
        return cls(
            rows_in=rows_in,
            rows_out=rows_out,
            losses=dict(sorted(losses.items())),
            facts=dict(sorted(facts.items())),
        )
