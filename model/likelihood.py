"""Log-likelihoods of token sequences: what evaluation asks of a model.

Requests are batched by length and padded on the right (attention is causal, so padding changes
nothing before it), never by more than a twentieth. Requests with the same unscored beginning, as
the ten candidates of a question have, share it: it is computed once, and the rest goes on from its
keys and values. The head is applied to scored positions only, in chunks, so memory is bounded
whatever is asked. On the CPU an answer does not depend on its neighbours beyond 1e-5 nats in
float32 and 1e-4 in bfloat16 (measured: not at all; `model.fixed_attention` says how).

Shape suffixes: B requests of a batch, T tokens, C width, N scored positions, n a chunk of them,
V vocabulary, H heads, D width of a head.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.cache import Cache
from model.checkpoint_network import import_checkpoint, is_checkpoint
from model.errors import SettingsError
from model.export import import_model
from model.gpt2 import GPT2
from model.head import CHUNK_TOKENS, chunk_logits

BATCH_TOKENS = 4096  # padded tokens at once: enough to fill two cores, 13 MB of states at width 768
GPU_BATCH_TOKENS = 65_536
GPU_CHUNK_TOKENS = 4096  # rows of the head at once: 0.8 GB of logits
BLOCK_BATCHES = 8
"""Batches' worth of tokens to be asked at once: few enough that progress is seen on two cores."""
MAX_WASTE = 0.05
"""Largest share of padding in a batch."""
SHARED_TOKENS = 32
"""Beginnings at least this long are computed once for all requests that have them."""

Answer = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


