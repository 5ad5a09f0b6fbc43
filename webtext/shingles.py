r"""Word n-grams of documents as 32-bit hashes, many documents at once in numpy.

A word is a run of `\w` characters of the lower-cased text, a shingle a run of consecutive words.
`hash_shingle` defines its hash, one shingle at a time and in plain Python; `hash_documents`
computes the same for whole batches without a Python object a word. `webtext._minhash` is its
compiled form, which also minimises; where it was not built, this module does the work alone.

The hash is made for arrays: a word's UTF-8 bytes are read as little-endian uint64 chunks, the last
filled up with zeros, and chained through MurmurHash3's finalizer; a shingle is the sum of its
words' hashes, each times an odd constant of its place. It is not keyed and not cryptographic: who
writes a page can make it collide with another, and could as well copy it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_MASK = (1 << 64) - 1
_CHUNK_BYTES = 8

# MurmurHash3's 64-bit finalizer (Appleby, public domain).
_MURMUR_1 = 0xFF51AFD7ED558CCD
_MURMUR_2 = 0xC4CEB9FE1A85EC53
# An odd constant for the length, and those of the places: the golden ratio in 64 bits and its
# successive odd multiples, mixed.
_GOLDEN = 0x9E3779B97F4A7C15
MAX_SHINGLE_WORDS = 32


class Shingles(NamedTuple):
    """The distinct shingle hashes of a batch of documents."""

    hashes: NDArray[np.uint32]
    """All documents' hashes one after the other, ascending within a document."""
    starts: NDArray[np.int64]
    """Where each document's hashes start; one more entry than documents. None is without one."""


def words_of(text: str) -> list[str]:
    """The words that shingles are made of."""
    return _WORD.findall(text.lower())


def hash_shingle(shingle: bytes) -> int:
    """The hash of one shingle, given as its words in UTF-8, joined by single spaces."""
    words = shingle.split(b" ")
    total = _mix(len(words) * _GOLDEN & _MASK)
    for word, multiplier in zip(words, place_multipliers(), strict=False):
        total += _hash_word(word) * multiplier
    return _mix(total & _MASK) >> 32


def shingles_of(text: str, shingle_words: int) -> list[bytes]:
    """The shingles of a text in order, repeats included, as `hash_shingle` takes them.

    A text of fewer words than a shingle has is one shingle by itself; a text without words is its
    own only word. So short texts are alike only where they are equal.
    """
    words = words_of(text) or [_wordless(text)]
    count = max(1, len(words) - shingle_words + 1)
    return [" ".join(words[i : i + shingle_words]).encode() for i in range(count)]


def hash_documents(texts: Sequence[str], shingle_words: int) -> Shingles:
    """The distinct `hash_shingle` of every shingle of every text; the texts are one batch.

    Memory is about 40 times the batch's bytes: give a megabyte or two at a time.
    """
    encoded = [text.lower().encode() for text in texts]
    word_hashes, word_starts = _hash_words(encoded)
    for empty in np.flatnonzero(np.diff(word_starts) == 0).tolist():
        # Rare (no letter or digit at all): the text takes the place of its only word.
        place = int(word_starts[empty])
        whole = np.uint64(_hash_word(_wordless(texts[empty]).encode()))
        word_hashes = np.insert(word_hashes, place, whole)
        word_starts[empty + 1 :] += 1
    return _distinct(*_hash_windows(word_hashes, word_starts, shingle_words))


def _wordless(text: str) -> str:
    """A text without letters and digits as one word; spaces would part words."""
    return text.replace(" ", "\0")


