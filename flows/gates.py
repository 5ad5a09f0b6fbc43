"""Judging gates: a stage's figures beside the profile's expectations, right after the stage.

A gate reads what the manifest counted, so it costs nothing, and a reused artifact is judged as one
that was just made. A closed gate stops the run before the next stage is begun, or leaves a mark in
the run's record that `webtext runs` and the model card show. No gate is part of what an artifact
is: what was made is kept, and the same command goes on from it once the gate lets it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flows import stages
from flows.gates_config import COVERAGE, Gate
from flows.session import Session, WorkToDo
from infra.errors import GateClosed, ProfileError
from infra.runs import Mark
from infra.store import Artifact

_LOG = logging.getLogger(__name__)
_MOST_LOSSES = 6


def check_gates(session: Session, artifact: Artifact) -> None:
    """Judge the gates of an artifact's stage by its counts.

    Raises:
        GateClosed: one that stops is closed.
        ProfileError: one names a figure that the stage does not have.
    """
    gates = _gates_of(session, artifact.stage)
    if not gates:
        return
    counts = artifact.manifest().counts
    for name, gate in gates:
        if counts.get("rows_in", gate.min_rows) < gate.min_rows:
            continue
        if gate.step is None:
            value = _figure(name, gate, counts)
        else:
            value = _at_step(
                session.store.folder_of(artifact.label, "losses.jsonl") / "losses.jsonl", gate
            )
        if value is not None and not gate.allows(value):
            _close(session, name, gate, value, artifact.label, _losses(counts))


def check_coverage(session: Session, present: int, missing: Mapping[str, str]) -> None:
    """Judge the gates on how many benchmarks have a file. Raises GateClosed."""
    for name, gate in _gates_of(session, COVERAGE):
        value = _figure(name, gate, {"present": present, "missing": len(missing)})
        if value is not None and not gate.allows(value):
            told = "; ".join(f"{column}: {why}" for column, why in missing.items())
            folder = str(session.profile.inputs.benchmarks or "the benchmarks' folder")
            _close(session, name, gate, value, COVERAGE, f"Missing: {told}", look=folder)


def step_gates(session: Session, label: str) -> Callable[[Path, int], None]:
    """What judges the gates on a training's steps while it goes on.

    It is given the training's metrics file and the last step in it, and raises GateClosed.
    """
    waiting = [(n, g) for n, g in _gates_of(session, stages.MODEL.name) if g.step is not None]
    waiting.sort(key=lambda pair: pair[1].step or 0)

    def judge(metrics: Path, last_step: int) -> None:
        while waiting and (waiting[0][1].step or 0) <= last_step:
            name, gate = waiting.pop(0)
            value = _at_step(metrics, gate)
            if value is not None and not gate.allows(value):
                details = "Training has stopped; its last checkpoint is kept"
                _close(session, name, gate, value, label, details, look=str(metrics))

    return judge


def _gates_of(session: Session, stage: str) -> list[tuple[str, Gate]]:
    gates = session.profile.gates.items()
    return [(name, gate) for name, gate in gates if gate.stage == stage and gate.action != "off"]


def _figure(name: str, gate: Gate, counts: Mapping[str, Any]) -> float | None:
    """A gate's figure; None where there is nothing to divide by."""
    value = _count(name, gate.figure, counts)
    if gate.per is None:
        return value
    base = _count(name, gate.per, counts)
    return value / base if base else None


def _count(name: str, figure: str, counts: Mapping[str, Any]) -> float:
    group, _, key = figure.rpartition(".")
    found = (counts.get(group, {}) if group else counts).get(key)
    if found is None and figure in counts:
        return math.nan  # a loss that was no number
    if found is None and group == "losses":
        return 0.0  # a reason for which nothing was lost
    if not isinstance(found, int | float):
        known = [key for key, value in counts.items() if isinstance(value, int | float)]
        known += [f"{g}.{key}" for g in ("losses", "facts") for key in counts.get(g, {})]
        raise ProfileError(f"gates.{name}: there is no figure {figure}; known: {', '.join(known)}")
    return float(found)


def _at_step(log: Path, gate: Gate) -> float | None:
    """A training's figure at the gate's step; None where its log does not reach that."""
    for line in _lines(log):
        if line.get("step") == gate.step and gate.figure in line:
            value = line[gate.figure]
            return math.nan if value is None else float(value)
    return None


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a step log that may still be growing; none where it is not there."""
    if log.is_file():
        with log.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.endswith("\n"))


def _losses(counts: Mapping[str, Any]) -> str:
    losses = sorted(counts.get("losses", {}).items(), key=lambda item: -item[1])
    told = ", ".join(f"{rows:,} {reason}" for reason, rows in losses[:_MOST_LOSSES] if rows)
    rows = f"{counts['rows_out']:,} of {counts['rows_in']:,}" if "rows_in" in counts else ""
    return "; ".join(filter(None, (rows and f"Kept {rows}", told and f"lost: {told}")))


def _close(
    session: Session,
    name: str,
    gate: Gate,
    value: float,
    what: str,
    details: str,
    look: str | None = None,
) -> None:
    """Stop the run, or mark it, for a gate that is closed."""
    told = f"{gate.describe()} is {value:.4g}, {gate.expectation()} is expected ({what})"
    if gate.action == "mark":
        _LOG.warning("gate %s: %s", name, told)
        session.record_mark(Mark(gate=name, artifact=what, message=told))
        return
    if session.reuse_only:
        raise WorkToDo(what)  # the run itself is to stop there, and to be recorded
    look = look or f"webtext lineage --store {session.store.root} {what}"
    raise GateClosed(
        f"the gate {name} is closed: {told}. {details}.\n"
        f"Nothing after it was begun, and what is made is kept. Look: {look}. Go on: mend the "
        "cause and give the same command again, or let it pass with "
        f"--set gates.{name}.action=mark or another bound (gates.{name}.least, .most)"
    )
