"""Scorers for tests: one that knows nothing, and one that asks a torch GPT-2 the naive way."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

from eval.scorer import VOCABULARY_SIZE, Encode, LogLikelihoods


class UniformScorer:
    """Every token is as likely as any other; token 0 is the argmax unless masked."""

    def __init__(self, context: int = 1024) -> None:
        self.context = context
        self.asked: list[int] = []

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[LogLikelihoods]:
        self.asked.append(len(requests))
        best = next(i for i in range(VOCABULARY_SIZE) if i not in set(masked_ids))
        answers = []
        for tokens, start in zip(requests, scored_from, strict=True):
            assert 1 <= start < len(tokens) <= self.context + 1
            scored = np.array(tokens[start:])
            answers.append((np.full(len(scored), -math.log(VOCABULARY_SIZE)), scored == best))
        return answers


class NaiveScorer:
    """A transformers GPT-2 asked one request at a time, every position through the head."""

    def __init__(self, model: Any, context: int = 1024) -> None:
        self.model = model
        self.context = context

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[LogLikelihoods]:
        return [
            self._one(tokens, start, masked_ids)
            for tokens, start in zip(requests, scored_from, strict=True)
        ]

    def _one(self, tokens: Sequence[int], start: int, masked_ids: Sequence[int]) -> LogLikelihoods:
        import torch

        with torch.inference_mode():
            hidden = self.model.transformer(torch.tensor([tokens[:-1]])).last_hidden_state
            logits = self.model.lm_head(hidden[0, start - 1 :]).float()
        targets = torch.tensor(tokens[start:])
        found = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        logits = logits.clone()
        logits[:, list(masked_ids)] = -torch.inf
        return found.numpy(), (logits.argmax(-1) == targets).numpy()


class BatchedScorer(NaiveScorer):
    """The same model, requests sorted by length, padded and batched by eight."""

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[LogLikelihoods]:
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i]))
        answers: dict[int, LogLikelihoods] = {}
        for first in range(0, len(order), 8):
            batch = order[first : first + 8]
            found = self._batch(
                [requests[i] for i in batch], [scored_from[i] for i in batch], masked_ids
            )
            answers.update(zip(batch, found, strict=True))
        return [answers[i] for i in range(len(requests))]

    def _batch(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int],
    ) -> list[LogLikelihoods]:
        import torch

        longest = max(map(len, requests)) - 1
        padded = [[*tokens[:-1], *[0] * (longest - len(tokens) + 1)] for tokens in requests]
        with torch.inference_mode():
            hidden = self.model.transformer(torch.tensor(padded)).last_hidden_state
            answers = []
            for row, (tokens, start) in enumerate(zip(requests, scored_from, strict=True)):
                logits = self.model.lm_head(hidden[row, start - 1 : len(tokens) - 1]).float()
                targets = torch.tensor(tokens[start:])
                found = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
                logits[:, list(masked_ids)] = -torch.inf
                answers.append((found.numpy(), (logits.argmax(-1) == targets).numpy()))
        return answers


@cache
def random_gpt2(layers: int = 2, width: int = 64, context: int = 1024) -> Any:
    """A small GPT-2 with random weights over the whole vocabulary, always the same."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Ten times GPT-2's own spread, so that items differ clearly.
    config = GPT2Config(
        n_layer=layers, n_embd=width, n_head=2, n_positions=context, initializer_range=0.2
    )
    return GPT2LMHeadModel(config).eval()


@cache
def gpt2_encoding(vocabulary: Path) -> Encode:
    """GPT-2's BPE from the folder that holds `vocab.bpe` and `encoder.json`."""
    ranks = data_gym_to_mergeable_bpe_ranks(
        vocab_bpe_file=str(vocabulary / "vocab.bpe"),
        encoder_json_file=str(vocabulary / "encoder.json"),
    )
    encoding = tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=VOCABULARY_SIZE,
        pat_str=r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": 50256},
    )
    return encoding.encode_ordinary


def byte_encoding(text: str) -> list[int]:
    """A token a byte: for tests without the vocabulary."""
    return list(text.encode("utf-8"))


def silent(_done: int, _total: int) -> None:
    """Nobody listens."""
