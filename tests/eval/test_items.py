"""Windows score every token once, continuations keep what is scored, samples are seeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.items import (
    Item,
    Limits,
    Request,
    boundary_and,
    continuation,
    share_units,
    windows,
    windows_without_boundary,
)
from eval.scorer import END_OF_TEXT


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int32)


@settings(deadline=None, max_examples=200)
@given(length=st.integers(1, 60), window=st.integers(1, 20), fill=st.booleans())
def test_windows_score_each_token_once(length: int, window: int, fill: bool) -> None:
    sequence = boundary_and(np.arange(length, dtype=np.int32))
    found = list(windows(sequence, window, fill_last=fill))
    scored = np.concatenate([request.tokens[request.scored_from :] for request in found])
    assert scored.tolist() == list(range(length))
    assert all(request.scored_from >= 1 for request in found)
    assert all(len(request.tokens) - 1 <= window for request in found)
    if fill and length >= window:
        assert len(found[-1].tokens) - 1 == window


def test_the_first_token_of_windows_without_boundary_is_not_scored() -> None:
    found = list(windows_without_boundary(np.arange(9, dtype=np.int32), 4))
    assert [request.tokens.tolist() for request in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all(request.scored_from == 1 for request in found)


@pytest.mark.parametrize(
    ("context", "scored", "kept", "start"),
    [
        (ids(1, 2, 3), ids(8, 9), [1, 2, 3, 8, 9], 3),
        (ids(1, 2, 3, 4, 5), ids(8, 9), [3, 4, 5, 8, 9], 3),
        (ids(), ids(8, 9), [END_OF_TEXT, 8, 9], 1),
        (ids(1), ids(4, 5, 6, 7, 8, 9), [5, 6, 7, 8, 9], 1),
    ],
)
def test_continuations_are_cut_from_the_left(
    context: np.ndarray, scored: np.ndarray, kept: list[int], start: int
) -> None:
    request = continuation(context, scored, 4)
    assert (request.tokens.tolist(), request.scored_from) == (kept, start)


@settings(deadline=None, max_examples=100)
@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=9), units=st.integers(0, 500))
def test_shared_units_add_up(lengths: list[int], units: int) -> None:
    requests = [Request(np.zeros(length, dtype=np.int32), 1) for length in lengths]
    items = list(share_units(requests, units))
    assert sum(item.units for item in items) == units
    assert [item.index for item in items] == list(range(len(lengths)))


def test_samples_are_drawn_by_the_seed() -> None:
    limits = Limits(max_items=5, max_tokens=None, seed=1)
    chosen = limits.choose(100, "passages")
    assert chosen == limits.choose(100, "passages") == sorted(set(chosen))
    assert len(chosen) == 5
    assert chosen != Limits(5, None, 2).choose(100, "passages")
    assert limits.describe(100, "passages") == "5 of 100 passages drawn by seed 1"
    assert limits.describe(5, "passages") is None
    assert list(limits.choose(3, "passages")) == [0, 1, 2]


def test_scoring_stops_after_enough_tokens() -> None:
    item = Item(0, (Request(ids(1, 2, 3), 1),), 1)
    assert len(list(Limits(None, 5, 0).stop([item] * 9))) == 3
    assert len(list(Limits(None, 1, 0).stop([item] * 9))) == 1
    assert len(list(Limits(None, None, 0).stop([item] * 9))) == 9
