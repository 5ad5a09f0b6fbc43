"""What a training writes down: its logs while it runs, and its records beside the model."""

import json
from pathlib import Path
from typing import Any

from model.checkpoints import Identity
from model.config import TrainSpec
from model.curve import loss_curve
from model.probe import ZERO_SHOT
from model.sequences import Order, Shards
from model.spikes import refused_at_end
from model.trace import StepLog, read_steps

EXPORTED = ("losses.jsonl", "spikes.jsonl", "samples.jsonl")


class Logs:
    """The logs in the work folder (rank 0's alone), all cut back to the steps that are done."""

    def __init__(self, work: Path, done: int) -> None:
        self.losses = StepLog(work / "losses.jsonl", resume_at=done, strict=True)
        self.metrics = StepLog(work / "metrics.jsonl", resume_at=done, strict=False)
        self.spikes = StepLog(work / "spikes.jsonl", resume_at=done, strict=False)
        self.samples = StepLog(work / "samples.jsonl", resume_at=done, strict=False)
        self.zero_shot = StepLog(work / ZERO_SHOT, resume_at=done, strict=False)

    def add_step(self, line: dict[str, Any], figures: dict[str, Any]) -> None:
        """Write a step down; its figures only where they are watched."""
        self.losses.append(line)
        self.metrics.append(line | figures)

    def sync(self) -> None:
        """Have everything on disk before a checkpoint counts on it."""
        for log in (self.losses, self.metrics, self.spikes, self.samples, self.zero_shot):
            log.sync()

    def recent(self, steps: int, done: int) -> tuple[list[dict[str, Any]], int]:
        """The last so many steps, and how many at the end made no update."""
        return self.losses.lines()[-steps:], refused_at_end(self.spikes.lines(), done)

    def lacks_look(self, *, validation: bool, samples: bool, probe: bool, done: int) -> bool:
        """Whether a look that was due after step `done` is missing: a stop came in between."""
        if not done:
            return False
        measured = "validation_loss" in self.losses.lines()[-1]
        written = any(line["step"] == done for line in self.samples.lines())
        probed = any(line["step"] == done for line in self.zero_shot.lines())
        return (validation and not measured) or (samples and not written) or (probe and not probed)


def write_records(spec: TrainSpec, identity: Identity, order: Order, validation: Shards) -> None:
    """The logs without times, the curve and `training.json` beside the exported model."""
    for name in (*EXPORTED, *([ZERO_SHOT] if spec.probe else [])):
        (spec.destination / name).write_text((spec.work / name).read_text())
    trace = read_steps(spec.work / "losses.jsonl")
    (spec.destination / "loss.svg").write_text(loss_curve(trace), encoding="utf-8")
    tokens = spec.training.steps * spec.training.sequences_per_step * spec.network.context
    record = {
        "network": json.loads(spec.network.model_dump_json()),
        "training": json.loads(spec.training.model_dump_json()),
        "shards": identity.shards,
        "train_sequences": order.shards.sequences,
        "validation_sequences": validation.sequences,
        "parameters": spec.network.parameters,
        "tokens_read": tokens,
    }
    (spec.destination / "training.json").write_text(json.dumps(record, indent=2) + "\n")
