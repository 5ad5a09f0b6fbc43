"""The text of every item that a model is scored on, so that its n-grams can be looked for.

The items are those of `eval.scores`: what a request holds is decoded again, so an item's text is
what the model was shown, de-tokenized as the variant asks. LAMBADA's passages, CBT's questions
(with the right answer in the blank), pages and sentences stand by themselves; windows are parts of
one stream, whose n-grams cross from one window to the next and then belong to both.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from eval.items import Item, Task
from eval.overlap_ngrams import word_spans
from eval.protocols import FIRST_NOT_SCORED, Benchmark, Variant
from eval.scorer import END_OF_TEXT

Decode = Callable[[Sequence[int]], bytes]
"""The bytes that GPT-2's tokens stand for."""

_STREAMS = ("wikitext2", "ptb", "enwik8", "text8", "wikitext103")


@dataclass(frozen=True)
class Occurrences:
    """The n-grams of a task's items, in their order."""

    ngrams: list[str]
    """Each as its words joined by spaces."""
    first: npt.NDArray[np.int32]
    """The item that each begins in, by its place in `items`."""
    last: npt.NDArray[np.int32]
    """The item that each ends in."""
    items: npt.NDArray[np.int32]
    """The items' own indices, as the scores name them."""


def find_occurrences(benchmark: Benchmark, task: Task, decode: Decode, n: int) -> Occurrences:
    """Every n-gram of `n` words in the items of a task of `benchmark`."""
    items, pieces = [], []
    is_stream = is_one_stream(benchmark, task.variant)
    for item in task.items:
        items.append(item.index)
        pieces.append(_window_bytes(task, item, decode) if is_stream else _whole(item, decode))
    texts = [pieces] if is_stream else [[piece] for piece in pieces]
    ngrams: list[str] = []
    places = [np.empty((0, 2), dtype=np.int32)]
    first_item = 0
    for text in texts:
        found, spans = _ngrams_of(text, n)
        ngrams += found
        places.append(spans + np.int32(first_item))
        first_item += len(text)
    first, last = np.concatenate(places).T
    return Occurrences(ngrams, first, last, np.array(items, dtype=np.int32))


def is_one_stream(benchmark: Benchmark, variant: Variant) -> bool:
    """Whether a task's items are windows of one text."""
    return benchmark in _STREAMS and variant != "lm-eval"


def _whole(item: Item, decode: Decode) -> bytes:
    """An item that stands by itself: all its context, and what was scored of further windows."""
    if item.answer is not None:
        return _bytes_of(item.requests[item.answer].tokens, decode)
    first, *more = item.requests
    return b"".join(
        (
            _bytes_of(first.tokens, decode),
            *(_bytes_of(request.tokens[request.scored_from :], decode) for request in more),
        )
    )


def _window_bytes(task: Task, item: Item, decode: Decode) -> bytes:
    """What a window adds to its stream: all its text, or what it scores where windows overlap."""
    apart = task.protocols[0].first_token == FIRST_NOT_SCORED
    return b"".join(
        _bytes_of(request.tokens if apart else request.tokens[request.scored_from :], decode)
        for request in item.requests
    )


def _bytes_of(tokens: npt.NDArray[np.int32], decode: Decode) -> bytes:
    return decode([token for token in tokens.tolist() if token != END_OF_TEXT])


def _ngrams_of(pieces: Sequence[bytes], n: int) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The n-grams of a text in pieces, and the pieces where each begins and ends."""
    decoded = list(_decode_pieces(pieces))
    # A letter's capital may be one character and its small form two: both are measured small.
    ends = np.array(list(accumulate(len(piece.lower()) for piece in decoded)), dtype=np.int64)
    words, starts, stops = [], [], []
    for word, start, stop in word_spans("".join(decoded)):
        words.append(word)
        starts.append(start)
        stops.append(stop)
    ngrams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    begin = np.array(starts[: len(ngrams)], dtype=np.int64)
    end = np.array(stops[n - 1 :][: len(ngrams)], dtype=np.int64)
    first = np.searchsorted(ends, begin, side="right")
    last = np.searchsorted(ends, end - 1, side="right")
    return ngrams, np.stack((first, last), axis=1).astype(np.int32)


def _decode_pieces(pieces: Sequence[bytes]) -> Iterator[str]:
    """Each piece as text; a character that is cut in two goes to where it ends."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for number, piece in enumerate(pieces):
        yield decoder.decode(piece, final=number == len(pieces) - 1)
