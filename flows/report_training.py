"""What a report tells of a training: its loss curve, its spikes and the documents of those steps.

The log is read a line at a time and thinned as it comes, so a million steps take no more memory
than a thousand.
"""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import stages
from flows.report_source import Source
from flows.report_svg import Curve, Mark
from flows.trace_order import order_of_model
from infra.errors import StoreError
from infra.lineage_answers import ReadDocument
from infra.lineage_build import Known
from infra.lineage_places import trace_steps
from infra.lineage_trace import Tracer

_COLUMNS = 500
"""Most points of the curve."""
_MOST_CHECKS = 200
_MOST_SPIKES = 12
_RISES = 3
_WINDOW = 16
"""Steps whose mean a loss is compared with to tell a rise."""
_DOCUMENTS = 8


@dataclass(frozen=True)
class Step:
    """A step that stands out, and what it read."""

    number: int
    why: str
    loss: float | None
    documents: tuple[ReadDocument, ...]
    more: int
    """Sequences of the step whose documents are not listed."""


@dataclass(frozen=True)
class Training:
    """A model's training."""

    model: str
    settings: dict[str, Any]
    network: dict[str, Any]
    parameters: int
    tokens: int
    steps: int
    first_loss: float | None
    last_loss: float | None
    validation_loss: float | None
    curve: Curve | None
    spikes: int
    """Spikes that were recorded; the first of them are in `shown`."""
    shown: list[Step]


@dataclass
class _Log:
    """What is kept of the log while it is read."""

    buckets: dict[int, list[float]] = field(default_factory=dict)
    """By place in the curve: sum of steps, sum of losses, lines, lowest, highest."""
    checks: list[tuple[int, float]] = field(default_factory=list)
    rises: list[tuple[float, int, float]] = field(default_factory=list)
    losses: dict[int, float | None] = field(default_factory=dict)
    """Of the steps that are asked for."""
    first: float | None = None
    last: float | None = None


def training(source: Source) -> Training | None:
    """The training of the run's model; None where there is none."""
    model = source.get(stages.MODEL.name)
    if model is None or not model.file("losses.jsonl").is_file():
        return None
    config = model.manifest.identity.config
    steps = int(config["training"]["steps"])
    spikes = list(_lines(model.file("spikes.jsonl"), _MOST_SPIKES))
    log = _read_log(model.file("losses.jsonl"), steps, {spike["step"] for spike in spikes})
    chosen = {spike["step"]: _why(spike) for spike in spikes} or _rises(log)
    shown = list(_steps(source, model, chosen, log)) if chosen else []
    counts = model.manifest.counts
    return Training(
        model=model.label,
        settings=dict(_flat(config["training"])),
        network=config["network"],
        parameters=int(counts["parameters"]),
        tokens=int(counts["tokens"]),
        steps=steps,
        first_loss=log.first,
        last_loss=log.last,
        validation_loss=log.checks[-1][1] if log.checks else None,
        curve=_curve(steps, log, shown),
        spikes=int(counts.get("spikes", len(spikes))),
        shown=shown,
    )


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names, those of a section after the section's."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}: ")
        else:
            yield f"{above}{name}", value


def _read_log(path: Path, steps: int, wanted: set[int]) -> _Log:
    log = _Log()
    recent: deque[float] = deque(maxlen=_WINDOW)
    for line in _lines(path, None):
        step, loss = line["step"], line["loss"]
        if step in wanted:
            log.losses[step] = loss
        if line.get("validation_loss") is not None:
            log.checks.append((step, line["validation_loss"]))
        if loss is None:
            continue
        log.first = loss if log.first is None else log.first
        log.last = loss
        _fill(log.buckets.setdefault((step - 1) * _COLUMNS // max(steps, _COLUMNS), []), step, loss)
        if len(recent) == _WINDOW:
            rise = (loss - sum(recent) / _WINDOW, step, loss)
            heapq.heappush(log.rises, rise)
            if len(log.rises) > _RISES:
                heapq.heappop(log.rises)
        recent.append(loss)
    return log


def _fill(bucket: list[float], step: int, loss: float) -> None:
    if not bucket:
        bucket += [step, loss, 1, loss, loss]
        return
    bucket[0], bucket[1], bucket[2] = bucket[0] + step, bucket[1] + loss, bucket[2] + 1
    bucket[3], bucket[4] = min(bucket[3], loss), max(bucket[4], loss)


def _rises(log: _Log) -> dict[int, str]:
    """The steps whose loss rose most over the mean of those before, where no spike was recorded."""
    found = sorted(log.rises, reverse=True)
    log.losses.update({step: loss for _, step, loss in found})
    return {
        step: f"{rise:.3f} nats above the mean of the {_WINDOW} steps before it"
        for rise, step, _ in found
        if rise > 0
    }


def _why(spike: dict[str, Any]) -> str:
    kind = {"loss": "the loss", "gradient_norm": "the gradient's norm"}.get(spike["kind"])
    deviations = spike.get("z_loss" if spike["kind"] == "loss" else "z_gradient_norm")
    far = f"{deviations:.1f} standard deviations above" if deviations is not None else "above"
    told = f"{kind} was {far} the steps before" if kind else "a number was not finite"
    action = spike["action"].replace("_", " ")
    back = spike.get("rolled_back_to")
    return f"{told}; {action}" + (f" to step {back:,}" if back is not None else "")


def _steps(source: Source, model: Known, chosen: dict[int, str], log: _Log) -> Iterator[Step]:
    library = source.library
    builds = library.builds_of_model(model)
    if not builds or len(builds) < len(library.shards_of(model)):
        for step, why in sorted(chosen.items()):
            yield Step(step, why, log.losses.get(step), (), 0)
        return
    order = order_of_model(library, model, builds[0])
    tracer = Tracer(builds[-1], [order], lambda *_: None)
    months = builds if library.series_of(model) else ()
    for step, why in sorted(chosen.items()):
        try:
            read = trace_steps(tracer, order, model, step, step, _DOCUMENTS, months)
        except StoreError:
            yield Step(step, why, log.losses.get(step), (), 0)
            continue
        more = read.sequences - read.sequences_shown
        yield Step(step, why, log.losses.get(step), read.documents, more)


def _curve(steps: int, log: _Log, shown: Sequence[Step]) -> Curve | None:
    if not log.buckets:
        return None
    line = [
        (total / count, low, losses / count, high)
        for _, (total, losses, count, low, high) in sorted(log.buckets.items())
    ]
    every = max(1, len(log.checks) // _MOST_CHECKS)
    marks = [
        Mark(step.number, step.loss, f"#step-{step.number}", f"step {step.number:,}: {step.why}")
        for step in shown
        if step.loss is not None
    ]
    return Curve(steps, line, log.checks[::every], marks)


def _lines(path: Path, most: int | None) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if most is not None and number >= most:
                return
            yield json.loads(line)