class GPT2Scorer:
    """Scores token sequences with a GPT-2.

    The network computes in `dtype`; the head, its sums and the probabilities are always float32.
    """

    def __init__(
        self, network: GPT2, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.network = network.to(device=device, dtype=dtype).eval()
        self.device, self.dtype = torch.device(device), dtype
        self.context: int = network.config.context
        if self.device.type == "cpu":
            self.network.fix_attention()  # a GPU's kernels take tiles of their own
        self.head_VC = network.wte.weight.detach().float()
        self.batch_tokens = BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS
        self.chunk_tokens = CHUNK_TOKENS if self.device.type == "cpu" else GPU_CHUNK_TOKENS
        self.block_tokens = BLOCK_BATCHES * self.batch_tokens
        self.computed_tokens = 0
        """Tokens that went through the network, padding included."""
        self.padding_tokens = 0
        """How many of them were padding."""

    def log_likelihoods(
        self,
        requests: Sequence[Sequence[int]],
        scored_from: Sequence[int],
        masked_ids: Sequence[int] = (),
    ) -> list[Answer]:
        """Natural log-probability of each token from index `scored_from[i]` (≥ 1) on.

        A request has at most `context + 1` tokens: the last is only predicted. The second array
        tells whether each token is the argmax; ids in `masked_ids` are left out of the argmax only.
        Answers come in the order of the requests, float32.

        Raises:
            SettingsError: a request is too long, or `scored_from` lies outside it.
        """
        self._check(requests, scored_from)
        answers: list[Answer | None] = [None] * len(requests)
        masked = torch.tensor(sorted(set(masked_ids)), dtype=torch.long, device=self.device)
        together, alone = _by_beginning(requests, scored_from)
        order = sorted(alone, key=lambda i: (-len(requests[i]), i))
        batches = length_batches(order, [len(r) - 1 for r in requests], self.batch_tokens)
        for members, hidden in [
            *((batch, self._hidden) for batch in batches),
            *((group, self._hidden_after_one) for group in together),
        ]:
            asked = [requests[i] for i in members]
            starts = [scored_from[i] for i in members]
            with torch.inference_mode():
                found = self._predict(hidden(asked, starts), asked, starts, masked)
            for i, answer in zip(members, found, strict=True):
                answers[i] = answer
        return [answer for answer in answers if answer is not None]

    def _check(self, requests: Sequence[Sequence[int]], scored_from: Sequence[int]) -> None:
        if len(requests) != len(scored_from):
            raise SettingsError(f"{len(requests)} requests, but {len(scored_from)} scored_from")
        for number, (request, start) in enumerate(zip(requests, scored_from, strict=True)):
            if not 2 <= len(request) <= self.context + 1 or not 1 <= start <= len(request):
                raise SettingsError(
                    f"request {number} has {len(request)} tokens, scored from {start}; expected "
                    f"2 to {self.context + 1} tokens, scored from 1 on"
                )

    def _hidden(self, requests: list[Sequence[int]], starts: list[int]) -> Tensor:
        """Hidden states (N, C) of the positions that predict what is scored, request by request."""
        tokens_BT = self._pad([request[:-1] for request in requests])
        x_BTC = self.network.hidden_states(tokens_BT)
        return torch.cat(
            [
                x_BTC[i, s - 1 : len(r) - 1]
                for i, (r, s) in enumerate(zip(requests, starts, strict=True))
            ]
        )

    def _hidden_after_one(self, requests: list[Sequence[int]], starts: list[int]) -> Tensor:
        """The same for requests with one beginning, which is computed once."""
        (start,) = set(starts)
        ends = [request[start:-1] for request in requests]
        first = Cache(self.network.config.layers, start)
        first_C = self.network.hidden_states(self._pad([requests[0][:start]]), first)[0, -1:]
        if not any(ends):
            return first_C.expand(len(requests), -1)
        cache = first.repeat(len(ends), start + max(map(len, ends)))
        x_BTC = self.network.hidden_states(self._pad(ends), cache)
        return torch.cat([torch.cat((first_C, x_BTC[i, : len(e)])) for i, e in enumerate(ends)])

    def _pad(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Token ids (B, T) on the device, filled up on the right with zeros."""
        longest = max(len(sequence) for sequence in sequences)
        tokens_BT = np.zeros((len(sequences), longest), np.int64)
        for row, sequence in zip(tokens_BT, sequences, strict=True):
            row[: len(sequence)] = sequence
        self.computed_tokens += tokens_BT.size
        self.padding_tokens += tokens_BT.size - sum(len(sequence) for sequence in sequences)
        return torch.from_numpy(tokens_BT).to(self.device)

    def _predict(
        self, x_NC: Tensor, requests: list[Sequence[int]], starts: list[int], masked: Tensor
    ) -> list[Answer]:
        """What is scored of each request, from the states that predict it, chunk by chunk."""
        scored = [r[s:] for r, s in zip(requests, starts, strict=True)]
        targets_N = torch.tensor([t for tokens in scored for t in tokens], device=self.device)
        vocabulary = self.network.config.vocabulary
        log_p_N = torch.empty(len(x_NC), dtype=torch.float32)
        is_best_N = torch.empty(len(x_NC), dtype=torch.bool)
        rows_at_once = min(self.chunk_tokens, max(len(x_NC), 1))
        buffer_NV = self.head_VC.new_empty(rows_at_once, len(self.head_VC))
        for start in range(0, len(x_NC), rows_at_once):
            rows = slice(start, start + rows_at_once)
            logits_nV = chunk_logits(x_NC[rows].float(), self.head_VC, vocabulary, buffer_NV)
            target_logit_n = logits_nV.gather(1, targets_N[rows].unsqueeze(1)).squeeze(1)
            highest_n = logits_nV.amax(1)
            is_best_N[rows] = _is_argmax(
                logits_nV, targets_N[rows], target_logit_n, highest_n, masked
            ).cpu()
            total_n = logits_nV.sub_(highest_n.unsqueeze(1)).exp_().sum(1)
            log_p_N[rows] = (target_logit_n - highest_n - total_n.log()).cpu()
        cuts = np.cumsum([len(tokens) for tokens in scored])[:-1]
        log_p, is_best = log_p_N.numpy(), is_best_N.numpy()
        return list(zip(np.split(log_p, cuts), np.split(is_best, cuts), strict=True))


def _is_argmax(
    logits_nV: Tensor, targets_n: Tensor, target_logit_n: Tensor, highest_n: Tensor, masked: Tensor
) -> Tensor:
    """Whether each target is the first of the likeliest ids that are not `masked`.

    The logits are the same afterwards. An argmax costs as much as the exponentials, so it is
    taken only in the rows whose target is the likeliest, or may be.
    """
    kept = logits_nV[:, masked]
    if len(masked):
        logits_nV[:, masked] = float("-inf")
        highest_n = logits_nV.amax(1)
    best_n = highest_n <= target_logit_n
    rows = best_n.nonzero().squeeze(1)
    if len(rows):
        best_n[rows] = logits_nV[rows].argmax(1) == targets_n[rows]
    if len(masked):
        logits_nV[:, masked] = kept
    return best_n


def _by_beginning(
    requests: Sequence[Sequence[int]], scored_from: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """Indices of requests that share all that is before what is scored, and of those alone."""
    found: dict[tuple[int, ...], list[int]] = {}
    alone = []
    for i, (request, start) in enumerate(zip(requests, scored_from, strict=True)):
        if SHARED_TOKENS <= start < len(request):
            found.setdefault(tuple(request[:start]), []).append(i)
        else:
            alone.append(i)
    together = [members for members in found.values() if len(members) > 1]
    return together, alone + [members[0] for members in found.values() if len(members) == 1]


def length_batches(
    order: list[int], lengths: list[int], most_tokens: int = BATCH_TOKENS
) -> Iterator[list[int]]:
    """Groups of consecutive sequences, longest first, of at most `most_tokens` with padding.

    A group ends, too, where one more would make more than `MAX_WASTE` of it padding.
    """
    batch: list[int] = []
    real = 0
    for i in order:
        if batch:
            padded = (len(batch) + 1) * lengths[batch[0]]
            if padded > most_tokens or real + lengths[i] < (1 - MAX_WASTE) * padded:
                yield batch
                batch, real = [], 0
        batch.append(i)
        real += lengths[i]
    if batch:
        yield batch


def load_scorer(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> GPT2Scorer:
    """A scorer over a Hugging Face GPT-2 folder, or over a checkpoint of a training.

    Raises:
        WeightsError: the folder is not a GPT-2 that this network can be.
        CheckpointError: the checkpoint is damaged.
    """
    read = import_checkpoint if is_checkpoint(folder) else import_model
    return GPT2Scorer(read(folder), device=device, dtype=dtype)
