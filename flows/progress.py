"""One stream of progress events, and those who listen: the terminal, the log.

A stage is started, its parts report how far they are, and it is finished: made or reused. Prefect's
own artifacts are written by the flows from the same counts when a stage is finished.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG = logging.getLogger("webtext.progress")
_PLAIN_EVERY_S = 10.0
_UNSEEN = ("outcome_", "queue_")
"""How facts begin that are for logs and metrics, too many for a line."""


class Reporter(Protocol):
    """Whoever is told how a run goes on. Called from several threads."""

    def started(self, stage: str, parts: int, unit: str) -> None:
        """A stage begins, of so many parts; `unit` names what its progress counts."""

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """A part has done so many units of its total."""

    def part_finished(self, stage: str, part: str) -> None:
        """A part is whole."""

    def finished(self, stage: str, label: str, how: str, seconds: float, summary: str) -> None:
        """A stage's artifact is there, `made` or `reused`."""

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """What a finished stage counted: rows in and out, losses by reason."""

    def waiting(self, stage: str, message: str) -> None:
        """A stage waits for something outside this run."""

    def close(self) -> None:
        """The run is over."""


class StageState:
    """Sums of what the parts of one stage reported."""

    def __init__(self, parts: int, unit: str) -> None:
        self.parts = parts
        self.unit = unit
        self.began = time.monotonic()
        self.facts: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._total: dict[str, int | None] = {}
        self._facts: dict[str, dict[str, float]] = {}

    def update(self, part: str, done: int, total: int | None, facts: dict[str, float]) -> None:
        """Take in what a part reported."""
        # What a part has done when it is first heard of was done before, at an unknown rate.
        self._before.setdefault(part, done)
        self._done[part] = done
        self._total[part] = total
        self._facts[part] = facts
        self.facts = facts

    @property
    def done(self) -> int:
        """Units done over all parts."""
        return sum(self._done.values())

    @property
    def share(self) -> float:
        """The share of the stage that is done, each part weighing the same."""
        shares = [
            min(1.0, done / total)
            for part, done in self._done.items()
            if (total := self._total[part])
        ]
        return sum(shares) / max(self.parts, 1)

    def greatest(self, fact: str) -> float | None:
        """The greatest value that any part last gave for a fact."""
        values = [facts[fact] for facts in list(self._facts.values()) if fact in facts]
        return max(values, default=None)

    @property
    def rate(self) -> float:
        """Units a second since the stage began."""
        seconds = max(time.monotonic() - self.began, 1e-3)
        return (self.done - sum(self._before.values())) / seconds

    def sums(self, prefix: str) -> dict[str, float]:
        """The facts whose names begin with `prefix`, without it, summed over the parts."""
        sums: dict[str, float] = {}
        for facts in list(self._facts.values()):
            for name, value in facts.items():
                if name.startswith(prefix):
                    key = name.removeprefix(prefix)
                    sums[key] = sums.get(key, 0.0) + value
        return sums

    def text(self) -> str:
        """For example `812 pages, 43/s, loss 6.21`."""
        shown = {name: value for name, value in self.facts.items() if not name.startswith(_UNSEEN)}
        pieces = [f"{self.done:,} {self.unit}", f"{self.rate:,.1f}/s"]
        pieces += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items()]
        return ", ".join(pieces)


class TerminalReporter:
    """Live bars where the terminal can show them, plain lines where it cannot."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._states: dict[str, StageState] = {}
        self._tasks: dict[str, TaskID] = {}
        self._last_plain = 0.0
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bars.start()

    def started(self, stage: str, parts: int, unit: str) -> None:
        """Show a new bar."""
        with self._lock:
            self._states[stage] = StageState(parts, unit)
            self._tasks[stage] = self._bars.add_task(stage, total=1.0, text="")

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """Move the stage's bar."""
        with self._lock:
            state = self._states[stage]
            state.update(part, done, total, facts)
            self._bars.update(self._tasks[stage], completed=state.share, text=state.text())
            self._say_plainly(stage, state)

    def part_finished(self, stage: str, part: str) -> None:
        """The bar shows it already."""

    def finished(self, stage: str, label: str, how: str, seconds: float, summary: str) -> None:
        """Replace the bar by a line that stays."""
        with self._lock:
            task = self._tasks.pop(stage, None)
            if task is not None:
                self._bars.remove_task(task)
            mark = "[green]✓[/]" if how == "made" else "[dim]=[/]"
            took = f"{seconds:6.1f} s" if how == "made" else "  reused"
            self._console.print(
                f"{mark} {stage:<12} {took}  {summary}  [dim]{label}[/]", highlight=False
            )

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """The line says it already."""

    def waiting(self, stage: str, message: str) -> None:
        """Say what is waited for."""
        self._console.print(f"[yellow]…[/] {stage:<12} {message}", highlight=False)

    def close(self) -> None:
        """Remove what bars there are."""
        self._bars.stop()

    def _say_plainly(self, stage: str, state: StageState) -> None:
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_plain >= _PLAIN_EVERY_S:
            self._last_plain = now
            self._console.print(
                f"  {stage:<12} {100 * state.share:3.0f} %  {state.text()}", highlight=False
            )


class LogReporter:
    """Lines in the log, for runs that nobody watches: a worker's or a server's."""

    def __init__(self) -> None:
        self._states: dict[str, StageState] = {}
        self._last = 0.0

    def started(self, stage: str, parts: int, unit: str) -> None:
        """Log that a stage begins."""
        self._states[stage] = StageState(parts, unit)
        _LOG.info("%s: %d parts", stage, parts)

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """Log how far it is, every ten seconds at most."""
        state = self._states[stage]
        state.update(part, done, total, facts)
        if time.monotonic() - self._last >= _PLAIN_EVERY_S:
            self._last = time.monotonic()
            _LOG.info("%s: %.0f %%, %s", stage, 100 * state.share, state.text())

    def part_finished(self, stage: str, part: str) -> None:
        """Log a part that is whole."""
        _LOG.info("%s: %s done", stage, part)

    def finished(self, stage: str, label: str, how: str, seconds: float, summary: str) -> None:
        """Log the artifact."""
        _LOG.info("%s: %s %s in %.1f s: %s", stage, how, label, seconds, summary)

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """The line says it already."""

    def waiting(self, stage: str, message: str) -> None:
        """Log what is waited for."""
        _LOG.info("%s: %s", stage, message)

    def close(self) -> None:
        """Nothing is held."""


def summarise(counts: dict[str, Any], unit: str) -> str:
    """A stage's counts in a line: `812 of 1,335 pages; 400 too_short, 123 language`."""
    if "rows_in" not in counts:
        return ""
    losses: dict[str, int] = counts.get("losses", {})
    worst: Sequence[tuple[str, int]] = sorted(losses.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{rows:,} {reason}" for reason, rows in worst[:4] if rows)
    more = f", {len(worst) - 4} reasons more" if len(worst) > 4 else ""
    text = f"{counts['rows_out']:,} of {counts['rows_in']:,} {unit}"
    return f"{text}; lost: {shown}{more}" if shown else text
