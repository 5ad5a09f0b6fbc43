"""Training: one visible loop over the DeepSpeed engine.

A step reads its sequences (a pure function of shards, seed and step), sums the loss of their
predicted tokens over micro-batches and ranks, divides by the number of those tokens in the whole
step, clips, and updates. Whatever the ranks and micro-batches, it is the same sum. Killed at any
moment and started again, it ends with the same bytes on a CPU: see `model.checkpoints`.
"""

import fcntl
import gc
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.batches import Batches
from model.checkpoints import Checkpoint, CheckpointFolder, Identity
from model.config import TrainSpec
from model.engine import (
    accumulation_of,
    any_rank,
    build_engine,
    from_first_rank,
    join_ranks,
    leave_ranks,
    local_device,
    set_learning_rate,
    sum_over_ranks,
    update,
)
from model.errors import ModelError
from model.export import export_model, gathered_weights
from model.gpt2 import build_gpt2
from model.launch import CHECKPOINTS, Outcome
from model.looks import Interrupted, is_due, measure_loss, write_samples
from model.milestones import keep_milestones
from model.monitors import Monitors
from model.nodes import check_shared
from model.pace import Pace
from model.peers import watching_peers
from model.probe import figures_of, probe_network
from model.records import Logs, write_records
from model.schedule import learning_rate_at
from model.sequences import Order, Shards, shards_identity
from model.spikes import Spike, SpikeWatch
from model.staging import stage_on_each_machine
from model.watch import StopRequest

LOCK_WAIT_S = 10.0  # an orphan of a killed flow ends within two


@dataclass(frozen=True)
class Run:
    """What holds for one training from its start to its end."""

    spec: TrainSpec
    stop: StopRequest
    rank: int
    ranks: int
    order: Order
    validation: Shards
    checkpoints: CheckpointFolder

    @property
    def writes(self) -> bool:
        """Whether this rank keeps the logs and exports the model."""
        return self.rank == 0


def train(spec: TrainSpec, stop: StopRequest, leave: Callable[[], None]) -> Outcome:
    """Train to the last step and export, or to the next stop.

    Where there is nothing to lose, a stop calls `leave` and ends the process.
    """
    config = spec.training
    torch.set_num_threads(config.cpu_threads)
    rank, ranks = join_ranks(spec.device)
    with only_trainer_in(spec.work, rank), watching_peers(spec.work, rank, ranks) as peers:
        leave = partial(peers.leave, leave)
        stop.end_at_once(leave)
        check_shared(spec.work, rank)
        spec = stage_on_each_machine(spec)
        run = open_run(spec, stop, rank, ranks)
        device, accumulation = local_device(), accumulation_of(config, ranks)
        newest = run.checkpoints.newest()
        engine = start_engine(run, newest)
        monitors = Monitors(spec.monitors, spec.work / "monitor")
        saved = done = newest.step if newest else 0
        logs = Logs(spec.work, done) if run.writes else None
        complete_look(run, engine, logs, done)
        watch = start_watch(run, logs, done)
        pace, is_frozen = Pace(spec, device, ranks, done + 1), False

        with Batches(run.order, spec, done + 1, rank, ranks) as batches:
            for step in range(done + 1, config.steps + 1):
                if any_rank(stop.requested):
                    break
                pace.begin_step()
                rate = learning_rate_at(config, step)
                set_learning_rate(engine, rate)
                engine.train()
                loss_sum = torch.zeros((), dtype=torch.float64, device=device)
                for micro in range(accumulation):
                    batch = batches.take(device)
                    seed_dropout(spec, step, micro * ranks + rank)
                    # DeepSpeed divides by the micro-batches and averages over the ranks.
                    scale = accumulation * ranks / batch.predicted
                    part = engine(batch.tokens_BT, batch.targets_BT, scale)
                    engine.backward(part)
                    loss_sum += part.detach()
                    if micro + 1 < accumulation:
                        engine.step()  # only counts
                loss = sum_over_ranks(loss_sum.item() / (accumulation * ranks))
                stop.wait_for_step()
                norm = update(engine, config, partial(watch.accepts, loss))
                figures = pace.end_step(step, batches.waited_s)

                done = step
                line: dict[str, Any] = {"step": step, "loss": loss, "learning_rate": rate}
                line["gradient_norm"] = norm
                spike = watch.take(loss, norm)
                if spike is not None:
                    engine = answer_spike(run, engine, logs, line, spike)
                measured, watched = look(run, engine, logs, step)
                line |= measured
                figures |= watched
                if logs is not None:
                    logs.add_step(line, figures)
                monitors.show(step, line | figures)
                if run.checkpoints.is_due(step):
                    saved = save(run, engine, logs, step, saved)
                if not is_frozen:  # what lives now lives to the end: no collection need look at it
                    gc.collect()
                    gc.freeze()
                    is_frozen = True

        if done > saved and done != run.checkpoints.abandoned:
            saved = save(run, engine, logs, done, saved)
        finish_copies(run)
        if done < config.steps or any_rank(stop.requested):
            leave_ranks()
            return stopped_at(run, done, saved)
        stop.end_at_once(leave)
        weights = gathered_weights(engine.module)
        if run.writes:
            export_model(spec.network, weights, spec.destination, vocabulary_folder=spec.vocabulary)
            keep_milestones(spec)
            write_records(spec, run.checkpoints.identity, run.order, run.validation)
        leave_ranks()
    return Outcome(state="finished", step=done)


