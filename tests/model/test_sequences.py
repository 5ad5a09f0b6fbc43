"""The loader: order without replacement, targets across rows, addresses both ways."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ShardsError
from model.sequences import (
    Order,
    Permutation,
    SequenceAddress,
    Shards,
    sequences_of_step,
    shards_identity,
    steps_of_sequence,
    validation_indices,
)
from tests.model.trainings import CONTEXT, write_shards


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 700), key=st.binary(min_size=1, max_size=32))
def test_permutation_is_a_bijection_with_inverse(size: int, key: bytes) -> None:
    permutation = Permutation(size=size, key=key)
    everything = np.arange(size, dtype=np.int64)
    image = permutation.forward(everything)
    assert sorted(image.tolist()) == everything.tolist()
    assert permutation.inverse(image).tolist() == everything.tolist()


def test_permutation_seeks_in_a_corpus_of_any_size() -> None:
    permutation = Permutation(size=9_000_000_000_000, key=b"far")
    places = np.array([0, 8_999_999_999_999, 123_456_789_012], dtype=np.int64)
    assert permutation.inverse(permutation.forward(places)).tolist() == places.tolist()


def test_permutation_looks_random() -> None:
    """Neighbours land apart and every stretch of the order samples the whole corpus evenly."""
    size = 20_000
    image = Permutation(size=size, key=b"k").forward(np.arange(size, dtype=np.int64))
    assert abs(np.corrcoef(np.arange(size), image)[0, 1]) < 0.03
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.03
    counts = np.histogram(image[:2000], bins=20)[0]
    # Without replacement, 100 a bin with a deviation of 9.2: five deviations.
    assert np.abs(counts - 100).max() < 46
    gaps = np.diff(image[:1000])
    assert len(np.unique(gaps)) > 950


def test_known_order_does_not_change() -> None:
    """Trainings of earlier versions stay traceable: pinned."""
    image = Permutation(size=10, key=b"sequences/0/0").forward(np.arange(10, dtype=np.int64))
    assert image.tolist() == PINNED_ORDER


PINNED_ORDER = [5, 0, 6, 3, 8, 1, 9, 4, 7, 2]


def test_targets_cross_rows_inside_a_shard_only(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path), "train", CONTEXT)
    assert shards.names == [f"train/shard-{n:05d}-000.npy" for n in (0, 2, 3)]
    tokens, targets = shards.read(np.arange(shards.sequences, dtype=np.int64))
    assert tokens.shape == targets.shape == (23, CONTEXT)
    np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
    for index in range(shards.sequences):
        last_of_shard = index in (6, 11, 22)
        expected = -100 if last_of_shard else tokens[index + 1, 0]
        assert targets[index, -1] == expected
        assert shards.predicted(index) == (targets[index] != -100).sum()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**40), per_step=st.integers(1, 30))
def test_every_epoch_visits_every_sequence_once(seed: int, per_step: int) -> None:
    order = Order(_Stub(23), seed, per_step)
    steps = -(-3 * 23 // per_step)
    visited = np.concatenate([order.step_indices(s) for s in range(1, steps + 1)])
    for epoch in range(3):
        assert sorted(visited[epoch * 23 : (epoch + 1) * 23].tolist()) == list(range(23))
    for index in (0, 11, 22):
        places = np.flatnonzero(visited == index)
        assert order.steps_of(np.array([index]), steps).tolist() == sorted(
            {*(places // per_step + 1)}
        )


class _Stub(Shards):
    """As many sequences as one likes, without files."""

    def __init__(self, sequences: int) -> None:
        self.rows = [sequences]
        self.names = ["train/a.npy"]
        self.ends = np.array([sequences])


def test_epochs_and_seeds_differ() -> None:
    first = Order(_Stub(1000), 1, 1000)
    assert first.step_indices(1).tolist() != first.step_indices(2).tolist()
    assert first.step_indices(1).tolist() != Order(_Stub(1000), 2, 1000).step_indices(1).tolist()


def test_step_and_sequence_are_found_from_each_other(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    read = {
        step: sequences_of_step(folder, seed=9, step=step, sequences_per_step=4, context=CONTEXT)
        for step in range(1, 13)
    }
    assert all(len(addresses) == 4 for addresses in read.values())
    for address in (SequenceAddress("train/shard-00000-000.npy", 6), read[12][3]):
        expected = [step for step, addresses in read.items() if address in addresses]
        found = steps_of_sequence(
            folder, address, seed=9, steps=12, sequences_per_step=4, context=CONTEXT
        )
        assert found == expected
        assert found


def test_wrong_shards_are_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    path = folder / "train" / "shard-00002-000.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ShardsError, match=r"shard-00002-000.npy is truncated: 310 .* expected 320"):
        Shards(folder, "train", CONTEXT)
    path.write_bytes(b"no array")
    with pytest.raises(ShardsError, match=r"not a \.npy"):
        Shards(folder, "train", CONTEXT)
    np.save(path, np.zeros((2, CONTEXT), dtype=np.int32))
    with pytest.raises(ShardsError, match=r"int32 .* expected uint16"):
        Shards(folder, "train", CONTEXT)
    path.write_bytes(whole)
    with pytest.raises(ShardsError, match=r"expected uint16 of shape \(rows, 1024\)"):
        Shards(folder, "train", 1024)
    with pytest.raises(ShardsError, match="no sequence"):
        Order(Shards(folder, "nothing", CONTEXT), 0, 1)


def test_validation_choice_is_stable_and_bounded(tmp_path: Path) -> None:
    shards = Shards(write_shards(tmp_path), "validation", CONTEXT)
    assert validation_indices(shards, 100).tolist() == [0, 1, 2, 3, 4]
    few = validation_indices(shards, 2).tolist()
    assert few == sorted(few)
    assert set(few) < set(range(5))
    assert validation_indices(Shards(tmp_path, "nothing", CONTEXT), 5).tolist() == []


def test_identity_is_the_manifest_or_the_content(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    first = shards_identity(folder)
    assert first.startswith("unsealed-")
    path = folder / "train" / "shard-00000-000.npy"
    array = np.load(path)
    array[0, 0] += 1
    np.save(path, array)
    assert shards_identity(folder) != first
    (folder / "manifest.json").write_text('{"fingerprint": "abc"}')
    assert shards_identity(folder) == "abc"
