"""Steps that go wrong: found by z-score, answered as configured, the same after every kill."""

import copy
import json
import math
import random
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.nn import functional

from model.config import SpikeConfig, TrainSpec
from model.errors import DivergedError
from model.gpt2 import build_gpt2
from model.launch import EXIT_MISTAKE, read_outcome
from model.schedule import learning_rate_at
from model.sequences import Order, Shards, sequences_of_step
from model.spikes import SpikeWatch, refused_at_end
from model.trace import read_steps
from tests.model.nursery import Nursery
from tests.model.test_train import kill_and_resume
from tests.model.trainings import CONTEXT, files_of, make_spec

Action = Literal["record", "skip", "roll_back"]


def steady(count: int = 10, **changes: Any) -> SpikeWatch:
    trace = [
        {"loss": 4 + 0.1 * (-1) ** i, "gradient_norm": 1 + 0.01 * (-1) ** i} for i in range(count)
    ]
    settings = {"window_steps": 10, "z_score": 5.0} | changes
    return SpikeWatch(SpikeConfig.model_validate(settings), trace, 0)


def test_z_scores() -> None:
    watch = steady()
    assert watch.judge(4.49, 1.0) is None
    spike = watch.judge(4.51, 1.0)
    assert spike is not None
    assert spike.kind == "loss"
    assert spike.z_loss == pytest.approx(5.1)
    assert spike.z_gradient_norm == pytest.approx(0.0, abs=1e-9)
    loud = watch.judge(4.0, 1.06)
    assert loud is not None
    assert loud.kind == "gradient_norm"
    assert watch.judge(-100.0, -100.0) is None  # far below is no harm
    assert steady(9).judge(400.0, 100.0) is None  # the window is not full


def test_a_constant_loss_is_not_measured_by_rounding() -> None:
    trace = [{"loss": 4.0, "gradient_norm": 1.0}] * 10
    watch = SpikeWatch(SpikeConfig(window_steps=10), trace, 0)
    assert watch.judge(4.001, 1.0001) is None
    assert watch.judge(4.1, 1.0) is not None


@pytest.mark.parametrize("action", ["record", "skip", "roll_back"])
def test_what_is_no_number_never_updates(action: Action) -> None:
    watch = steady(action=action)
    for loss, norm in ((math.nan, 1.0), (4.0, math.inf), (4.0, math.nan)):
        spike = watch.judge(loss, norm)
        assert spike is not None
        assert spike.kind == "non_finite"
        assert not watch.accepts(loss, norm)
    assert watch.accepts(40.0, 1.0) == (action == "record")


def test_numbers_that_are_none_do_not_enter_the_window() -> None:
    watch, other = steady(), steady()
    watch.take(math.nan, 1.0)
    assert watch.judge(4.51, 1.0) == other.judge(4.51, 1.0)


def test_too_many_in_a_row_end_the_training() -> None:
    watch = steady(most_in_a_row=3)
    watch.take(math.nan, 1.0)
    watch.take(math.nan, 1.0)
    watch.take(4.0, 1.0)
    watch.take(math.nan, 1.0)
    watch.take(math.nan, 1.0)
    with pytest.raises(DivergedError, match="3 steps in a row"):
        watch.take(math.nan, 1.0)


def test_the_row_is_found_again() -> None:
    lines = [{"step": 4, "action": "skipped"}, {"step": 6, "action": "skipped"}]
    lines += [{"step": 7, "action": "rolled_back"}, {"step": 8, "action": "recorded"}]
    assert [refused_at_end(lines, step) for step in (4, 5, 6, 7, 8)] == [1, 0, 1, 2, 0]
    assert refused_at_end([], 3) == 0


def jumpy(folder: Path, action: Action, name: str = "run", **changes: Any) -> TrainSpec:
    """A training in which many steps count as spikes."""
    spikes = SpikeConfig(
        action=action, z_score=1.2, window_steps=5, roll_back_every_steps=5, most_in_a_row=40
    )
    settings: dict[str, Any] = {"steps": 40, "validation_every_steps": 0, "spikes": spikes}
    spec = make_spec(folder, name, **(settings | changes))
    return spec.model_copy(update={"network": spec.network.model_copy(update={"dropout": 0.0})})


