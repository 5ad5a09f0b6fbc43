"""The logs of a training, JSON lines that name their step.

`losses.jsonl` has a line for each step, `spikes.jsonl` one for each step that went wrong,
`samples.jsonl` the texts written, `zero_shot.jsonl` the scores of networks on the way; they are
deterministic and become part of the model artifact.
`metrics.jsonl` is the losses with times, for watching. All lie in the work folder and are cut back
to the checkpoint's step on resume, so that each line is there once and in order.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, TextIO

from model.errors import CheckpointError

LOG_NAMES = ("losses.jsonl", "metrics.jsonl", "spikes.jsonl", "samples.jsonl", "zero_shot.jsonl")
"""All of them, as they lie in the work folder."""


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
        self._begin(kept)

    def _begin(self, lines: list[str]) -> None:
        aside = self.path.with_name(self.path.name + ".partial")
        aside.write_text("".join(lines))
        aside.replace(self.path)
        self._file: TextIO = self.path.open("a")

    def append(self, line: dict[str, Any]) -> None:
        """Write a line; a reader sees it at once. What is not a finite number becomes null."""
        plain = {key: _finite(value) for key, value in line.items()}
        self._file.write(json.dumps(plain, allow_nan=False) + "\n")
        self._file.flush()

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return read_steps(self.path)

    def amend_last(self, additions: dict[str, Any]) -> None:
        """Add to the last line."""
        self.close()
        kept = self.path.read_text().splitlines(keepends=True)
        if not kept:  # a log that is only watched may have been lost
            return
        self._begin(kept[:-1])
        self.append(json.loads(kept[-1]) | additions)

    def sync(self) -> None:
        """Make what was written outlast a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
