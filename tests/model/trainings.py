"""Tiny shards and trainings for the tests, and how to run one as a child process."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model.config import CheckpointConfig, ModelConfig, TrainConfig, TrainSpec
from model.gpt2 import build_gpt2
from model.launch import Launcher, launch_command
from model.schedule import learning_rate_at
from model.sequences import Order, Shards

CONTEXT = 32
VOCABULARY = 61
NETWORK = ModelConfig(
    layers=2,
    heads=2,
    width=16,
    context=CONTEXT,
    vocabulary=VOCABULARY,
    padded_vocabulary=64,
    dropout=0.1,
)


def write_shards(
    folder: Path,
    rows: tuple[int, ...] = (7, 0, 5, 11),
    context: int = CONTEXT,
    validation: tuple[int, ...] = (3, 2),
) -> Path:
    """Shards of predictable tokens: noisy walks that a network can learn."""
    random = np.random.default_rng(3)
    for split, lengths in (("train", rows), ("validation", validation)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number, count in enumerate(lengths):
            steps = random.integers(0, 3, size=count * context)
            tokens = (np.cumsum(steps) % VOCABULARY).astype(np.uint16)
            path = folder / split / f"shard-{number:05d}-000.npy"
            np.save(path, tokens.reshape(count, context))
    return folder


def make_spec(folder: Path, name: str = "run", **changes: Any) -> TrainSpec:
    """A training under `folder / name`; `changes` are fields of TrainConfig."""
    shards = folder / "shards"
    if not shards.is_dir():
        write_shards(shards)
    settings: dict[str, Any] = {
        "steps": 20,
        "sequences_per_step": 4,
        "micro_batch": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 3,
        "validation_every_steps": 7,
        "validation_sequences": 4,
        "seed": 5,
    }
    return TrainSpec(
        shards=shards,
        work=folder / name / "work",
        destination=folder / name / "model",
        vocabulary=folder,
        network=NETWORK,
        training=TrainConfig.model_validate(settings | changes),
        checkpoints=CheckpointConfig(every_steps=4, keep_last=2, milestones=(6,)),
    )


def grid_spec(folder: Path, zero_stage: int, accumulation: int, ranks: int) -> TrainSpec:
    """A training without dropout whose step of 8 sequences is shared out as asked."""
    spec = make_spec(
        folder,
        zero_stage=zero_stage,
        sequences_per_step=8,
        micro_batch=8 // (accumulation * ranks),
        learning_rate=1e-3,
        gradient_clip=0.3,
    )
    return spec.model_copy(update={"network": spec.network.model_copy(update={"dropout": 0.0})})


def write_spec(spec: TrainSpec) -> Path:
    """The spec's file, beside its work folder."""
    path = spec.work.parent / "spec.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(spec.model_dump_json(indent=1))
    return path


def start(
    spec: TrainSpec, ranks: int = 1, launcher: Launcher = "direct", **environment: str
) -> subprocess.Popen[str]:
    """Start a training as a child in a process group of its own."""
    command, additions = launch_command(write_spec(spec), ranks, launcher)
    return subprocess.Popen(
        command,
        env=os.environ | additions | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(spec: TrainSpec, ranks: int = 1, launcher: Launcher = "direct") -> tuple[int, str]:
    """Train to the end; the exit code and all output."""
    child = start(spec, ranks, launcher)
    try:
        output, _ = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    return child.returncode, output


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def plain_training(spec: TrainSpec) -> list[dict[str, float]]:
    """The same training without any of our machinery but network, order and schedule."""
    network = build_gpt2(spec.network, spec.training.seed)
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
        weight_decay=spec.training.weight_decay,
        betas=(spec.training.beta1, spec.training.beta2),
        eps=spec.training.epsilon,
    )
    shards = Shards(spec.shards, "train", spec.network.context)
    order = Order(shards, spec.training.seed, spec.training.sequences_per_step)
    trace = []
    for step in range(1, spec.training.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(spec.training, step)
        tokens, targets = (torch.from_numpy(a) for a in shards.read(order.step_indices(step)))
        logits = network.logits(network.hidden_states(tokens)).flatten(0, 1)
        loss = functional.cross_entropy(logits, targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), spec.training.gradient_clip)
        optimizer.step()
        trace.append({"loss": loss.item(), "gradient_norm": norm.item()})
    return trace
