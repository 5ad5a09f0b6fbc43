"""Training: one visible loop over the DeepSpeed engine.

A step reads its sequences (a pure function of shards, seed and step), sums the loss of their
predicted tokens over micro-batches and ranks, divides by the number of those tokens in the whole
step, clips, and updates. Whatever the ranks and micro-batches, it is the same sum. Killed at any
moment and started again, it ends with the same bytes on a CPU: see `model.checkpoints`.

Shape suffixes: B sequences, T tokens.
"""

# ruff: noqa: N806  names of tensors end in their shape

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoints import Checkpoint, CheckpointFolder, Identity
from model.config import TrainSpec
from model.engine import (
    accumulation_of,
    any_rank,
    build_engine,
    join_ranks,
    leave_ranks,
    local_device,
    set_learning_rate,
    step_engine,
    sum_over_ranks,
)
from model.errors import ModelError, ShardsError
from model.export import export_model, gathered_weights
from model.gpt2 import build_gpt2
from model.schedule import learning_rate_at
from model.sequences import Indices, Order, Shards, shards_identity, validation_indices
from model.trace import StepLog
from model.watch import StopRequest

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0  # an orphan of a killed flow ends within two


def train(spec: TrainSpec, stop: StopRequest) -> int:
    """Train to the last step and export, or to the next stop; returns the steps done."""
    config = spec.training
    torch.set_num_threads(config.cpu_threads)
    rank, ranks = join_ranks()
    with only_trainer_in(spec.work, rank):
        order = Order(
            Shards(spec.shards, "train", spec.network.context),
            config.seed,
            config.sequences_per_step,
        )
        validation = Shards(spec.shards, "validation", spec.network.context)
        device = local_device()
        accumulation = accumulation_of(config, ranks)
        identity = Identity(
            network=spec.network, training=config, shards=shards_identity(spec.shards)
        )
        checkpoints = CheckpointFolder(spec.work / "checkpoints", spec.checkpoints, identity)
        newest = checkpoints.newest()
        engine = start_engine(spec, newest, ranks)
        saved = done = newest.step if newest else 0
        losses, metrics = open_logs(spec.work, done) if rank == 0 else (None, None)
        started, first = time.monotonic(), done + 1

        for step in range(done + 1, config.steps + 1):
            if any_rank(stop.requested):
                break
            began = time.monotonic()
            engine.train()
            rate = learning_rate_at(config, step)
            set_learning_rate(engine, rate)
            indices = order.step_indices(step)
            predicted = order.predicted_tokens(step)
            loss_sum, norm = 0.0, None
            for micro in range(accumulation):
                group = micro * ranks + rank
                seed_dropout(config.seed, step, group)
                tokens_BT, targets_BT = read_batch(
                    order.shards, share_of(indices, group, config.micro_batch), spec
                )
                # DeepSpeed divides by the micro-batches and averages over the ranks.
                scale = accumulation * ranks / predicted
                loss = engine(tokens_BT.to(device), targets_BT.to(device), scale)
                engine.backward(loss)
                norm = step_engine(engine, config)
                loss_sum += loss.item() / (accumulation * ranks)
            line: dict[str, Any] = {
                "step": step,
                "loss": sum_over_ranks(loss_sum),
                "learning_rate": rate,
                "gradient_norm": norm,
            }
            if is_validation_due(spec, step) and validation.sequences:
                line["validation_loss"] = measure_loss(engine, validation, spec, rank, ranks)
            done = step
            if losses and metrics:
                losses.append(line)
                metrics.append(line | timings(spec, step, began, started, first))
            if checkpoints.is_due(step):
                sync_logs(losses, metrics)
                checkpoints.save(engine, step)
                saved = step

        if done > saved:
            sync_logs(losses, metrics)
            checkpoints.save(engine, done)
        if done == config.steps:
            weights = gathered_weights(engine.module)
            if rank == 0:
                export_model(
                    spec.network, weights, spec.destination, vocabulary_folder=spec.vocabulary
                )
                write_records(spec, identity, order, validation)
        leave_ranks()
    return done


def start_engine(spec: TrainSpec, checkpoint: Checkpoint | None, ranks: int) -> Any:
    """An engine over the checkpoint's network, or a freshly initialised one."""
    network = build_gpt2(spec.network, spec.training.seed)
    if checkpoint is not None:
        checkpoint.load_weights(network)
    engine = build_engine(network, spec.training, ranks)
    if checkpoint is not None:
        checkpoint.install_moments(engine)
    return engine


