"""What is asked of a model: requests, the items they belong to, and the tasks made of items."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.files import DataFile
from eval.protocols import Protocol, Variant
from eval.scorer import END_OF_TEXT, Encode


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


@dataclass(frozen=True)
class Limits:
    """How much of a file is scored."""

    max_items: int | None
    max_tokens: int | None
    seed: int

    def choose(self, total: int) -> Sequence[int]:
        """Indices of the items to score, ascending: all, or a sample drawn by the seed."""
        if self.max_items is None or self.max_items >= total:
            return range(total)
        drawn = np.random.default_rng(self.seed).permutation(total)[: self.max_items]
        return sorted(int(index) for index in drawn)

    def describe(self, total: int, things: str) -> str | None:
        """The sample as a protocol states it; None for the whole file."""
        parts = []
        if self.max_items is not None and self.max_items < total:
            parts.append(f"{self.max_items:,} of {total:,} {things} drawn by seed {self.seed}")
        if self.max_tokens is not None:
            parts.append(f"until {self.max_tokens:,} tokens are scored")
        return "; ".join(parts) or None

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
        """`text` as token ids."""
        return np.array(self.encode(text), dtype=np.int32)


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
