"""Stops and deaths in every phase: real processes, real signals, and a run that goes on after."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.config import CheckpointConfig, TrainSpec
from model.launch import (
    EXIT_PEER_DIED,
    EXIT_STOPPED,
    Outcome,
    read_outcome,
    saved_step,
    saved_steps,
)
from model.trace import read_steps
from tests.model.nursery import Nursery, wait_for_step
from tests.model.trainings import files_of, make_spec, start, write_shards

LIMIT_S = 10.0


def outcome_of(spec: TrainSpec) -> Outcome:
    outcome = read_outcome(spec.work)
    assert outcome is not None
    return outcome


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def end_in_time(child: subprocess.Popen[str], number: int) -> int:
    """Signal a trainer, which must end within the limit; its exit code."""
    began = time.monotonic()
    os.killpg(child.pid, number)
    try:
        child.communicate(timeout=3 * LIMIT_S)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert time.monotonic() - began < LIMIT_S
    return child.returncode


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_at_the_start(tmp_path: Path, number: int) -> None:
    """While torch and DeepSpeed are imported, which takes seconds."""
    spec = make_spec(tmp_path)
    child = start(spec)
    wait_until(lambda: read_outcome(spec.work) is not None)
    began = time.monotonic()
    assert end_in_time(child, number) == EXIT_STOPPED
    assert time.monotonic() - began < 2
    assert outcome_of(spec) == Outcome(state="stopped", step=0)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_in_compilation(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, compile=True)
    cache = tmp_path / "cache"
    child = start(spec, TORCHINDUCTOR_CACHE_DIR=str(cache))
    wait_until(cache.is_dir)
    assert end_in_time(child, signal.SIGTERM) == EXIT_STOPPED
    assert outcome_of(spec) == Outcome(state="stopped", step=0)
    assert not (spec.work / "checkpoints").exists()


@pytest.mark.slow
def test_in_an_evaluation(nursery: Nursery, tmp_path: Path) -> None:
    """The step before it is kept; its evaluation is done when the run goes on."""
    shards = write_shards(tmp_path / "shards", validation=(400,))
    settings = {"steps": 6, "validation_every_steps": 5, "validation_sequences": 400}
    calm = make_spec(tmp_path, "calm", micro_batch=1, **settings)
    assert nursery.run(calm) == 0
    spec = make_spec(tmp_path, "stopped", micro_batch=1, **settings)
    assert spec.shards == shards
    rare = CheckpointConfig(every_steps=100, milestones=(6,))
    spec = spec.model_copy(update={"checkpoints": rare})
    child = nursery.start(spec)
    wait_for_step(spec, 4)
    time.sleep(0.2)  # a step takes less, the evaluation after step 5 more
    began = time.monotonic()
    os.kill(child, signal.SIGTERM)
    assert nursery.wait() == EXIT_STOPPED
    assert time.monotonic() - began < LIMIT_S
    lines = read_steps(spec.work / "losses.jsonl")
    assert outcome_of(spec) == Outcome(state="stopped", step=5)
    assert "validation_loss" not in lines[-1]
    assert nursery.run(spec) == 0
    assert files_of(spec.destination) == files_of(calm.destination)


def test_in_a_save(nursery: Nursery, tmp_path: Path) -> None:
    """A save that is quick enough is finished: what it leaves is whole."""
    spec = make_spec(tmp_path, steps=3000)
    spec = spec.model_copy(update={"checkpoints": CheckpointConfig(every_steps=1)})
    child = nursery.start(spec)
    wait_for_step(spec, 3)
    wait_until(lambda: any(spec.work.glob("checkpoints/.partial-*")))
    os.kill(child, signal.SIGTERM)
    assert nursery.wait() == EXIT_STOPPED
    step = outcome_of(spec).step
    assert saved_steps(spec.work / "checkpoints")[-1] == step
    assert not any(spec.work.glob("checkpoints/.partial-*"))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_in_a_save_that_takes_long(nursery: Nursery, tmp_path: Path, ranks: int) -> None:
    """A state of 0.4 GB, of which a disk writes but a part in the grace: none of it stays."""
    spec = make_spec(tmp_path, steps=3, sequences_per_step=2, micro_batch=1)
    wide = spec.network.model_copy(update={"layers": 3, "width": 960, "dropout": 0.0})
    steps = CheckpointConfig(every_steps=1, stop_grace_s=0.05)
    slow = spec.model_copy(update={"network": wide, "checkpoints": steps})
    children = nursery.start_ranks(slow, ranks)
    wait_until(lambda: any(slow.work.glob("checkpoints/.partial-00000002/state-*")))
    began = time.monotonic()
    for child in children:  # as launchers do
        os.kill(child, signal.SIGTERM)
    assert set(nursery.wait_ranks()) == {EXIT_STOPPED}
    assert time.monotonic() - began < LIMIT_S
    outcome = outcome_of(slow)
    assert (outcome.state, outcome.step) == ("stopped", 1)
    assert "saving step 2 took longer" in outcome.message
    assert "goes on from step 1" in outcome.message
    assert [p.name for p in (slow.work / "checkpoints").iterdir()] == ["step-00000001"]
    patient = slow.model_copy(update={"checkpoints": CheckpointConfig(every_steps=2)})
    assert nursery.run(patient, ranks) == 0
    assert [line["step"] for line in read_steps(slow.work / "losses.jsonl")] == [1, 2, 3]


def test_a_stop_of_one_rank_stops_all(nursery: Nursery, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, steps=3000)
    children = nursery.start_ranks(spec, 2)
    wait_for_step(spec, 2)
    os.kill(children[1], signal.SIGTERM)
    assert nursery.wait_ranks() == [EXIT_STOPPED, EXIT_STOPPED]
    assert outcome_of(spec).state == "stopped"
    assert outcome_of(spec).step == saved_step(spec.work) >= 2


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_dies_ends_the_others(nursery: Nursery, tmp_path: Path, killed: int) -> None:
    calm = make_spec(tmp_path, "calm")
    assert nursery.run(calm, 2) == 0
    spec = make_spec(tmp_path, "broken")
    children = nursery.start_ranks(spec, 2)
    wait_for_step(spec, 5)
    began = time.monotonic()
    os.kill(children[killed], signal.SIGKILL)
    codes = nursery.wait_ranks()
    assert time.monotonic() - began < LIMIT_S
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == EXIT_PEER_DIED
    outcome = outcome_of(spec)
    assert outcome.state == "broken"
    assert f"rank {killed} (process {children[killed]}) died" in outcome.message
    assert f"goes on from step {saved_step(spec.work)}" in outcome.message
    assert saved_step(spec.work) >= 4
    assert nursery.run(spec, 2) == 0
    assert files_of(spec.destination) == files_of(calm.destination)


def test_a_rank_that_fails_has_the_last_word(nursery: Nursery, tmp_path: Path) -> None:
    """Rank 1 alone reads the damaged row; what it says is what is told."""
    import numpy as np

    from model.sequences import Order, Shards

    spec = make_spec(tmp_path, micro_batch=2)
    order = Order(Shards(spec.shards, "train", 32), 5, 4)
    # In the first epoch, rank 1 takes the last two of each step's four sequences.
    where = order.shards.address(int(order.step_indices(3)[3]))
    tokens = np.load(spec.shards / where.shard)
    tokens[where.row, 0] = 62
    np.save(spec.shards / where.shard, tokens)
    nursery.start_ranks(spec, 2)
    began = time.monotonic()
    codes = nursery.wait_ranks()
    assert time.monotonic() - began < 2 * LIMIT_S
    assert 0 not in codes
    outcome = outcome_of(spec)
    assert outcome.state == "failed"
    assert f"{where.shard} row {where.row} holds token 62" in outcome.message


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_a_launcher_passes_a_stop_on(tmp_path: Path, launcher: str) -> None:
    spec = make_spec(tmp_path, steps=100_000)
    child = start(spec, 2, launcher)  # type: ignore[arg-type]
    wait_for_step(spec, 3)
    end_in_time(child, signal.SIGTERM)
    assert outcome_of(spec).state == "stopped"
    assert outcome_of(spec).step == saved_step(spec.work) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_a_launcher_ends_with_a_rank_that_dies(tmp_path: Path, launcher: str) -> None:
    spec = make_spec(tmp_path, steps=100_000)
    child = start(spec, 2, launcher)  # type: ignore[arg-type]
    wait_for_step(spec, 3)
    ranks = [int(p.name) for p in Path("/proc").glob("[0-9]*") if is_rank(p, spec)]
    assert len(ranks) == 2
    began = time.monotonic()
    os.kill(max(ranks), signal.SIGKILL)
    output, _ = child.communicate(timeout=60)
    assert time.monotonic() - began < 2 * LIMIT_S
    assert child.returncode != 0
    assert outcome_of(spec).state == "broken"
    assert "died, so the others were ended" in outcome_of(spec).message
    assert "training was broken off: rank" in output


def is_rank(process: Path, spec: TrainSpec) -> bool:
    """Whether a process is a rank of this training, not its launcher."""
    try:
        line = (process / "cmdline").read_bytes().split(b"\0")
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    named = any(str(spec.work.parent).encode() in word for word in line)
    return named and any(word.startswith(b"LOCAL_RANK=") for word in environment)