def read_batch(shards: Shards, indices: Indices, spec: TrainSpec) -> tuple[Tensor, Tensor]:
    """Tokens and targets (−100: none) of some sequences, int64 (B, T)."""
    tokens, targets = shards.read(indices)
    if tokens.size and tokens.max() >= spec.network.vocabulary:
        where = shards.address(int(indices[int(tokens.max(1).argmax())]))
        raise ShardsError(
            f"{where.shard} row {where.row} holds token {tokens.max()}, but the vocabulary has "
            f"{spec.network.vocabulary}; the shards are damaged or of another vocabulary"
        )
    return torch.from_numpy(tokens), torch.from_numpy(targets)


def share_of(indices: Indices, number: int, size: int) -> Indices:
    """The `number`-th group of `size` sequences of a step."""
    return indices[number * size : (number + 1) * size]


def seed_dropout(seed: int, step: int, group: int) -> None:
    """Make dropout a function of (seed, step, group of sequences).

    So no generator's state needs saving, and the number of ranks does not change it.
    """
    digest = hashlib.blake2b(f"dropout/{seed}/{step}/{group}".encode(), digest_size=7).digest()
    torch.manual_seed(int.from_bytes(digest, "little"))


def is_validation_due(spec: TrainSpec, step: int) -> bool:
    """Whether to measure validation loss after `step`."""
    every = spec.training.validation_every_steps
    return every > 0 and (step % every == 0 or step == spec.training.steps)


@torch.no_grad()
def measure_loss(engine: Any, shards: Shards, spec: TrainSpec, rank: int, ranks: int) -> float:
    """Mean loss of the chosen validation sequences in nats a token."""
    engine.eval()
    indices = validation_indices(shards, spec.training.validation_sequences)
    mine = indices[rank::ranks]
    total = 0.0
    # Ranks must call the engine equally often (ZeRO 3 gathers in it): a rank that has nothing left
    # computes a sequence and does not count it.
    longest = -(-len(indices) // ranks)
    for turn in range(0, longest, spec.training.micro_batch):
        chosen = mine[turn : turn + spec.training.micro_batch]
        tokens_BT, targets_BT = read_batch(shards, chosen if len(chosen) else indices[:1], spec)
        loss = engine(tokens_BT.to(local_device()), targets_BT.to(local_device()), 1.0)
        total += loss.item() if len(chosen) else 0.0
    predicted = sum(shards.predicted(int(index)) for index in indices)
    return sum_over_ranks(total) / predicted


def timings(
    spec: TrainSpec, step: int, began: float, started: float, first: int
) -> dict[str, float]:
    """How fast the step was and how long the rest will take at this run's mean pace."""
    now = time.monotonic()
    tokens = spec.training.sequences_per_step * spec.network.context
    mean_s = (now - started) / (step - first + 1)
    return {
        "tokens_per_second": round(tokens / (now - began), 1),
        "step_s": round(now - began, 4),
        "left_s": round(mean_s * (spec.training.steps - step), 1),
    }


def open_logs(work: Path, done: int) -> tuple[StepLog, StepLog]:
    """The loss trace and the metrics, both cut back to the steps that are done."""
    losses = StepLog(work / "losses.jsonl", resume_at=done, strict=True)
    return losses, StepLog(work / "metrics.jsonl", resume_at=done, strict=False)


def sync_logs(*logs: StepLog | None) -> None:
    """Have the logs on disk before a checkpoint counts on them."""
    for log in logs:
        if log:
            log.sync()


def write_records(spec: TrainSpec, identity: Identity, order: Order, validation: Shards) -> None:
    """`losses.jsonl` and `training.json` beside the exported model; no times in either."""
    trace = (spec.work / "losses.jsonl").read_text()
    (spec.destination / "losses.jsonl").write_text(trace)
    record = {
        "network": json.loads(spec.network.model_dump_json()),
        "training": json.loads(spec.training.model_dump_json()),
        "shards": identity.shards,
        "train_sequences": order.shards.sequences,
        "validation_sequences": validation.sequences,
        "parameters": spec.network.parameters,
        "tokens_read": spec.training.steps
        * spec.training.sequences_per_step
        * spec.network.context,
    }
    (spec.destination / "training.json").write_text(json.dumps(record, indent=2) + "\n")


@contextmanager
def only_trainer_in(work: Path, rank: int) -> Iterator[None]:
    """Hold the work folder's lock (rank 0), waiting a moment for a dying trainer to let go."""
    if rank:
        yield
        return
    with (work / "lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not _try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise ModelError(f"another trainer is at work in {work}; stop it first")
            time.sleep(0.1)
        yield


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
