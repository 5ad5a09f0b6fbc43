r"""The 8-grams that overlap is counted in: words normalised as in GPT-2's study, and their hashes.

"Strings were normalized to contain only lower-cased alphanumeric words with a single space as a
delimiter" (Radford et al. 2019, section 4). Here a word is a run of letters and digits of the
lower-cased text in Unicode's sense (`str.isalnum`), so that punctuation parts words: "don't" is two
of them, as it is in a tokenised benchmark.

An n-gram's hash has 64 bits and is made for arrays: a word's UTF-8 bytes are read as little-endian
chunks of eight, the last filled up with zeros, and chained through MurmurHash3's finalizer; an
n-gram is the mixed sum of its words' hashes, each times an odd constant of its place.
`eval._ngrams` is the compiled form; where it was not built, numpy gives the same hashes. It is not
keyed: pages can be written to collide, which costs a look at their text and no more, since every
hit is compared word by word.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

compiled: ModuleType | None
"""`eval._ngrams`, or None where there was no compiler when it was installed."""
try:
    compiled = import_module("eval._ngrams")
except ImportError:
    compiled = None

MAX_WORDS = 32
"""Most words of an n-gram."""

_WORD = re.compile(r"[^\W_]+")
_MASK = (1 << 64) - 1
_CHUNK_BYTES = 8
_REMEMBERED_WORDS = 1 << 18

# MurmurHash3's 64-bit finalizer (Appleby, public domain).
MURMUR_1 = 0xFF51AFD7ED558CCD
MURMUR_2 = 0xC4CEB9FE1A85EC53
# 2^64 divided by the golden ratio, made odd; its multiples are the constants of the places.
GOLDEN = 0x9E3779B97F4A7C15


def words_of(text: str) -> list[str]:
    """The normalised words of a text."""
    return _WORD.findall(text.lower())


def word_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Every normalised word of `text.lower()` with its first and last-but-one index there."""
    for match in _WORD.finditer(text.lower()):
        yield match.group(), match.start(), match.end()


def hash_ngrams(text: str, n: int) -> Hashes:
    """The hash of every run of `n` words of `text`, in order; none where it has fewer words."""
    if compiled is None:
        return hash_word_ngrams(words_of(text), n)
    encoded = text.lower().encode("utf-8", "surrogatepass")
    out = np.empty(len(encoded) // 2 + 1, dtype=np.uint64)
    count = compiled.hash_ngrams(encoded, word_characters(), place_multipliers()[:n], out)
    return out[:count]


def hash_word_ngrams(words: list[str], n: int) -> Hashes:
    """What `hash_ngrams` gives for normalised words, in numpy."""
    hashes = np.array([hash_word(word) for word in words], dtype=np.uint64)
    count = max(0, len(words) - n + 1)
    total = np.zeros(count, dtype=np.uint64)
    for place, multiplier in enumerate(place_multipliers()[:n]):
        total += hashes[place : place + count] * multiplier
    return mix(total)


@lru_cache(maxsize=_REMEMBERED_WORDS)
def hash_word(word: str) -> int:
    """The 64-bit hash of one word; the commonest are remembered."""
    encoded = word.encode("utf-8", "surrogatepass")
    hashed = len(encoded) * GOLDEN & _MASK
    for start in range(0, len(encoded), _CHUNK_BYTES):
        chunk = int.from_bytes(encoded[start : start + _CHUNK_BYTES], "little")
        hashed = _mix_number(hashed ^ chunk)
    return hashed


def mix(values: Hashes) -> Hashes:
    """MurmurHash3's finalizer of each value."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(MURMUR_1)
    values ^= values >> np.uint64(33)
    values *= np.uint64(MURMUR_2)
    values ^= values >> np.uint64(33)
    return values


def _mix_number(value: int) -> int:
    value = (value ^ value >> 33) * MURMUR_1 & _MASK
    value = (value ^ value >> 33) * MURMUR_2 & _MASK
    return value ^ value >> 33


@lru_cache(maxsize=1)
def place_multipliers() -> Hashes:
    """An odd multiplier for each place of a word in an n-gram."""
    mixed = [_mix_number(GOLDEN * (place + 1) & _MASK) | 1 for place in range(MAX_WORDS)]
    return np.array(mixed, dtype=np.uint64)


@lru_cache(maxsize=1)
def word_characters() -> npt.NDArray[np.bool_]:
    """For every code point, whether it belongs to words."""
    table = np.zeros(0x110000, dtype=np.bool_)
    for match in _WORD.finditer("".join(map(chr, range(0x110000)))):
        table[match.start() : match.end()] = True
    return table
