"""What a parent asks of a child process, and what it gets back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.manifest import FileRecord

GIB = 1 << 30


class Call(BaseModel):
    """One partition's work: a stage function and its arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    function: str
    """`module:function`; it takes the arguments, `destination` and `progress` by keyword."""
    arguments: dict[str, Any]
    """Plain JSON values; validated by the function's own type hints."""
    scratch: Path
    """Folder the function writes into; emptied first unless `resumable`."""
    resumable: bool = False
    """Whether the function goes on from what an earlier attempt left in `scratch`."""
    memory_bytes: int = 8 * GIB
    """Limit on the child's private memory."""
    timeout_s: float = 24 * 3600.0
    """The child is killed after this time."""


class PartRecord(BaseModel):
    """What one partition gave: written beside the work, so a later run need not do it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[FileRecord, ...]
    counts: dict[str, Any]
    seconds: float
    cpu_seconds: float
    packages: dict[str, str] = {}
    """Versions of the packages that the stage's bytes depend on."""
    peak_memory_bytes: int | None = None
    """Largest resident memory of the worker meanwhile, its own children apart; None: not known."""
