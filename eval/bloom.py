"""A blocked Bloom filter over 64-bit hashes, sized and checked for the rate it has to keep.

A filter is an array of blocks of 4,096 bytes. A hash's upper half chooses the block; `probes`
places of 15 bits in it are cut from the hash mixed anew for every four of them, so that two hashes
share all places only where the rate allows for it. Hashes come sorted, so a block is filled while
it lies in the processor's first cache, and a question reads one page of the file.

Sizes: a block of m = 32,768 bits gets about λ keys, in Poisson's way, and k probes of a key that is
none of them all meet set bits with probability Σ_i P(i; λ) (1 − (1 − 1/m)^{ki})^k (Bloom 1970 for
one block; Putze, Sanders and Singler 2007 for the mixture). The largest λ that keeps the rate is
taken. What a built filter does is then computed from its own bits: the mean over blocks of
(set bits / m)^k. Should that exceed the rate, it is built again a little larger.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eval.overlap_ngrams import GOLDEN, Hashes, compiled, mix

BLOCK_BYTES = 4096
"""A page of memory and of most disks."""

Filter = npt.NDArray[np.uint8]
"""Shape (blocks, 4096)."""

MAX_BLOCKS = (1 << 32) - 1
_BLOCK_BITS = 8 * BLOCK_BYTES
_LANES = 4
_LANE_BITS = 16
_KEYS_AT_A_TIME = 1 << 16
_MORE_PROBES = 12
"""Probes beyond log2(1/rate) that are tried: the blocks' spread asks for a few."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a filter is."""

    blocks: int
    probes: int


def build_filter(hashes: Hashes, rate: float) -> tuple[Filter, Shape]:
    """A filter that holds `hashes`, sorted and distinct, and says yes to others at most at `rate`.

    Equal hashes and rate give equal bytes, compiled or not. Raises ValueError where the rate is not
    between 0 and 1, or there are more hashes than the largest filter holds.
    """
    shape = shape_for(len(hashes), rate)
    while True:
        bits = np.zeros((shape.blocks, BLOCK_BYTES), dtype=np.uint8)
        add_sorted(bits, shape.probes, hashes)
        if false_positive_rate(bits, shape.probes) <= rate:
            return bits, shape
        shape = Shape(shape.blocks + max(1, shape.blocks // 50), shape.probes)


def shape_for(keys: int, rate: float) -> Shape:
    """The smallest filter that is expected to keep `rate` with so many keys."""
    load, probes = _best_load(rate)
    blocks = max(1, math.ceil(keys / load))
    if blocks > MAX_BLOCKS:
        raise ValueError(f"{keys:,} hashes are too many for one filter; part them")
    return Shape(blocks, probes)


def add_sorted(bits: Filter, probes: int, hashes: Hashes) -> None:
    """Set the bits of sorted hashes."""
    if compiled is not None:
        compiled.add(bits, hashes, probes)
        return
    for start in range(0, len(hashes), _KEYS_AT_A_TIME):
        keys = hashes[start : start + _KEYS_AT_A_TIME]
        blocks = _blocks_of(keys, len(bits))
        first, last = int(blocks[0]), int(blocks[-1])
        is_set = np.zeros((last - first + 1) * _BLOCK_BITS, dtype=np.bool_)
        offsets = (blocks - first) * _BLOCK_BITS
        for probe in range(probes):
            is_set[offsets + _places(keys, probe)] = True
        packed = np.packbits(is_set, bitorder="little")
        bits[first : last + 1] |= packed.reshape(-1, BLOCK_BYTES)


def contains(bits: Filter, probes: int, hashes: Hashes) -> npt.NDArray[np.bool_]:
    """For each hash, in any order, whether the filter may hold it; one that it holds always is."""
    if compiled is not None:
        found = np.empty(len(hashes), dtype=np.bool_)
        compiled.contains(bits, np.ascontiguousarray(hashes), probes, found)
        return found
    left = np.arange(len(hashes))
    blocks = _blocks_of(hashes, len(bits))
    for probe in range(probes):
        place = _places(hashes[left], probe)
        left = left[bits[blocks[left], place >> 3] >> (place & 7).astype(np.uint8) & 1 == 1]
    answer = np.zeros(len(hashes), dtype=np.bool_)
    answer[left] = True
    return answer


def false_positive_rate(bits: Filter, probes: int) -> float:
    """Chance that a hash which is none of those added meets set bits alone, from the bits."""
    filled = np.empty(len(bits))
    for start in range(0, len(bits), 1024):
        ones = np.bitwise_count(bits[start : start + 1024].view(np.uint64))
        filled[start : start + 1024] = ones.sum(axis=1, dtype=np.int64) / _BLOCK_BITS
    return float(np.mean(filled**probes))


@lru_cache(maxsize=256)
def _best_load(rate: float) -> tuple[int, int]:
    """Keys a block and probes of the smallest filter that keeps `rate`."""
    if not 0 < rate < 1:
        raise ValueError(f"a rate of false positives lies between 0 and 1, found {rate}")
    least = max(1, math.floor(-math.log2(rate)))
    tried = range(least, least + _MORE_PROBES)
    return max((_largest_load(probes, rate), probes) for probes in tried)


def _largest_load(probes: int, rate: float) -> int:
    """Most keys a block, on average, that keep the rate; at least one."""
    low, high = 1, _BLOCK_BITS
    while low < high:
        middle = (low + high + 1) // 2
        if _expected_rate(middle, probes) <= rate:
            low = middle
        else:
            high = middle - 1
    return low


def _expected_rate(load: int, probes: int) -> float:
    """The mixture of the module's docstring; 12 standard deviations hold all but 1e-30 of it."""
    reach = 12 * math.sqrt(load) + 12
    keys = np.arange(max(0, int(load - reach)), int(load + reach) + 1)
    log_poisson = keys * math.log(load) - load - _log_factorials()[keys]
    empty = np.exp(probes * keys * math.log1p(-1 / _BLOCK_BITS))
    return float(np.sum(np.exp(log_poisson) * (1 - empty) ** probes))


@lru_cache(maxsize=1)
def _log_factorials() -> npt.NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, 2 * _BLOCK_BITS)))))


def _blocks_of(hashes: Hashes, blocks: int) -> npt.NDArray[np.int64]:
    chosen = (hashes >> np.uint64(32)) * np.uint64(blocks) >> np.uint64(32)
    return chosen.astype(np.int64)


def _places(hashes: Hashes, probe: int) -> npt.NDArray[np.int64]:
    """The bit of its block that each hash's probe asks for."""
    step = np.uint64((probe // _LANES + 1) * GOLDEN & (1 << 64) - 1)
    lane = mix(hashes + step) >> np.uint64(_LANE_BITS * (probe % _LANES))
    return (lane & np.uint64(_BLOCK_BITS - 1)).astype(np.int64)
