"""The two logs of a training, a JSON line a step: what happened, and how long it took.

`losses.jsonl` is deterministic and becomes part of the model artifact; `metrics.jsonl` adds times
and is for watching. Both lie in the work folder and are cut back to the checkpoint's step on
resume, so that each step is there once and in order.
"""

import json
import os
from pathlib import Path
from typing import Any, TextIO

from model.errors import CheckpointError


class StepLog:
    """An append-only file of JSON lines, each with its `step`."""

    def __init__(self, path: Path, *, resume_at: int, strict: bool) -> None:
        """Open `path` after cutting it back to the lines of steps 1 to `resume_at`.

        Raises:
            CheckpointError: `strict`, and one of those steps is missing.
        """
        self.path = path
        kept = _lines_until(path, resume_at)
        if strict and len(kept) != resume_at:
            raise CheckpointError(
                f"{path} has {len(kept)} of the checkpoint's {resume_at} steps; "
                f"delete {path.parent} to train anew"
            )
        aside = path.with_name(path.name + ".partial")
        aside.write_text("".join(kept))
        aside.replace(path)
        self._file: TextIO = path.open("a")

    def append(self, line: dict[str, Any]) -> None:
        """Write one step's line; a reader sees it at once."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Make what was written outlast a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines_until(path: Path, step: int) -> list[str]:
    """The whole lines of steps 1 to `step`; a line torn by a kill is dropped with what follows."""
    kept: list[str] = []
    if not path.is_file():
        return kept
    with path.open() as file:
        for line in file:
            try:
                number = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith("\n") or number > step:
                break
            kept.append(line)
    return kept


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a step log that may still be growing."""
    if not path.is_file():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
