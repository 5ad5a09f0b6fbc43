"""Batches read ahead: the same as read in place, for every rank, with errors where they belong."""

# ruff: noqa: N806  names of tensors end in their shape

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batches import Batches, read_batch, share_of
from model.config import TrainSpec
from model.errors import ShardsError
from model.sequences import Order, Shards
from tests.model.trainings import CONTEXT, make_spec

CPU = torch.device("cpu")


def order_of(spec: TrainSpec) -> Order:
    shards = Shards(spec.shards, "train", CONTEXT)
    return Order(shards, spec.training.seed, spec.training.sequences_per_step)


def threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_each_step(tmp_path: Path, ranks: int) -> None:
    spec = make_spec(tmp_path, sequences_per_step=8, micro_batch=2)
    order = order_of(spec)
    for rank in range(ranks):
        with Batches(order, spec, 3, rank, ranks) as batches:
            for step in (3, 4, 5):
                indices = order.step_indices(step)
                for micro in range(4 // ranks):
                    batch = batches.take(CPU)
                    share = share_of(indices, micro * ranks + rank, 2)
                    tokens_BT, targets_BT = read_batch(order.shards, share, spec)
                    assert torch.equal(batch.tokens_BT, tokens_BT)
                    assert torch.equal(batch.targets_BT, targets_BT)
                    assert batch.predicted == order.predicted_tokens(step)
    assert threads() == 0


def test_it_reads_ahead_but_not_without_bound(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    order = order_of(spec)
    asked: list[int] = []
    whole = order.step_indices
    order.step_indices = lambda step: asked.append(step) or whole(step)  # type: ignore[method-assign, func-returns-value]
    with Batches(order, spec, 1, 0, 1) as batches:
        deadline = time.monotonic() + 10
        while 3 not in asked and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert max(asked) == 3  # two micro-batches a step: four are ready, one is in the hand
        batches.take(CPU)
    assert threads() == 0


def test_waiting_is_counted(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    order = order_of(spec)
    whole = order.step_indices

    def slow(step: int) -> np.ndarray:
        time.sleep(0.2)
        return whole(step)

    order.step_indices = slow  # type: ignore[method-assign]
    with Batches(order, spec, 1, 0, 1) as batches:
        batches.take(CPU)
        assert 0.1 < batches.waited_s < 5


def test_an_error_comes_with_its_batch(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    order = order_of(spec)
    bad = order.shards.address(int(order.step_indices(2)[1]))
    tokens = np.load(spec.shards / bad.shard)
    tokens[bad.row, 5] = 61
    np.save(spec.shards / bad.shard, tokens)
    with Batches(order_of(spec), spec, 1, 0, 1) as batches:
        for _good in range(2):
            batches.take(CPU)
        with pytest.raises(ShardsError, match=f"{bad.shard} row {bad.row} holds token 61"):
            batches.take(CPU)
    assert threads() == 0