def open_run(spec: TrainSpec, stop: StopRequest, rank: int, ranks: int) -> Run:
    """Look at the shards, and at what was saved before."""
    train_split = Shards(spec.shards, "train", spec.network.context)
    identity = Identity(
        network=spec.network, training=spec.training, shards=shards_identity(spec.shards)
    )
    return Run(
        spec=spec,
        stop=stop,
        rank=rank,
        ranks=ranks,
        order=Order(train_split, spec.training.seed, spec.training.sequences_per_step),
        validation=Shards(spec.shards, "validation", spec.network.context),
        checkpoints=CheckpointFolder(spec.work / CHECKPOINTS, spec.checkpoints, identity),
    )


def start_engine(run: Run, checkpoint: Checkpoint | None) -> Any:
    """An engine over the checkpoint's network, or a freshly initialised one."""
    spec = run.spec
    network = build_gpt2(spec.network, spec.training.seed)
    if checkpoint is not None:
        checkpoint.load_weights(network)
    engine = build_engine(network, spec.training, run.ranks)
    if checkpoint is not None:
        checkpoint.install_moments(engine)
    return engine


def start_watch(run: Run, logs: Logs | None, done: int) -> SpikeWatch:
    """A watch over spikes that knows the last steps, the same on every rank."""
    config = run.spec.training.spikes
    trace, refused = from_first_rank(logs and logs.recent(config.window_steps, done))
    return SpikeWatch(config, trace, refused)


def seed_dropout(spec: TrainSpec, step: int, group: int) -> None:
    """Make dropout a function of (seed, step, group of sequences).

    So no generator's state needs saving, and the number of ranks does not change it.
    """
    if spec.network.dropout:
        name = f"dropout/{spec.training.seed}/{step}/{group}"
        digest = hashlib.blake2b(name.encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest, "little"))


def answer_spike(
    run: Run, engine: Any, logs: Logs | None, line: dict[str, Any], spike: Spike
) -> Any:
    """Write a spike down with the sequences of its step; the engine to go on with."""
    step, action = line["step"], run.spec.training.spikes.action
    record = line | spike.numbers | {"action": "recorded" if action == "record" else "skipped"}
    if spike.kind == "non_finite":
        record["action"] = "skipped"
    base = run.checkpoints.base_of(step) if action == "roll_back" else None
    if base is not None:
        record |= {"action": "rolled_back", "rolled_back_to": base.step}
        engine.destroy()
        engine = start_engine(run, base)
    if logs is not None:
        shards = run.order.shards
        addresses = [shards.address(int(i)) for i in run.order.step_indices(step)]
        logs.spikes.append(record | {"sequences": addresses})
    return engine


def look(
    run: Run, engine: Any, logs: Logs | None, step: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure, sample and probe what is due after `step`; nothing where a stop comes in between.

    Gives what belongs to the losses, and figures that are only watched.
    """
    spec, stopped = run.spec, lambda: run.stop.requested
    found: dict[str, float] = {}
    texts: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    try:
        if is_validation_due(run, step):
            found["validation_loss"] = measure_loss(
                engine, run.validation, spec, run.rank, run.ranks, stopped
            )
        if is_due(spec.training.samples.every_steps, step, spec.training.steps):
            texts = write_samples(engine, spec, step, run.rank, stopped)
        if is_probe_due(run, step):
            scores = probe_network(engine, spec, run.rank, stopped)
    except Interrupted:
        return {}, {}
    if logs is not None:
        for text in texts:
            logs.samples.append(text)
        if scores:  # in one line, so that a kill leaves all or none
            logs.zero_shot.append({"step": step, "scores": scores})
    return found, figures_of(scores)


def complete_look(run: Run, engine: Any, logs: Logs | None, done: int) -> None:
    """Look once more after step `done` if a stop came in between."""
    lacking = logs is not None and logs.lacks_look(
        validation=is_validation_due(run, done),
        samples=is_due(run.spec.training.samples.every_steps, done, run.spec.training.steps),
        probe=is_probe_due(run, done),
        done=done,
    )
    if from_first_rank(lacking):
        found, watched = look(run, engine, logs, done)
        if logs is not None and found | watched:
            logs.losses.amend_last(found)
            logs.metrics.amend_last(found | watched)


def is_validation_due(run: Run, step: int) -> bool:
    """Whether to measure validation loss after `step`."""
    config = run.spec.training
    return run.validation.sequences > 0 and is_due(
        config.validation_every_steps, step, config.steps
    )


def is_probe_due(run: Run, step: int) -> bool:
    """Whether to probe the network after `step`."""
    probe = run.spec.probe
    return probe is not None and is_due(probe.every_steps, step, run.spec.training.steps)


def save(run: Run, engine: Any, logs: Logs | None, step: int, before: int) -> int:
    """Save everything after `step`, and return it; `before` where a stop could not wait for it."""
    if logs is not None:
        logs.sync()
    began, grace_s = time.monotonic(), run.spec.checkpoints.stop_grace_s
    is_saved = run.checkpoints.save(engine, step, lambda: run.stop.has_waited(grace_s, began))
    return step if is_saved else before


def finish_copies(run: Run) -> None:
    """Wait until the checkpoints are copied to object storage, or for as long as a stop can."""
    copies, grace_s = run.checkpoints.copies, run.spec.checkpoints.stop_grace_s
    while any_rank(copies is not None and copies.is_busy):
        if any_rank(run.stop.has_waited(grace_s, since=0.0)):
            return
        time.sleep(0.1)


def stopped_at(run: Run, done: int, saved: int) -> Outcome:
    """How a training that was stopped ended."""
    if saved == done:
        return Outcome(state="stopped", step=done)
    message = (
        f"saving step {done} took longer than checkpoints.stop_grace_s, "
        f"{run.spec.checkpoints.stop_grace_s:g} s; the same command goes on from step {saved}"
    )
    return Outcome(state="stopped", step=saved, message=message)


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
