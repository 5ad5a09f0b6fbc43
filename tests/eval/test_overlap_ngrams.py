"""N-grams: what a word is, and the same hashes compiled or not, for any text."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import overlap_ngrams
from eval.overlap_find import NgramFinder
from eval.overlap_ngrams import (
    compiled,
    hash_ngrams,
    hash_word_ngrams,
    word_characters,
    words_of,
)

needs_compiled = pytest.mark.skipif(compiled is None, reason="the compiled form was not built")

HOSTILE = [
    "",
    " ",
    "a",
    "İİ İstanbul ΑΣ'Α",
    "\ud800 lone \udfff surrogates",
    "𝟙𝟚 ﬁ Ⅷ ² x²",
    "日本語 テキスト \x00 nul",
    "x" * 5_000,
    "é" * 3_000 + " e\u0301 " + "\U0010ffff" * 3,
]


PINNED = ["0xc6a37520a8df7e0c", "0xb439bf0211fbd755", "0x869c611fa335d443"]


def finder_of(ngrams: list[str], ids: Sequence[int], n: int) -> NgramFinder:
    hashes = [hash_ngrams(ngram, n)[0] for ngram in ngrams]
    return NgramFinder(ngrams, np.array(hashes, dtype=np.uint64), ids, n)


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words_of("Don't STOP: über_all 3.14 (C++)\n") == [
        "don", "t", "stop", "über", "all", "3", "14", "c",
    ]  # fmt: skip


def test_word_characters_are_those_of_isalnum() -> None:
    table = word_characters()
    points = [*range(0x3000), *range(0x3000, 0x110000, 101)]
    assert all(table[point] == chr(point).isalnum() for point in points)


@needs_compiled
@settings(max_examples=60, deadline=None)
@given(st.text(), st.integers(1, 9))
def test_compiled_and_numpy_hash_alike(text: str, n: int) -> None:
    assert (hash_ngrams(text, n) == hash_word_ngrams(words_of(text), n)).all()


@needs_compiled
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("n", [1, 2, 8])
def test_hostile_texts_hash_alike(text: str, n: int) -> None:
    found = hash_ngrams(text, n)
    assert len(found) == max(0, len(words_of(text)) - n + 1)
    assert (found == hash_word_ngrams(words_of(text), n)).all()


@needs_compiled
@settings(max_examples=60, deadline=None)
@given(st.binary())
def test_bytes_that_are_no_text_are_survived(content: bytes) -> None:
    assert compiled is not None
    out = np.empty(len(content) // 2 + 1, dtype=np.uint64)
    multipliers = overlap_ngrams.place_multipliers()[:2]
    assert compiled.hash_ngrams(content, word_characters(), multipliers, out) < len(content) + 1


def test_hashes_tell_order_length_and_words_apart() -> None:
    texts = ["a b", "b a", "ab a", "a ba", "aa b", "a a", "abcdefgh i", "abcdefghi i", "a b\0"]
    hashes = [hash_ngrams(text, 2).tolist() for text in texts]
    assert len({tuple(found) for found in hashes}) == len(texts) - 1  # the last is the first


def test_the_hash_stays_as_it_is() -> None:
    """Filters of other days are asked with it: another value means another stage version."""
    text = "The quick brown fox jumps over the lazy dog, naïvely."
    assert [hex(hash_) for hash_ in hash_ngrams(text, 8).tolist()] == PINNED


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=40), st.integers(1, 4))
def test_the_finder_finds_what_is_there(words: list[str], n: int) -> None:
    text = ", ".join(words)
    there = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    wanted = [*sorted(set(there))[::2], " ".join(["d"] * n)]
    found = finder_of(wanted, range(len(wanted)), n).find(text)
    assert found.tolist() == [wanted.index(one) for one in there if one in wanted]


def test_equal_hashes_of_other_words_are_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = finder_of(["one two", "three four"], [5, 6], 2)
    all_alike = np.full(3, finder._hashes[0], dtype=np.uint64)
    monkeypatch.setattr("eval.overlap_find.hash_ngrams", lambda _text, _n: all_alike)
    assert finder.find("nine ten three four").tolist() == [6]


def test_a_finder_of_nothing_finds_nothing() -> None:
    assert finder_of([], [], 8).find("a b c d e f g h i j").tolist() == []
