"""Looks that the caller takes during training: no byte of the model changes, a stop ends them."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from model.config import CheckpointConfig, ProbeSpec, TrainSpec
from model.errors import SettingsError
from model.launch import EXIT_STOPPED, saved_step
from model.likelihood import GPT2Scorer
from model.probe import find_function
from model.trace import read_steps
from tests.model.nursery import Nursery, wait_for_step
from tests.model.trainings import files_of, make_spec


def likelihood(
    scorer: GPT2Scorer, arguments: Mapping[str, Any], progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """How likely a sequence is to the network; takes as long as its arguments say."""
    for turn in range(arguments["turns"]):
        time.sleep(arguments["pause_s"])
        progress(turn, arguments["turns"])
    ((logs, _),) = scorer.log_likelihoods([[1, 2, 3, 4]], [1])
    return [{"column": "made_up", "value": float(logs.sum()), "items": 1}]


def probed_spec(folder: Path, name: str, turns: int = 2, pause_s: float = 0.0) -> TrainSpec:
    probe = ProbeSpec(
        function=f"{__name__}:likelihood",
        every_steps=8,
        arguments={"turns": turns, "pause_s": pause_s},
    )
    return make_spec(folder, name).model_copy(update={"probe": probe})


def without_scores(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name != "zero_shot.jsonl"}


def test_looks_leave_the_model_alone(tmp_path: Path, nursery: Nursery) -> None:
    calm, spec = make_spec(tmp_path, "calm"), probed_spec(tmp_path, "probed")
    assert nursery.run(calm) == nursery.run(spec) == 0
    assert without_scores(files_of(spec.destination)) == files_of(calm.destination)
    lines = read_steps(spec.destination / "zero_shot.jsonl")
    assert [line["step"] for line in lines] == [8, 16, 20]
    values = [line["scores"][0]["value"] for line in lines]
    assert len(set(values)) == 3
    shown = {
        line["step"]: line["zero_shot/made_up"]
        for line in read_steps(spec.work / "metrics.jsonl")
        if "zero_shot/made_up" in line
    }
    assert shown == dict(zip((8, 16, 20), values, strict=True))


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stop_ends_a_look_which_is_taken_again(
    tmp_path: Path, nursery: Nursery, ranks: int
) -> None:
    calm = probed_spec(tmp_path, "calm", turns=1)
    assert nursery.run(calm, ranks) == 0
    slow = probed_spec(tmp_path, "stopped", turns=400, pause_s=0.05)
    rare = CheckpointConfig(every_steps=100, milestones=(6,))
    slow = slow.model_copy(update={"checkpoints": rare})
    children = nursery.start_ranks(slow, ranks)
    wait_for_step(slow, 7)
    time.sleep(0.5)  # a step takes less, the look after step 8 twenty seconds
    began = time.monotonic()
    os.kill(children[-1], signal.SIGTERM)
    assert set(nursery.wait_ranks()) == {EXIT_STOPPED}
    assert time.monotonic() - began < 5
    assert saved_step(slow.work) == 8
    assert read_steps(slow.work / "zero_shot.jsonl") == []
    assert slow.probe is not None
    quick = slow.probe.model_copy(update={"arguments": {"turns": 1, "pause_s": 0.0}})
    assert nursery.run(slow.model_copy(update={"probe": quick}), ranks) == 0
    assert files_of(slow.destination) == files_of(calm.destination)
    metrics = {line["step"]: line for line in read_steps(slow.work / "metrics.jsonl")}
    assert "zero_shot/made_up" in metrics[8]


def test_a_function_that_is_not_there() -> None:
    probe = ProbeSpec(function="tests.model.test_probe:nothing", every_steps=1)
    with pytest.raises(SettingsError, match=r"test_probe:nothing.*expected MODULE:FUNCTION"):
        find_function(probe)
