"""What is asked of a model: requests, the items they belong to, and the tasks made of items."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.files import DataFile
from eval.protocols import Protocol, Variant
from eval.scorer import END_OF_TEXT, Encode

QUICK_ITEMS = {"passages": 400, "questions": 60, "windows": 20, "pages": 8, "sentences": 300}
"""How many of each a quick evaluation scores: 20,000 tokens of a text, an accuracy to ± 5 %."""

PIECE_CHARACTERS = 1 << 20
"""Characters that are encoded at once, so that a text costs 4 bytes a token and no more."""

_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[ \n](?=[^\W_])")
"""A space between two letters or digits: GPT-2's BPE never merges across its left side."""


@dataclass(frozen=True, slots=True)
class Request:
    """A token sequence, of which the tokens from index `scored_from` (≥ 1) on are scored."""

    tokens: npt.NDArray[np.int32]
    scored_from: int

    @property
    def scored(self) -> int:
        """How many tokens are scored."""
        return len(self.tokens) - self.scored_from


@dataclass(frozen=True, slots=True)
class Item:
    """What is resampled for an interval: a passage, question, page, sentence or window."""

    index: int
    """Position in the file, from 0."""
    requests: tuple[Request, ...]
    """Parts whose likelihoods are added; where there is an answer, one a candidate."""
    units: int
    """Canonical units that the likelihood is divided by."""
    answer: int | None = None
    """Which candidate is right; None where there is nothing to choose."""


@dataclass(frozen=True)
class Task:
    """Items that are scored together, and the protocols of the scores they give."""

    variant: Variant
    protocols: tuple[Protocol, ...]
    data: DataFile
    items: Iterable[Item]
    total: int
    """Items there are, for progress."""
    masked_ids: tuple[int, ...] = ()
    """Tokens left out of the argmax."""
    last_token: bool = False
    """Only the last token has to be the argmax for an item to be correct."""
    unit_is_token: bool = False
    """Divide by scored tokens whatever the items' units."""
    same_requests: str = ""
    """Tasks of a benchmark with the same name here ask the same; they are asked once."""
    untouched: "MakeTask | None" = None
    """Makes the same task without the de-tokenizer, to tell what that is worth."""


MakeTask = Callable[[], Task]


@dataclass(frozen=True)
class Limits:
    """How much of a file is scored."""

    max_items: int | None
    max_tokens: int | None
    seed: int
    quick: bool = False
    """Take `QUICK_ITEMS` at most."""

    def choose(self, total: int, things: str) -> Sequence[int]:
        """Indices of the items to score, ascending: all, or a sample drawn by the seed."""
        most = self._most(things)
        if most is None or most >= total:
            return range(total)
        drawn = np.random.default_rng(self.seed).permutation(total)[:most]
        return sorted(int(index) for index in drawn)

    def describe(self, total: int, things: str) -> str | None:
        """The sample as a protocol states it; None for the whole file."""
        parts = []
        most = self._most(things)
        if most is not None and most < total:
            parts.append(f"{most:,} of {total:,} {things} drawn by seed {self.seed}")
        if self.max_tokens is not None:
            parts.append(f"until {self.max_tokens:,} tokens are scored")
        return "; ".join(parts) or None

    def _most(self, things: str) -> int | None:
        asked = [self.max_items, QUICK_ITEMS[things] if self.quick else None]
        return min((most for most in asked if most is not None), default=None)

    def stop(self, items: Iterable[Item]) -> Iterator[Item]:
        """`items` until `max_tokens` are scored, at least one."""
        scored = 0
        for item in items:
            yield item
            scored += sum(request.scored for request in item.requests)
            if self.max_tokens is not None and scored >= self.max_tokens:
                return


@dataclass(frozen=True)
class Source:
    """Where the tasks of a benchmark come from and how they are cut."""

    folder: Path
    encode: Encode
    limits: Limits
    window: int
    """Most input tokens: the model's context, at most GPT-2's 1024."""
    dtype: str

    def tokens(self, text: str) -> npt.NDArray[np.int32]:
        """`text` as token ids; the same whatever its length, which is encoded piece by piece."""
        pieces = [np.array(self.encode(piece), dtype=np.int32) for piece in cut_text(text)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def cut_text(text: str, size: int = PIECE_CHARACTERS) -> list[str]:
    """`text` in pieces of about `size` characters whose tokens, joined, are those of the whole.

    GPT-2's BPE works within the matches of its pattern. A match holds a space only at its beginning
    or consists of white space; so before a space that follows a letter a match always ends, and one
    always begins.
    """
    pieces = []
    start = 0
    while len(text) - start > size:
        found = _BETWEEN_WORDS.search(text, start + size)
        if found is None:
            break
        pieces.append(text[start : found.start()])
        start = found.start()
    return [*pieces, text[start:]]


def boundary_and(tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """`tokens` after `<|endoftext|>`."""
    return np.concatenate([np.array([END_OF_TEXT], dtype=np.int32), tokens])


def continuation(
    context: npt.NDArray[np.int32], scored: npt.NDArray[np.int32], window: int
) -> Request:
    """`scored` after `context`, cut from the left to `window` inputs; the boundary if empty."""
    before = context if len(context) else np.array([END_OF_TEXT], dtype=np.int32)
    kept = np.concatenate([before, scored])[-(window + 1) :]
    return Request(kept, max(1, len(kept) - len(scored)))


def windows(
    sequence: npt.NDArray[np.int32], window: int, *, fill_last: bool = False
) -> Iterator[Request]:
    """Cut `sequence` into windows of `window` inputs, each token but the first scored once.

    `fill_last`: the last window reaches back to a full `window` of inputs, but scores only what
    remains, as lm-evaluation-harness does; otherwise it is short.
    """
    last = len(sequence) - 1
    for start in range(0, last, window):
        end = min(start + window, last)
        begin = max(0, end - window) if fill_last else start
        yield Request(sequence[begin : end + 1], start - begin + 1)


def windows_without_boundary(sequence: npt.NDArray[np.int32], window: int) -> Iterator[Request]:
    """Windows of `window` tokens apart from one another; the first of each is not scored."""
    for start in range(0, len(sequence) - 1, window):
        yield Request(sequence[start : start + window], 1)


def share_units(requests: Sequence[Request], units: int) -> Iterator[Item]:
    """An item a window, `units` shared out by scored tokens so that their sum is exact."""
    total = sum(request.scored for request in requests)
    done = 0
    for index, request in enumerate(requests):
        before = units * done // total
        done += request.scored
        yield Item(index, (request,), units * done // total - before)
