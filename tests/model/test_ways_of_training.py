"""Whole trainings in other ways than most: bf16, compiled, and with the monitors watching."""

import os
import shutil
from pathlib import Path

import pytest

from model.config import MonitorConfig
from model.launch import EXIT_STOPPED
from model.trace import read_steps
from tests.model.nursery import Nursery, wait_for_step
from tests.model.trainings import files_of, make_spec, run, start

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


@pytest.mark.slow
def test_bf16_is_bitwise_over_a_stop(tmp_path: Path, nursery: Nursery) -> None:
    calm = make_spec(tmp_path, "calm", dtype="bf16", steps=40)
    assert nursery.run(calm) == 0
    losses = [line["loss"] for line in read_steps(calm.destination / "losses.jsonl")]
    assert losses[-1] < losses[0] - 0.05
    exact = make_spec(tmp_path, "fp32", steps=40)
    assert nursery.run(exact) == 0
    expected = [line["loss"] for line in read_steps(exact.destination / "losses.jsonl")]
    assert losses != expected
    assert losses[0] == pytest.approx(expected[0], abs=0.02)
    spec = make_spec(tmp_path, "stopped", dtype="bf16", steps=40)
    child = nursery.start(spec)
    wait_for_step(spec, 9)
    os.kill(child, 15)
    assert nursery.wait() == EXIT_STOPPED
    assert nursery.run(spec) == 0
    assert files_of(spec.destination) == files_of(calm.destination)


@needs_compiler
@pytest.mark.slow
def test_compiled(tmp_path: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated code gives the plain network's losses to rounding; without it none is made."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    changes = {"steps": 8, "sequences_per_step": 2, "micro_batch": 2, "learning_rate": 1e-3}
    spec = make_spec(tmp_path, "compiled", compile=True, **changes)
    without = spec.network.model_copy(update={"dropout": 0.0})
    plain = make_spec(tmp_path, "plain", **changes).model_copy(update={"network": without})
    code, output = run(plain)
    assert code == 0, output
    assert not cache.exists() or not list(cache.rglob("*.so"))
    child = start(spec.model_copy(update={"network": without}))
    output, _ = child.communicate(timeout=400)
    assert child.returncode == 0, output
    assert list(cache.rglob("*.so"))
    for ours, theirs in zip(
        read_steps(spec.destination / "losses.jsonl"),
        read_steps(plain.destination / "losses.jsonl"),
        strict=True,
    ):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the packages of the extra monitors")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = make_spec(tmp_path).model_copy(update={"monitors": MonitorConfig(tensorboard=True)})
    code, output = run(spec)
    assert code == 0, output
    (events,) = (spec.work / "monitor").rglob("events.out.*")
    shown = EventAccumulator(str(events.parent)).Reload()
    losses = [line["loss"] for line in read_steps(spec.destination / "losses.jsonl")]
    assert [event.value for event in shown.Scalars("train/loss")] == pytest.approx(losses)


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the packages of the extra monitors")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    spec = make_spec(tmp_path).model_copy(update={"monitors": MonitorConfig(wandb=True)})
    code, output = run(spec)
    assert code == 0, output
    (log,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"train/loss" in log.read_bytes()
