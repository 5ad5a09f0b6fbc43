"""Finds given n-grams in texts, exactly: hashes say where to look, the words themselves decide."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eval.overlap_ngrams import Hashes, hash_ngrams, words_of

_TABLE_BITS = 22
"""4 MiB of marks by the hash's first bits: nearly every 8-gram of a text ends at them."""


class NgramFinder:
    """Looks for n-grams, given as normalised words joined by spaces, in any number of texts."""

    def __init__(self, ngrams: Sequence[str], hashes: Hashes, ids: Sequence[int], n: int) -> None:
        """`ids[i]` stands for `ngrams[i]`, of `n` words, whose hash is `hashes[i]`."""
        self._ids = dict(zip(ngrams, ids, strict=True))
        self._n = n
        self._hashes = np.unique(hashes)
        self._marks = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        self._marks[self._hashes >> np.uint64(64 - _TABLE_BITS)] = True

    def find(self, text: str) -> npt.NDArray[np.int64]:
        """The ids of the n-grams in `text`, in its order, as often as they occur."""
        hashes = hash_ngrams(text, self._n)
        likely = np.flatnonzero(self._marks[hashes >> np.uint64(64 - _TABLE_BITS)])
        if likely.size:
            wanted = hashes[likely]
            place = np.searchsorted(self._hashes, wanted)
            place[place == len(self._hashes)] = 0
            likely = likely[self._hashes[place] == wanted]
        if not likely.size:
            return np.empty(0, dtype=np.int64)
        words = words_of(text)
        ngrams = (" ".join(words[first : first + self._n]) for first in likely.tolist())
        found = (self._ids.get(ngram) for ngram in ngrams)
        return np.array([one for one in found if one is not None], dtype=np.int64)
