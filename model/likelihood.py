"""Log-likelihoods of token sequences: what evaluation asks of a model.

Requests are batched by length and padded on the right (attention is causal, so padding changes
nothing before it); the head is applied to scored positions only, in chunks, so memory is bounded
whatever is asked. An answer does not depend on its neighbours beyond 1e-5.

Shape suffixes: B requests of a batch, T tokens, C width, N scored positions, n a chunk of them.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.errors import SettingsError
from model.export import import_model
from model.gpt2 import GPT2
from model.head import CHUNK_TOKENS, chunk_logits, log_sum_exp

BATCH_TOKENS = 4096  # padded tokens at once: enough to fill two cores, 13 MB of states at width 768

Answer = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


class GPT2Scorer:
    """Scores token sequences with a GPT-2."""

    def __init__(
        self, network: GPT2, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.network = network.to(device=device, dtype=dtype).eval()
        self.device, self.dtype = torch.device(device), dtype
        self.context: int = network.config.context

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
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i]), i))
        for batch in length_batches(order, [len(r) for r in requests]):
            found = self._score(
                [requests[i] for i in batch], [scored_from[i] for i in batch], masked
            )
            for i, answer in zip(batch, found, strict=True):
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

    @torch.inference_mode()
    def _score(
        self, requests: list[Sequence[int]], starts: list[int], masked: Tensor
    ) -> list[Answer]:
        longest = max(len(request) for request in requests) - 1
        tokens_BT = torch.zeros(len(requests), longest, dtype=torch.long)
        for row, request in enumerate(requests):
            tokens_BT[row, : len(request) - 1] = torch.tensor(request[:-1])
        x_BTC = self.network.hidden_states(tokens_BT.to(self.device))
        x_NC = torch.cat(
            [
                x_BTC[i, s - 1 : len(r) - 1]
                for i, (r, s) in enumerate(zip(requests, starts, strict=True))
            ]
        )
        targets = [t for r, s in zip(requests, starts, strict=True) for t in r[s:]]
        log_p, is_best = self._predict(x_NC, torch.tensor(targets, device=self.device), masked)
        cuts = np.cumsum([len(r) - s for r, s in zip(requests, starts, strict=True)])[:-1]
        return list(zip(np.split(log_p, cuts), np.split(is_best, cuts), strict=True))

    def _predict(self, x_NC: Tensor, targets_N: Tensor, masked: Tensor) -> Answer:
        """Log-probabilities of the targets and whether each is the argmax, chunk by chunk."""
        weight_VC, vocabulary = self.network.wte.weight, self.network.config.vocabulary
        log_p_N = torch.empty(len(x_NC), dtype=torch.float32)
        is_best_N = torch.empty(len(x_NC), dtype=torch.bool)
        buffer_NV = x_NC.new_empty(min(CHUNK_TOKENS, len(x_NC)), len(weight_VC))
        for start in range(0, len(x_NC), CHUNK_TOKENS):
            rows = slice(start, start + CHUNK_TOKENS)
            logits_nV = chunk_logits(x_NC[rows], weight_VC, vocabulary, buffer_NV).float()
            target_logit_n = logits_nV.gather(1, targets_N[rows].unsqueeze(1)).squeeze(1)
            best_n = _argmax_without(logits_nV, masked)
            is_best_N[rows] = (best_n == targets_N[rows]).cpu()
            log_p_N[rows] = (target_logit_n - log_sum_exp(logits_nV)).cpu()
        return log_p_N.numpy(), is_best_N.numpy()


def _argmax_without(logits_nV: Tensor, masked: Tensor) -> Tensor:
    """The likeliest id of each row, leaving out `masked`; the logits are the same afterwards."""
    if not len(masked):
        return logits_nV.argmax(1)
    kept = logits_nV[:, masked]
    logits_nV[:, masked] = float("-inf")
    best_n = logits_nV.argmax(1)
    logits_nV[:, masked] = kept
    return best_n


def length_batches(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Groups of consecutive requests, longest first, of at most `BATCH_TOKENS` with padding."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def load_scorer(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> GPT2Scorer:
    """A scorer over the Hugging Face GPT-2 folder `folder`.

    Raises:
        WeightsError: the folder is not a GPT-2 that this network can be.
    """
    return GPT2Scorer(import_model(folder), device=device, dtype=dtype)
