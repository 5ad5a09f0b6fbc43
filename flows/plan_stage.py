"""What an estimate says of one stage, and what every worker takes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

PROCESS_BYTES = 300 * 2**20
"""A worker with pyarrow and DuckDB imported, idle; measured."""


class StageEstimate(BaseModel):
    """What one stage is expected to take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    rows_in: float
    rows_out: float | None
    """None where no such rows are foreseen."""
    parallel: int
    """Parts worked on at once."""
    seconds: float
    memory_bytes: float
    disk_bytes: float
    """Of its artifact."""
    scratch_bytes: float = 0.0
    """Of what it needs on disk besides, until it is done."""
    tokens: float | None = None
    """Tokens of what it makes, where that has tokens; for the model, tokens trained on."""
    bound_by: Literal["work", "start", "politeness", "answers"] = "work"
    """What most of its time is."""
    sources: dict[str, str]
    """Where `time` (of its work), `start`, `memory`, `disk` and `rows` come from."""
