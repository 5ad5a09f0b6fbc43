"""Figures of a training's speed, the learning rate's course, and the curve of its losses."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from pydantic import ValidationError

from model.config import TrainConfig
from model.curve import loss_curve
from model.pace import Pace, memory_peak, peak_of
from model.schedule import learning_rate_at
from model.speed import step_operations
from tests.model.trainings import make_spec


def test_peaks_are_found_by_whole_words() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak_of("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_of("NVIDIA A100-SXM4-80GB", "fp32") == 19.5e12
    assert peak_of("NVIDIA L40S", "bf16") == 362e12
    assert peak_of("NVIDIA L4", "bf16") == 121e12
    for unlisted in ("NVIDIA L40", "NVIDIA H1000", "cpu", "Tesla V100"):
        assert peak_of(unlisted, "bf16") is None


def test_mfu_is_the_models_arithmetic_by_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(tmp_path)
    pace = Pace(spec, torch.device("cpu"), 2, 1)
    pace.peak = 1e9
    moments = iter([10.0, 12.0])
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    pace.begin_step()
    figures = pace.end_step(1, 0.5)
    tokens = 4 * 32
    share = step_operations(spec.network, tokens) / (2.0 * 2 * 1e9)
    assert figures["mfu"] == pytest.approx(share, abs=1e-4)
    assert figures["mfu"] != 0
    assert figures["tokens_per_second"] == 64
    assert figures["stall_share"] == 0.25
    assert figures["step_p50_s"] == figures["step_p99_s"] == 2


def test_memory_is_counted_in_bytes() -> None:
    assert 2**26 < memory_peak(torch.device("cpu")) < 2**36


def rates(**changes: object) -> list[float]:
    settings = {"steps": 20, "sequences_per_step": 1, "learning_rate": 1.0} | changes
    config = TrainConfig.model_validate(settings)
    return [learning_rate_at(config, step) for step in range(1, 21)]


def test_constant_decay() -> None:
    found = rates(
        schedule="constant_decay", warmup_steps=4, decay_steps=4, min_learning_rate_ratio=0.2
    )
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[3:16] == [1.0] * 13
    assert found[16:] == pytest.approx([0.2 + 0.8 * (1 - (i / 4) ** 0.5) for i in (1, 2, 3, 4)])
    assert found[-1] == pytest.approx(0.2)


def test_other_schedules_end_at_the_least_rate() -> None:
    for schedule in ("cosine", "linear"):
        found = rates(schedule=schedule, warmup_steps=2, min_learning_rate_ratio=0.1)
        assert found[:2] == [0.5, 1.0]
        assert found == sorted(found[:2]) + sorted(found[2:], reverse=True)
        assert found[-1] == pytest.approx(0.1)
    assert rates(schedule="constant", warmup_steps=1) == [1.0] * 20


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "constant_decay"},
        {"schedule": "cosine", "decay_steps": 3},
        {"schedule": "constant_decay", "decay_steps": 15, "warmup_steps": 6},
    ],
)
def test_a_decay_without_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="decay_steps"):
        rates(**changes)


def trace(steps: int) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [
        {"step": s, "loss": 4.0 + 7.0 / s if s != 5 else None} for s in range(1, steps + 1)
    ]
    lines[-1]["validation_loss"] = 4.25
    return lines


@pytest.mark.parametrize("steps", [1, 2, 7, 3000])
def test_a_curve_is_whole_and_bounded(steps: int) -> None:
    text = loss_curve(trace(steps))
    assert text == loss_curve(trace(steps))
    root = ElementTree.fromstring(text)
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert 0 < len(points) <= 360
    assert all(0 <= x <= 720 and 0 <= y <= 320 for x, y in points)
    heights = [y for _, y in points]
    assert heights == sorted(heights)  # the loss falls, so the line goes down
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 1
    assert len(text) < 12_000


def test_a_curve_of_nothing() -> None:
    ElementTree.fromstring(loss_curve([]))
    ElementTree.fromstring(loss_curve([{"step": 1, "loss": None}]))
    ElementTree.fromstring(loss_curve([{"step": s, "loss": 3.0} for s in (1, 2)]))
