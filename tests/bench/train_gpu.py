"""Training speed on one GPU: the trainer beside a plain loop, tokens a second and MFU.

The trainer is the real one (`python -m model.train`, DeepSpeed's engine, bf16, torch.compile) over
shards of random tokens, 524,288 a step; the plain loop (`tests.bench.plain_gpu_loop`) reads the
same batches. Steps are timed by their median after the first ones, in which code is compiled.

    WEBTEXT_BENCH_SIZES=124M,355M,774M,1558M python -m tests.bench train_gpu

measures other sizes than 124M; WEBTEXT_BENCH_STEPS sets the steps (30).

Floors and the goal are for one H100, in tokens a second. Without a GPU it says so and measures
nothing: what it has not measured is not claimed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.config import PRESETS, CheckpointConfig, ModelConfig, TrainConfig, TrainSpec
from model.device import Device
from model.launch import launch_command
from model.pace import peak_of
from model.speed import step_operations
from model.trace import read_steps

FLOORS = {"124M": 440_000, "355M": 190_000, "774M": 85_000, "1558M": 48_000}
GOAL = 480_000  # of 124M
OVERHEAD_GOAL = 0.03  # of the trainer over the plain loop
MICRO_BATCH = {"124M": 32, "355M": 16, "774M": 8, "1558M": 4}  # as in the profiles, or less
SEQUENCES = 512
WARM_UP_STEPS = 5
RESULT = {
    "name": "training 124M on one H100",
    "measured": None,
    "goal": GOAL,
    "unit": "tokens/s",
    "reached": False,
}


@dataclass(frozen=True)
class Measured:
    """What a size took."""

    trainer: float
    """Tokens a second."""
    plain: float
    """Tokens a second of the plain loop."""
    mfu: float | None
    """Share of the device's peak; None for a device whose peak is not known."""
    difference: float
    """Largest difference of the two loops' losses, in nats."""

    @property
    def overhead(self) -> float:
        """Of the trainer over the plain loop."""
        return self.plain / self.trainer - 1


def run() -> dict[str, object]:
    if not torch.cuda.is_available():
        print(
            "There is no GPU here, so nothing is measured; its speed on one is unproven.\n"
            "On a machine with an H100: python -m tests.bench train_gpu"
        )
        return dict(RESULT)
    sizes = os.environ.get("WEBTEXT_BENCH_SIZES", "124M").split(",")
    steps = int(os.environ.get("WEBTEXT_BENCH_STEPS", "30"))
    device = torch.cuda.get_device_name()
    print(f"{device}, bf16, {SEQUENCES} sequences of 1024 a step, {steps} steps")
    print(f"{'':8}{'trainer':>10}{'plain':>10}{'floor':>10}{'overhead':>10}{'MFU':>8}  tokens/s")
    found = {}
    for size in sizes:
        training = make_training(steps, SEQUENCES, MICRO_BATCH[size], dtype="bf16", compiled=True)
        found[size] = measure(PRESETS[size], training, "cuda", device)
        print(show(size, found[size]))
    if "124M" not in found:
        return dict(RESULT)
    first = found["124M"]
    reached = "H100" in device and first.trainer >= GOAL and first.overhead <= OVERHEAD_GOAL
    return RESULT | {"measured": round(first.trainer), "reached": reached}


def show(size: str, measured: Measured) -> str:
    mfu = "unknown" if measured.mfu is None else f"{measured.mfu:.1%}"
    return (
        f"{size:8}{measured.trainer:10,.0f}{measured.plain:10,.0f}{FLOORS.get(size, 0):10,}"
        f"{measured.overhead:10.1%}{mfu:>8}  losses differ by at most {measured.difference:.1e}"
    )


def make_training(
    steps: int, sequences: int, micro_batch: int, *, dtype: str, compiled: bool
) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "steps": steps,
            "sequences_per_step": sequences,
            "micro_batch": micro_batch,
            "warmup_steps": min(steps, 10),
            "dtype": dtype,
            "compile": compiled,
        }
    )


def measure(network: ModelConfig, training: TrainConfig, device: Device, name: str) -> Measured:
    """Run both loops, one after the other, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="webtext-bench-") as folder:
        spec = write_spec(Path(folder), network, training, device)
        losses, seconds = run_plain(spec, device)
        lines = run_trainer(spec)
    tokens = training.sequences_per_step * network.context
    plain = tokens / median(seconds)
    trainer = tokens / median([line["step_s"] for line in lines])
    peak = peak_of(name, training.dtype)
    differences = [abs(a - line["loss"]) for a, line in zip(losses, lines, strict=True)]
    return Measured(
        trainer=trainer,
        plain=plain,
        mfu=None if peak is None else step_operations(network, 1) * trainer / peak,
        difference=max(differences),
    )


def median(seconds: list[float]) -> float:
    return statistics.median(seconds[WARM_UP_STEPS:])


def write_spec(
    folder: Path, network: ModelConfig, training: TrainConfig, device: Device = "cpu"
) -> Path:
    """Shards of random tokens, and a training on them."""
    random = np.random.default_rng(0)
    for split, rows in (("train", 2 * training.sequences_per_step), ("validation", 1)):
        (folder / "shards" / split).mkdir(parents=True)
        tokens = random.integers(0, network.vocabulary, (rows, network.context)).astype(np.uint16)
        np.save(folder / "shards" / split / "shard-00000-000.npy", tokens)
    spec = TrainSpec(
        shards=folder / "shards",
        work=folder / "work",
        destination=folder / "model",
        vocabulary=Path(__file__).parents[2] / "webtext" / "vocabulary_files",
        network=network,
        training=training,
        checkpoints=CheckpointConfig(every_steps=training.steps),
        device=device,
    )
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json())
    return path


def run_plain(spec: Path, device: str) -> tuple[list[float], list[float]]:
    command = [sys.executable, "-m", "tests.bench.plain_gpu_loop", str(spec), device]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the plain loop failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["losses"], found["seconds"]


def run_trainer(spec: Path) -> list[dict[str, float]]:
    command, additions = launch_command(spec)
    environment = os.environ | additions
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"the trainer failed: {(done.stdout + done.stderr)[-2000:]}")
    return read_steps(spec.parent / "work" / "metrics.jsonl")


if __name__ == "__main__":
    print(run())