def _hash_words(encoded: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash every word of the texts (lower-cased, UTF-8), and where each text's words start."""
    # A line break before, between and behind; zeros to read the last chunk from.
    buffer = np.frombuffer(
        b"\n" + b"\n".join(encoded) + b"\n" + bytes(_CHUNK_BYTES), dtype=np.uint8
    )
    is_word = _word_bytes(buffer)
    edges = np.flatnonzero(is_word[1:] != is_word[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    text_starts = np.cumsum([1] + [len(text) + 1 for text in encoded])
    return _hash_byte_runs(buffer, starts, ends - starts), np.searchsorted(starts, text_starts)


def _word_bytes(buffer: NDArray[np.uint8]) -> NDArray[np.bool_]:
    r"""Which bytes of UTF-8 text belong to `\w` characters."""
    is_word_character = word_characters()
    is_word: NDArray[np.bool_] = is_word_character[:256][buffer] & (buffer < 0x80)
    leads = np.flatnonzero(buffer >= 0xC0)
    if leads.size:
        size, character = _decode_characters(buffer, leads)
        lettered = is_word_character[character]
        for byte in range(4):
            is_word[leads[lettered & (size > byte)] + byte] = True
    return is_word


def _decode_characters(
    buffer: NDArray[np.uint8], leads: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Bytes and code point of the characters of two to four bytes that start at `leads`."""
    first, second, third, fourth = (
        buffer[np.minimum(leads + byte, buffer.size - 1)].astype(np.uint32) for byte in range(4)
    )
    size = 2 + (first >= 0xE0).astype(np.int64) + (first >= 0xF0)
    two = (first & 0x1F) << 6 | second & 0x3F
    three = (first & 0x0F) << 12 | (second & 0x3F) << 6 | third & 0x3F
    four = (first & 0x07) << 18 | (second & 0x3F) << 12 | (third & 0x3F) << 6 | fourth & 0x3F
    return size, np.choose(size - 2, [two, three, four])


@lru_cache(maxsize=1)
def word_characters() -> NDArray[np.bool_]:
    r"""For every code point, whether the regular expression `\w` matches it."""
    # U+D800..DFFF are no characters but stand in Python's strings; \w matches none of them.
    every = "".join(map(chr, range(0x110000)))
    table = np.zeros(0x110000, dtype=np.bool_)
    for match in _WORD.finditer(every):
        table[match.start() : match.end()] = True
    return table


def _hash_byte_runs(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """`_hash_word` of the runs of bytes at `starts`; the longer the rarer, so chunk by chunk."""
    # Every byte offset as the uint64 that starts there.
    windows = np.ndarray((buffer.size - _CHUNK_BYTES + 1,), np.dtype("<u8"), buffer, 0, (1,))
    hashes = lengths.astype(np.uint64) * np.uint64(_GOLDEN)
    open_runs = np.arange(starts.size)
    offset = 0
    while open_runs.size:
        left = lengths[open_runs] - offset
        chunks = windows[starts[open_runs] + offset] & _CHUNK_MASKS[np.minimum(left, _CHUNK_BYTES)]
        hashes[open_runs] = _mix_array(hashes[open_runs] ^ chunks)
        open_runs = open_runs[left > _CHUNK_BYTES]
        offset += _CHUNK_BYTES
    return hashes


_CHUNK_MASKS = np.array(
    [(1 << (8 * length)) - 1 for length in range(_CHUNK_BYTES + 1)], dtype=np.uint64
)


def _hash_windows(
    word_hashes: NDArray[np.uint64], word_starts: NDArray[np.int64], shingle_words: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Shingle hashes in order, repeats included, and where each document's start."""
    words = np.diff(word_starts)
    counts = np.maximum(words - shingle_words + 1, 1)
    shingle_starts = np.concatenate(([0], np.cumsum(counts)))
    # The first word of each shingle: the document's first word, counted on.
    first = np.arange(shingle_starts[-1]) + np.repeat(
        word_starts[:-1] - shingle_starts[:-1], counts
    )
    length = np.repeat(np.minimum(words, shingle_words), counts)
    total = LENGTH_TERMS[length]
    padded = np.concatenate((word_hashes, np.zeros(shingle_words, dtype=np.uint64)))
    for place, multiplier in enumerate(place_multipliers()[:shingle_words]):
        term = padded[first + place] * np.uint64(multiplier)
        total += (
            term if words.min(initial=shingle_words) >= shingle_words else term * (place < length)
        )
    return (_mix_array(total) >> np.uint64(32)).astype(np.uint32), shingle_starts


def _distinct(hashes: NDArray[np.uint32], starts: NDArray[np.int64]) -> Shingles:
    """Sort each document's hashes and leave out repeats."""
    documents = np.repeat(np.arange(starts.size - 1, dtype=np.uint64), np.diff(starts))
    keyed = np.sort(documents << np.uint64(32) | hashes)
    keep = np.ones(keyed.size, dtype=np.bool_)
    keep[1:] = keyed[1:] != keyed[:-1]
    keyed = keyed[keep]
    counts = np.bincount((keyed >> np.uint64(32)).astype(np.int64), minlength=starts.size - 1)
    return Shingles(keyed.astype(np.uint32), np.concatenate(([0], np.cumsum(counts))))


def _hash_word(word: bytes) -> int:
    hashed = len(word) * _GOLDEN & _MASK
    for start in range(0, len(word), _CHUNK_BYTES):
        hashed = _mix(hashed ^ int.from_bytes(word[start : start + _CHUNK_BYTES], "little"))
    return hashed


def _mix(value: int) -> int:
    value = (value ^ value >> 33) * _MURMUR_1 & _MASK
    value = (value ^ value >> 33) * _MURMUR_2 & _MASK
    return value ^ value >> 33


def _mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(_MURMUR_1)
    values ^= values >> np.uint64(33)
    values *= np.uint64(_MURMUR_2)
    values ^= values >> np.uint64(33)
    return values


@lru_cache(maxsize=1)
def place_multipliers() -> tuple[int, ...]:
    """An odd multiplier for each place of a word in a shingle."""
    return tuple(_mix(_GOLDEN * (place + 1) & _MASK) | 1 for place in range(MAX_SHINGLE_WORDS))


LENGTH_TERMS = np.array(
    [_mix(words * _GOLDEN & _MASK) for words in range(MAX_SHINGLE_WORDS + 1)], dtype=np.uint64
)
"""What a shingle of each number of words starts from."""
