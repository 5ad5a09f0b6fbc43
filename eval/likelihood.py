"""Asks a scorer for the likelihoods of a task's items, a block at a time, so memory stays flat."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from eval.errors import ScorerError
from eval.items import Item, Request, Task
from eval.scorer import LogLikelihoods, Progress, Scorer

BLOCK_TOKENS = 65_536
"""Input tokens handed to a scorer at once, if it does not say: it batches within a block."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a scorer said of one item; a value a request in each tuple."""

    index: int
    """The item's position in the file."""
    units: int
    """Canonical units of the item."""
    answer: int | None
    """Which request is the right answer; None where there is nothing to choose."""
    nll: tuple[float, ...]
    """Nats, summed over the scored tokens."""
    tokens: tuple[int, ...]
    """Scored tokens."""
    all_greedy: tuple[bool, ...]
    """Every scored token was the argmax."""
    last_greedy: tuple[bool, ...]
    """The last token was the argmax."""


def ask(scorer: Scorer, task: Task, progress: Progress) -> list[Likelihood]:
    """Likelihoods of every item of `task`, in its order; `progress` counts items.

    Raises ScorerError where the scorer's answer has the wrong size or is not finite.
    """
    answers: list[Likelihood] = []
    for block in _blocks(task.items, int(getattr(scorer, "block_tokens", BLOCK_TOKENS))):
        requests = [request for item in block for request in item.requests]
        found = iter(_ask_block(scorer, requests, task.masked_ids))
        answers += [_summarise(item, [next(found) for _ in item.requests]) for item in block]
        progress(len(answers), task.total)
    return answers


def _blocks(items: Iterable[Item], most_tokens: int) -> Iterator[list[Item]]:
    """Items in order, as many at once as fit `most_tokens`, at least one."""
    block: list[Item] = []
    tokens = 0
    for item in items:
        needed = sum(len(request.tokens) for request in item.requests)
        if block and tokens + needed > most_tokens:
            yield block
            block, tokens = [], 0
        block.append(item)
        tokens += needed
    if block:
        yield block


def _ask_block(
    scorer: Scorer, requests: list[Request], masked_ids: tuple[int, ...]
) -> list[LogLikelihoods]:
    answers = scorer.log_likelihoods(
        [request.tokens.tolist() for request in requests],
        [request.scored_from for request in requests],
        masked_ids,
    )
    if len(answers) != len(requests):
        raise ScorerError(f"{len(requests)} requests, but {len(answers)} answers")
    for request, (likelihoods, greedy) in zip(requests, answers, strict=True):
        if len(likelihoods) != request.scored or len(greedy) != request.scored:
            raise ScorerError(
                f"{request.scored} tokens to score, but {len(likelihoods)} log-probabilities "
                f"and {len(greedy)} argmax flags"
            )
        if not np.isfinite(likelihoods).all():
            raise ScorerError(
                "a log-probability is not finite: the model's weights or its arithmetic overflow"
            )
    return answers


def _summarise(item: Item, answers: list[LogLikelihoods]) -> Likelihood:
    return Likelihood(
        index=item.index,
        units=item.units,
        answer=item.answer,
        # 64-bit sums: 32-bit ones lose the sixth digit over a thousand tokens.
        nll=tuple(-float(np.sum(found, dtype=np.float64)) for found, _ in answers),
        tokens=tuple(len(found) for found, _ in answers),
        all_greedy=tuple(bool(np.all(greedy)) for _, greedy in answers),
        last_greedy=tuple(bool(greedy[-1]) for _, greedy in answers),
    )
