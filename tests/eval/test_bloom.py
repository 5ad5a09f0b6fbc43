"""The Bloom filter: no false no, few false yeses, the same bytes compiled or not."""

import numpy as np
import pytest

from eval import bloom
from eval.bloom import build_filter, contains, false_positive_rate, shape_for
from eval.overlap_ngrams import compiled


def keys(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)
    return np.unique(drawn)


@pytest.fixture
def in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom, "compiled", None)


@pytest.mark.parametrize("count", [0, 1, 7, 700, 50_000])
@pytest.mark.parametrize("rate", [0.5, 1e-2, 1e-8, 4.4e-12])
def test_it_holds_what_it_was_given(count: int, rate: float) -> None:
    given = keys(count)
    bits, shape = build_filter(given, rate)
    assert bits.shape == (shape.blocks, 4096)
    assert contains(bits, shape.probes, given[::-1]).all()
    assert false_positive_rate(bits, shape.probes) <= rate


@pytest.mark.parametrize("rate", [1e-1, 1e-2, 1e-3])
def test_false_yeses_are_as_many_as_its_bits_say(rate: float) -> None:
    bits, shape = build_filter(keys(50_000), rate)
    asked = keys(200_000, seed=1)
    measured = contains(bits, shape.probes, asked).mean()
    computed = false_positive_rate(bits, shape.probes)
    assert computed <= rate
    assert computed > rate / 2  # and no larger than needed
    deviation = np.sqrt(computed * (1 - computed) / len(asked))
    assert abs(measured - computed) < 5 * deviation


def test_a_strict_filter_says_no_to_strangers() -> None:
    bits, shape = build_filter(keys(20_000), 1e-8)
    assert contains(bits, shape.probes, keys(200_000, seed=2)).sum() == 0


def test_a_strict_filter_takes_the_textbook_bits_and_little_more() -> None:
    shape = shape_for(1_000_000, 1e-8)
    bits_a_key = shape.blocks * 4096 * 8 / 1_000_000
    assert 38.3 < bits_a_key < 39.2  # Bloom: log2(1e8) / ln 2 = 38.34
    assert shape.probes == 27


@pytest.mark.skipif(compiled is None, reason="the compiled form was not built")
@pytest.mark.parametrize("count", [0, 1, 70_000])
@pytest.mark.parametrize("rate", [1e-3, 4.4e-12])
def test_compiled_and_numpy_give_the_same(
    count: int, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, asked = keys(count), np.concatenate((keys(count, 3), keys(count)[::2]))
    bits, shape = build_filter(given, rate)
    answers = contains(bits, shape.probes, asked)
    monkeypatch.setattr(bloom, "compiled", None)
    again, same = build_filter(given, rate)
    assert same == shape
    assert (again == bits).all()
    assert (contains(bits, shape.probes, asked) == answers).all()


def test_a_filter_that_turns_out_too_full_is_built_again(
    in_numpy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = bloom.Shape(blocks=1, probes=27)
    monkeypatch.setattr(bloom, "shape_for", lambda *_: small)
    given = keys(3_000)
    bits, shape = build_filter(given, 1e-8)
    assert shape.blocks > 1
    assert false_positive_rate(bits, shape.probes) <= 1e-8
    assert contains(bits, shape.probes, given).all()


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        shape_for(10, rate)


def test_more_hashes_than_a_filter_can_part_are_refused() -> None:
    with pytest.raises(ValueError, match="part them"):
        shape_for(1 << 44, 1e-8)


@pytest.mark.skipif(compiled is None, reason="the compiled form was not built")
def test_the_compiled_form_refuses_arrays_that_do_not_fit() -> None:
    assert compiled is not None
    good, hashes = np.zeros((1, 4096), dtype=np.uint8), np.zeros(3, dtype=np.uint64)
    for bits in (np.zeros(0, dtype=np.uint8), np.zeros(4095, dtype=np.uint8)):
        with pytest.raises(ValueError, match="whole blocks"):
            compiled.add(bits, hashes, 3)
    with pytest.raises(ValueError, match="64 bits"):
        compiled.add(good, np.zeros(13, dtype=np.uint8), 3)
    with pytest.raises(ValueError, match="an answer"):
        compiled.contains(good, hashes, 3, np.zeros(2, dtype=np.bool_))
    with pytest.raises(ValueError, match="fit the text"):
        compiled.hash_ngrams(b"abc", bytes(10), hashes, hashes)
    with pytest.raises(ValueError, match="fit the text"):
        compiled.hash_ngrams(b"a b c d e f", bytes(0x110000), hashes, hashes)
