"""The trainer: equal to a plain PyTorch loop, and bitwise the same however often it is killed."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from model.config import CheckpointConfig, TrainConfig, TrainSpec
from model.export import import_model
from model.launch import EXIT_MISTAKE, EXIT_STOPPED, launch_command, read_outcome
from model.sequences import Shards
from model.trace import read_steps
from tests.model.nursery import Nursery, wait_for_step
from tests.model.trainings import (
    CONTEXT,
    files_of,
    grid_spec,
    make_spec,
    plain_training,
    run,
    start,
    write_spec,
)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> TrainSpec:
    """A finished training that nobody disturbed."""
    spec = make_spec(tmp_path_factory.mktemp("unbroken"))
    assert nursery.run(spec) == 0
    return spec


def assert_equal_to_plain(spec: TrainSpec, tolerance: float = 1e-6) -> None:
    expected = plain_training(spec)
    trace = read_steps(spec.destination / "losses.jsonl")
    assert [line["step"] for line in trace] == list(range(1, 21))
    assert trace[-1]["loss"] < trace[0]["loss"] - 0.05
    for ours, theirs in zip(trace, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=tolerance)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], abs=tolerance)


GRID = [(z, a, r) for z in (0, 1, 2) for a in (1, 4) for r in (1, 2)]
EVERY_DAY = {(0, 1, 1), (0, 4, 1), (2, 4, 2)}


@pytest.mark.parametrize(
    ("zero_stage", "accumulation", "ranks"),
    [
        pytest.param(*case, marks=[] if case in EVERY_DAY else pytest.mark.slow)
        for case in [*GRID, (3, 1, 1), (3, 4, 2)]
    ],
)
def test_equals_a_plain_loop(
    tmp_path: Path, nursery: Nursery, zero_stage: int, accumulation: int, ranks: int
) -> None:
    """The same losses and gradient norms as a loop of plain PyTorch, whoever shares the work."""
    spec = grid_spec(tmp_path, zero_stage, accumulation, ranks)
    assert nursery.run(spec, ranks) == 0
    assert_equal_to_plain(spec)


def test_a_finished_training_leaves_a_whole_model(unbroken: TrainSpec) -> None:
    network = import_model(unbroken.destination)
    assert network.config.layers == unbroken.network.layers
    record = json.loads((unbroken.destination / "training.json").read_text())
    assert record["parameters"] == unbroken.network.parameters
    assert record["train_sequences"] == 23
    assert record["validation_sequences"] == 5
    assert record["tokens_read"] == 20 * 4 * CONTEXT
    assert record["training"]["steps"] == 20
    assert record["shards"].startswith("unsealed-")
    assert str(unbroken.work.parent) not in json.dumps(record)
    outcome = read_outcome(unbroken.work)
    assert outcome is not None
    assert (outcome.state, outcome.step) == ("finished", 20)


def test_traces(unbroken: TrainSpec) -> None:
    trace = read_steps(unbroken.destination / "losses.jsonl")
    assert [line["step"] for line in trace if "validation_loss" in line] == [7, 14, 20]
    assert trace[-1]["validation_loss"] < trace[6]["validation_loss"]
    assert trace[2]["learning_rate"] == 1e-2
    assert set(trace[0]) == {"step", "loss", "learning_rate", "gradient_norm"}
    metrics = read_steps(unbroken.work / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, 21))
    figures = metrics[-1].keys() - trace[-1].keys()
    assert figures == {
        "tokens_per_second",
        "step_s",
        "step_p50_s",
        "step_p99_s",
        "stall_share",
        "mfu",
        "memory_peak_bytes",
        "left_s",
    }
    assert metrics[-1]["left_s"] == 0
    assert metrics[-1]["mfu"] == "unknown"  # no peak is listed for a processor
    assert 0 <= metrics[-1]["stall_share"] < 1
    assert 0 < metrics[-1]["step_p50_s"] <= metrics[-1]["step_p99_s"]
    assert metrics[-1]["memory_peak_bytes"] > 50e6
    for name in ("losses.jsonl", "spikes.jsonl", "samples.jsonl", "loss.svg"):
        assert (unbroken.destination / name).is_file()


def test_validation_loss_is_that_of_the_exported_model(unbroken: TrainSpec) -> None:
    network = import_model(unbroken.destination)
    shards = Shards(unbroken.shards, "validation", CONTEXT)
    from model.sequences import validation_indices

    indices = validation_indices(shards, unbroken.training.validation_sequences)
    assert len(indices) == 4
    tokens, targets = (torch.from_numpy(a) for a in shards.read(indices))
    with torch.no_grad():
        mean = network(tokens, targets).item() / int((targets != -100).sum())
    last = read_steps(unbroken.destination / "losses.jsonl")[-1]
    assert last["validation_loss"] == pytest.approx(mean, abs=1e-5)


def test_only_last_checkpoints_and_milestones_stay(unbroken: TrainSpec) -> None:
    names = sorted(path.name for path in (unbroken.work / "checkpoints").iterdir())
    assert names == ["step-00000006", "step-00000016", "step-00000020"]


def test_the_model_keeps_its_milestones(unbroken: TrainSpec) -> None:
    """As models that open by themselves, of the weights that the checkpoint has."""
    from model.checkpoint_network import import_checkpoint

    kept = unbroken.destination / "milestones"
    assert [path.name for path in kept.iterdir()] == ["step-00000006"]
    network = import_model(kept / "step-00000006", padded_vocabulary=64)
    there = import_checkpoint(unbroken.work / "checkpoints" / "step-00000006")
    for name, weight in there.state_dict().items():
        assert torch.equal(network.state_dict()[name], weight)


def test_milestones_may_be_kept_as_checkpoints(
    unbroken: TrainSpec, nursery: Nursery, tmp_path: Path
) -> None:
    settings = unbroken.checkpoints.model_copy(update={"keep_milestones": "checkpoint"})
    again = unbroken.model_copy(update={"destination": tmp_path / "model", "checkpoints": settings})
    assert nursery.run(again) == 0
    kept = files_of(again.destination / "milestones" / "step-00000006")
    assert kept == files_of(unbroken.work / "checkpoints" / "step-00000006")


def test_a_finished_training_only_exports_again(
    unbroken: TrainSpec, nursery: Nursery, tmp_path: Path
) -> None:
    again = unbroken.model_copy(update={"destination": tmp_path / "model"})
    assert nursery.run(again) == 0
    assert files_of(again.destination) == files_of(unbroken.destination)


def kill_and_resume(
    spec: TrainSpec, nursery: Nursery, chance: random.Random, kills: int
) -> list[int]:
    """Kill the training at random moments, then let it end; the steps done at the kills."""
    seen = []
    for _ in range(kills):
        child = nursery.start(spec)
        done = len(read_steps(spec.work / "metrics.jsonl"))
        wait_for_step(spec, min(done + chance.randint(1, 4), spec.training.steps - 1))
        time.sleep(chance.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        assert nursery.wait() in (-signal.SIGKILL, 0)
        seen.append(len(read_steps(spec.work / "metrics.jsonl")))
    assert nursery.run(spec) == 0
    return seen


def test_killed_trainings_end_with_the_same_bytes(
    unbroken: TrainSpec, nursery: Nursery, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path)
    # A save after every step: that is where most of the time goes, so most kills hit one.
    often = CheckpointConfig(every_steps=1, keep_last=2, milestones=(6,))
    spec = spec.model_copy(update={"checkpoints": often})
    seen = kill_and_resume(spec, nursery, random.Random(1), 4)
    assert 0 < seen[0] < 20
    assert files_of(spec.destination) == files_of(unbroken.destination)
    assert not list((spec.work / "checkpoints").glob(".partial-*"))


@pytest.mark.slow
@pytest.mark.parametrize("every_steps", [1, 5])
def test_twenty_kills(nursery: Nursery, tmp_path: Path, every_steps: int) -> None:
    calm = make_spec(tmp_path, "calm", steps=100)
    assert nursery.run(calm) == 0
    spec = make_spec(tmp_path, "killed", steps=100)
    settings = CheckpointConfig(every_steps=every_steps, keep_last=2, milestones=(6,))
    spec = spec.model_copy(update={"checkpoints": settings})
    kill_and_resume(spec, nursery, random.Random(2), 20)
    assert files_of(spec.destination) == files_of(calm.destination)


@pytest.mark.slow
@pytest.mark.parametrize(
    "zero_stage",
    [0, 1, 2, 3],
)
def test_going_on_at_another_number_of_ranks(
    tmp_path: Path, nursery: Nursery, zero_stage: int
) -> None:
    """From one rank to two and back: the same batches and dropout, sums but for their order."""
    calm = make_spec(tmp_path, "calm", steps=60, zero_stage=zero_stage, learning_rate=1e-3)
    assert nursery.run(calm) == 0
    spec = make_spec(tmp_path, "moved", steps=60, zero_stage=zero_stage, learning_rate=1e-3)
    stops = []
    for ranks, step in ((1, 8), (2, 15)):
        children = nursery.start_ranks(spec, ranks)
        wait_for_step(spec, step)
        for child in children:
            os.kill(child, signal.SIGTERM)
        assert set(nursery.wait_ranks()) == {EXIT_STOPPED}
        stops.append(len(read_steps(spec.work / "losses.jsonl")))
    assert 8 <= stops[0] < 15 <= stops[1] < 60
    assert nursery.run(spec) == 0
    expected = read_steps(calm.destination / "losses.jsonl")
    found = read_steps(spec.destination / "losses.jsonl")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=2e-5)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_and_says_so(nursery: Nursery, tmp_path: Path, number: int) -> None:
    spec = make_spec(tmp_path)
    # A save is due only at the end: the stop itself must save.
    spec = spec.model_copy(update={"checkpoints": CheckpointConfig(every_steps=1000)})
    slow = spec.model_copy(update={"training": spec.training.model_copy(update={"steps": 3000})})
    child = nursery.start(slow)
    wait_for_step(slow, 5)
    began = time.monotonic()
    os.kill(child, number)
    assert nursery.wait() == EXIT_STOPPED
    assert time.monotonic() - began < 10
    outcome = read_outcome(slow.work)
    assert outcome is not None
    assert outcome.state == "stopped"
    assert outcome.step >= 5
    assert [p.name for p in (slow.work / "checkpoints").iterdir()] == [f"step-{outcome.step:08d}"]
    assert len(read_steps(slow.work / "losses.jsonl")) == outcome.step
    assert not slow.destination.exists()


def test_another_trainings_checkpoint_is_refused(unbroken: TrainSpec, nursery: Nursery) -> None:
    other = TrainConfig.model_validate(unbroken.training.model_dump() | {"learning_rate": 0.5})
    assert nursery.run(unbroken.model_copy(update={"training": other})) == EXIT_MISTAKE
    outcome = read_outcome(unbroken.work)
    assert outcome is not None
    assert outcome.state == "failed"
    assert "training.learning_rate (0.01 there, 0.5 here)" in outcome.message
    assert "another work folder" in outcome.message


def test_a_damaged_checkpoint_is_passed_over(
    unbroken: TrainSpec, tmp_path: Path, nursery: Nursery
) -> None:
    spec = make_spec(tmp_path)
    assert nursery.run(spec) == 0
    newest = spec.work / "checkpoints" / "step-00000020"
    (state,) = newest.glob("state-*.safetensors")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    shutil.rmtree(spec.destination)
    assert nursery.run(spec) == 0
    assert files_of(spec.destination) == files_of(unbroken.destination)


def test_a_token_outside_the_vocabulary_is_named(tmp_path: Path, nursery: Nursery) -> None:
    import numpy as np

    spec = make_spec(tmp_path)
    path = spec.shards / "train" / "shard-00003-000.npy"
    tokens = np.load(path)
    tokens[4, 2] = 62
    np.save(path, tokens)
    assert nursery.run(spec) == EXIT_MISTAKE
    outcome = read_outcome(spec.work)
    assert outcome is not None
    assert "train/shard-00003-000.npy row 4 holds token 62" in outcome.message


def test_an_orphan_ends_at_once(tmp_path: Path) -> None:
    """Killed with -9, a supervisor leaves no trainer behind, not even one that is starting."""
    import subprocess
    import sys

    supervisor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    spec = make_spec(tmp_path, steps=100_000)
    child = start(spec, WEBTEXT_SUPERVISOR_PID=str(supervisor.pid))
    try:
        wait_for_step(spec, 3)
        supervisor.kill()
        supervisor.wait()
        child.communicate(timeout=3)
        assert child.returncode == 70
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["deepspeed", "torchrun"])
def test_launchers(tmp_path: Path, unbroken: TrainSpec, launcher: str) -> None:
    spec = make_spec(tmp_path)
    code, output = run(spec, 1, launcher)  # type: ignore[arg-type]
    assert code == 0, output
    assert files_of(spec.destination) == files_of(unbroken.destination)


def test_commands(tmp_path: Path) -> None:
    from model.errors import SettingsError

    path = write_spec(make_spec(tmp_path, cpu_threads=2))
    command, environment = launch_command(path)
    assert command[1:] == ["-m", "model.train", "--spec", str(path)]
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["OMP_WAIT_POLICY"] == os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    assert environment["WEBTEXT_SUPERVISOR_PID"] == str(os.getpid())
    with pytest.raises(SettingsError, match="2 ranks need launcher"):
        launch_command(path, ranks=2)
