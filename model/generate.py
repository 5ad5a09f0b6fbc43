"""Text from a network: temperature, top-k, top-p, several samples, the same for the same seed.

Each sample has a generator of its own, seeded by (seed, number of the sample), and is computed by
itself: the last bits of a matrix product depend on its number of rows, so what else is drawn in a
batch could change a sample. (That has a price: on one core, eight rows together take 0.25 to 0.5 of
the time of eight alone, measured for the products of 124M and 1558M.) The prompt is read once for
all samples. Keys and values of earlier tokens are kept; when the context is full, the latest half
of it is read anew and generation goes on.

Shape suffixes: T tokens, C width, K candidates, V vocabulary.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.cache import Cache
from model.errors import SettingsError, WeightsError
from model.gpt2 import GPT2, Block

END_OF_TEXT = 50256


def generate(
    network: GPT2,
    encode: Callable[[str], list[int]],
    decode: Callable[[Sequence[int]], str],
    prompt: str,
    *,
    max_new_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    samples: int = 1,
) -> Iterator[str]:
    """Continuations of `prompt` (without it), each up to `<|endoftext|>` or the limit.

    An empty prompt stands for the beginning of a document. `temperature` 0 always takes the
    likeliest token; `top_k` 0 and `top_p` 1 leave all tokens in play. Each of the `samples` is
    given when it is drawn.

    Raises:
        SettingsError: a setting is out of range, or the prompt leaves no room.
        WeightsError: the network gives no probabilities, because its weights are not finite.
    """
    start = encode(prompt) or [min(END_OF_TEXT, network.config.vocabulary - 1)]
    grown = generate_tokens(
        network,
        start,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        samples=samples,
    )
    return (decode(tokens) for tokens in grown)


def lay_out_for_one(network: GPT2) -> GPT2:
    """Store the widening matrices of a network on the CPU by columns; the numbers stay the same.

    A token by itself reads every weight once. By columns, memory gives the matrices from C to 3 C
    and 4 C a quarter to a third faster (measured at 124M); the others are best as they are. Last
    bits of what the network computes change.
    """
    if network.wte.weight.device.type == "cpu":
        for block in network.h:
            assert isinstance(block, Block)
            for linear in (block.attn.c_attn, block.mlp.c_fc):
                linear.weight.data = linear.weight.data.t().contiguous().t()
    return network


def generate_tokens(
    network: GPT2,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    samples: int = 1,
    end: int = END_OF_TEXT,
) -> Iterator[list[int]]:
    """The new tokens of each sample, `end` left out, one sample after the other; see `generate`."""
    _check(network, prompt, max_new_tokens, temperature, top_k, top_p, samples)
    rule = Rule(temperature, top_k, top_p)
    return _draw_all(network.eval(), prompt, rule, max_new_tokens, seed, samples, end)


@dataclass(frozen=True)
class Rule:
    """How the next token is chosen; see `generate`."""

    temperature: float
    top_k: int
    top_p: float

    def choose(self, logits_V: Tensor, generator: torch.Generator) -> int:
        """One token."""
        if not math.isfinite(logits_V.max()):
            raise WeightsError("the network's logits are not finite numbers; its training diverged")
        if self.temperature == 0:
            return int(logits_V.argmax())
        ids_K, probability_K = self.candidates(logits_V)
        return int(ids_K[torch.multinomial(probability_K, 1, generator=generator)])

    def candidates(self, logits_V: Tensor) -> tuple[Tensor, Tensor]:
        """The ids that may be chosen, the likeliest first, and their probabilities.

        Of ids that are equally likely, the lower comes first.
        """
        if 0 < self.top_k < len(logits_V):
            least = logits_V.topk(self.top_k).values[-1]
            ids_K = (logits_V >= least).nonzero().squeeze(1)
        else:
            ids_K = torch.arange(len(logits_V))
        sorted_K, order_K = torch.sort(logits_V[ids_K], descending=True, stable=True)
        sorted_K, ids_K = sorted_K[: self.top_k or None], ids_K[order_K[: self.top_k or None]]
        probability_K = torch.softmax((sorted_K - sorted_K[0]) / self.temperature, 0)
        if self.top_p < 1:
            # A token stays if those before it do not reach top_p yet: the first always stays.
            before_K = probability_K.cumsum(0) - probability_K
            kept_K = before_K < self.top_p
            ids_K, probability_K = ids_K[kept_K], probability_K[kept_K]
        return ids_K, probability_K / probability_K.sum()


@torch.inference_mode()
def _draw_all(
    network: GPT2,
    prompt: Sequence[int],
    rule: Rule,
    max_new_tokens: int,
    seed: int,
    samples: int,
    end: int,
) -> Iterator[list[int]]:
    config = network.config
    cache = Cache(config.layers, min(config.context, len(prompt) + max_new_tokens))
    logits_V = _read(network, prompt, cache)
    for sample in range(samples):
        generator = torch.Generator().manual_seed(sample_seed(seed, sample))
        text = _Text(network, list(prompt), cache.copy(), logits_V)
        grown: list[int] = []
        while len(grown) < max_new_tokens:
            token = rule.choose(text.logits_V, generator)
            if token == end:
                break
            grown.append(token)
            if len(grown) < max_new_tokens:
                text.append(token)
        yield grown


class _Text:
    """A text that grows, and the logits of its next token."""

    def __init__(self, network: GPT2, tokens: list[int], cache: Cache, logits_V: Tensor) -> None:
        self._network, self._tokens, self._cache = network, tokens, cache
        self.logits_V = logits_V

    def append(self, token: int) -> None:
        self._tokens.append(token)
        unread = [token]
        context = self._network.config.context
        if self._cache.length == context:
            self._cache = Cache(self._network.config.layers, context)
            unread = self._tokens[-max(context // 2, 1) :]
        self.logits_V = _read(self._network, unread, self._cache)


def _read(network: GPT2, tokens: Sequence[int], cache: Cache) -> Tensor:
    """Read tokens; the logits of the one that comes next, float32 on the CPU."""
    tokens_1T = torch.tensor([list(tokens)], device=network.wte.weight.device)
    last_11C = network.hidden_states(tokens_1T, cache)[:, -1:]
    return network.logits(last_11C)[0, 0].float().cpu()


def sample_seed(seed: int, sample: int) -> int:
    """What a sample's generator starts from."""
    digest = hashlib.blake2b(f"sample/{seed}/{sample}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _check(
    network: GPT2,
    prompt: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    samples: int,
) -> None:
    if not 1 <= len(prompt) < network.config.context:
        raise SettingsError(
            f"the prompt has {len(prompt)} tokens; expected 1 to {network.config.context - 1}"
        )
    if not 0 <= min(prompt) <= max(prompt) < network.config.vocabulary:
        raise SettingsError(
            f"the prompt has token {max(prompt)}; the network knows {network.config.vocabulary}"
        )
    if (
        not 0 <= temperature < math.inf
        or top_k < 0
        or not 0 < top_p <= 1
        or samples < 1
        or max_new_tokens < 0
    ):
        raise SettingsError(
            f"temperature {temperature} must be ≥ 0, top_k {top_k} ≥ 0, top_p {top_p} in (0, 1], "
            f"samples {samples} ≥ 1, max_new_tokens {max_new_tokens} ≥ 0"
        )
