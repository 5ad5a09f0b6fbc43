"""What a check of `webtext doctor` found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    area: str
    """`installation`, `profile`, `store`, `server`, `gpu` or `network`."""
    state: Literal["ok", "note", "error"]
    told: str
    """What was found."""
    mend: str | None = None
    """What to do about it."""


def ok(area: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding(area=area, state="ok", told=told)


def note(area: str, told: str, mend: str | None = None) -> Finding:
    """It works, and something is worth knowing."""
    return Finding(area=area, state="note", told=told, mend=mend)


def error(area: str, told: str, mend: str) -> Finding:
    """A run will fail."""
    return Finding(area=area, state="error", told=told, mend=mend)