def plain_losses(spec: TrainSpec) -> tuple[list[float], dict[int, int | None]]:
    """The same in plain PyTorch; each spike's step with the step that it went back to."""
    config = spec.training
    network = build_gpt2(spec.network, config.seed)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in network.parameters() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in network.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ],
        betas=(config.beta1, config.beta2),
    )
    shards = Shards(spec.shards, "train", CONTEXT)
    order = Order(shards, config.seed, config.sequences_per_step)
    watch, losses, spikes = SpikeWatch(config.spikes, [], 0), [], {}
    kept: dict[int, Any] = {}
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config, step)
        tokens, targets = (torch.from_numpy(a) for a in shards.read(order.step_indices(step)))
        logits = network.logits(network.hidden_states(tokens)).flatten(0, 1)
        loss = functional.cross_entropy(logits, targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip).item()
        losses.append(loss.item())
        if watch.accepts(loss.item(), norm):
            optimizer.step()
        if watch.take(loss.item(), norm) is not None:
            base = (step - 1) // 5 * 5 if config.spikes.action == "roll_back" else 0
            spikes[step] = base or None
            if base:
                network.load_state_dict(kept[base][0])
                optimizer.load_state_dict(copy.deepcopy(kept[base][1]))
        if step % 5 == 0:
            kept[step] = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
    return losses, spikes


def assert_answers_like_plain(spec: TrainSpec) -> None:
    losses, spikes = plain_losses(spec)
    found = read_steps(spec.destination / "losses.jsonl")
    assert [line["loss"] for line in found] == pytest.approx(losses, abs=2e-5)
    lines = read_steps(spec.destination / "spikes.jsonl")
    assert {line["step"]: line.get("rolled_back_to") for line in lines} == spikes
    assert len(spikes) >= 2


@pytest.mark.parametrize("action", ["record", "skip", "roll_back"])
def test_answers(nursery: Nursery, tmp_path: Path, action: Action) -> None:
    spec = jumpy(tmp_path, action)
    assert nursery.run(spec) == 0
    assert_answers_like_plain(spec)
    for line in read_steps(spec.destination / "spikes.jsonl"):
        expected = sequences_of_step(
            spec.shards, seed=5, step=line["step"], sequences_per_step=4, context=CONTEXT
        )
        assert [tuple(address) for address in line["sequences"]] == expected
        assert line["kind"] in ("loss", "gradient_norm")
        known = {"record": "recorded", "skip": "skipped"}
        back = line.get("rolled_back_to")
        assert line["action"] == ("rolled_back" if back else known.get(action, "skipped"))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
@pytest.mark.parametrize("action", ["skip", "roll_back"])
def test_answers_under_zero(
    nursery: Nursery, tmp_path: Path, action: Action, zero_stage: int, ranks: int
) -> None:
    spec = jumpy(tmp_path, action, zero_stage=zero_stage)
    assert nursery.run(spec, ranks) == 0
    assert_answers_like_plain(spec)


@pytest.mark.slow
def test_kills_change_no_answer(nursery: Nursery, tmp_path: Path) -> None:
    calm = jumpy(tmp_path, "roll_back", "calm")
    assert nursery.run(calm) == 0
    spec = jumpy(tmp_path, "roll_back", "killed")
    often = spec.checkpoints.model_copy(update={"every_steps": 3, "keep_last": 1})
    kill_and_resume(spec.model_copy(update={"checkpoints": often}), nursery, random.Random(4), 4)
    assert files_of(spec.destination) == files_of(calm.destination)


@pytest.mark.parametrize("zero_stage", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_that_diverges_ends_with_advice(
    nursery: Nursery, tmp_path: Path, zero_stage: int
) -> None:
    spikes = SpikeConfig(most_in_a_row=6)
    spec = make_spec(
        tmp_path,
        learning_rate=1e30,
        warmup_steps=0,
        validation_every_steps=0,
        zero_stage=zero_stage,
        spikes=spikes,
    )
    assert nursery.run(spec) == EXIT_MISTAKE
    outcome = read_outcome(spec.work)
    assert outcome is not None
    assert "6 steps in a row" in outcome.message
    assert "lower the learning rate" in outcome.message
    lines = [json.loads(line) for line in (spec.work / "spikes.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"non_finite"}
    assert {line["action"] for line in lines} == {"skipped"}
    assert all(line["loss"] is None or line["gradient_norm"] is None for line in lines)
