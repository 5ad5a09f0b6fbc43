"""What is scored, and how this room asks: the only thing that evaluation knows of a model.

`model` has a class that satisfies `Scorer`; tests have smaller ones. The BPE comes as a plain
function, so that this room needs no vocabulary of its own.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

END_OF_TEXT = 50256
"""GPT-2's `<|endoftext|>`: the boundary between documents, the only special token."""

VOCABULARY_SIZE = 50257
"""Token ids of GPT-2's vocabulary, `<|endoftext|>` included."""

LogLikelihoods = tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]
"""Of one request: natural log-probabilities of the scored tokens, and which were the argmax."""

Encode = Callable[[str], list[int]]
"""GPT-2's byte-pair encoding of a text, without special tokens."""

Progress = Callable[[int, int], None]
"""Told `(done, total)` now and then; a few calls a second at most."""


class Scorer(Protocol):
    """A causal language model over GPT-2's vocabulary, seen through token likelihoods.

    An optional attribute `dtype` names the arithmetic ("bfloat16"); it goes into the protocol.
    Another, `block_tokens`, tells how many input tokens it is best asked at once.
    """

    context: int
    """Most input tokens at once (GPT-2: 1024)."""

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[LogLikelihoods]:
        """Natural log-probability of each token from index `scored_from[i]` (≥ 1) on.

        A request has at most `context + 1` tokens: the last is only predicted. The second array
        tells whether each token is the argmax; ids in `masked_ids` are left out of the argmax
        only. The answers come in the order of the requests, whatever order they were computed in.
        """


def arithmetic_of(scorer: Scorer) -> str:
    """The scorer's dtype as a protocol states it: "float32" unless it says otherwise."""
    return str(getattr(scorer, "dtype", "float32")).removeprefix("torch.")
