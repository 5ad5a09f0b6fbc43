"""Intervals: they hold the truth as often as they say, alone and in pairs, whatever the blocks."""

import numpy as np
import pytest

from eval import intervals
from eval.intervals import paired_interval, ratio_interval, widening


@pytest.mark.parametrize("items", [5, 20, 400])
def test_19_of_20_intervals_hold_the_truth(items: int) -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        found = ratio_interval(
            generator.normal(3.0, 1.0, items), np.ones(items), samples=300, seed=trial
        )
        assert found is not None
        held += found[0] <= 3.0 <= found[1]
    # 380 of 400 are expected, with a standard deviation of 4.4.
    assert 365 <= held <= 395


def test_widening_of_few_items() -> None:
    # √(20 / 19) · t(19; 0.975) / z: 1.0260 · 2.0930 / 1.9600
    assert widening(20) == pytest.approx(1.0956, abs=1e-4)
    assert widening(5153) < 1.001
    assert widening(2) > 9


def test_one_item_has_no_interval() -> None:
    one = np.ones(1)
    assert ratio_interval(one, one, samples=10, seed=0) is None
    assert paired_interval(one, one, one, samples=10, seed=0) is None


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=1000)
    units = np.arange(1.0, 1001.0)
    whole = ratio_interval(values, units, samples=101, seed=4)
    monkeypatch.setattr(intervals, "BLOCK_DRAWS", 3000)
    assert ratio_interval(values, units, samples=101, seed=4) == whole


def test_a_paired_difference_is_narrow() -> None:
    generator = np.random.default_rng(3)
    shared = generator.normal(5.0, 3.0, 500)
    first = shared + generator.normal(0.0, 0.1, 500)
    second = shared + 0.03 + generator.normal(0.0, 0.1, 500)
    units = np.ones(500)
    found = paired_interval(first, second, units, samples=2000, seed=0)
    alone = ratio_interval(first, units, samples=2000, seed=0)
    assert found is not None
    assert alone is not None
    (low, high), larger = found
    assert low < np.mean(second - first) < high
    # 2 · 1.96 · 0.1 · √2 / √500
    assert high - low == pytest.approx(0.0248, rel=0.15)
    assert high - low < (alone[1] - alone[0]) / 10
    assert larger > 0.9
    same = paired_interval(first, first, units, samples=50, seed=0)
    assert same == ((0.0, 0.0), 0.5)
