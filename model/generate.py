"""Text from a network: temperature, top-k, top-p, several samples, the same for the same seed.

Each sample has a generator of its own, seeded by (seed, number of the sample), so how many are
drawn together does not change any of them. Keys and values of earlier tokens are kept; when the
context is full, the latest half of it is read anew and generation goes on.

Shape suffixes: S samples, T tokens, V vocabulary.
"""

# ruff: noqa: N803, N806  names of tensors end in their shape

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.errors import SettingsError
from model.gpt2 import GPT2, Cache

END_OF_TEXT = 50256


@torch.inference_mode()
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
) -> list[str]:
    """`samples` continuations of `prompt` (without it), each up to `<|endoftext|>` or the limit.

    An empty prompt stands for the beginning of a document. `temperature` 0 always takes the
    likeliest token; `top_k` 0 and `top_p` 1 leave all tokens in play.

    Raises:
        SettingsError: a setting is out of range, or the prompt leaves no room.
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
    return [decode(tokens) for tokens in grown]


@torch.inference_mode()
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
) -> list[list[int]]:
    """The new tokens of each sample, `end` left out; see `generate`."""
    _check(network, prompt, max_new_tokens, temperature, top_k, top_p, samples)
    network.eval()
    device = network.wte.weight.device
    generators = [torch.Generator().manual_seed(_sample_seed(seed, i)) for i in range(samples)]
    tokens_ST = torch.tensor([list(prompt)] * samples, device=device)
    grown: list[list[int]] = [[] for _ in range(samples)]
    open_samples = set(range(samples))
    cache, unread_ST = Cache(network.config.layers), tokens_ST
    for _ in range(max_new_tokens):
        if cache.length + unread_ST.shape[1] > network.config.context:
            cache = Cache(network.config.layers)
            unread_ST = tokens_ST[:, -max(network.config.context // 2, 1) :]
        last_S1C = network.hidden_states(unread_ST, cache)[:, -1:]
        logits_SV = network.logits(last_S1C)[:, 0].float().cpu()
        chosen = [
            _choose(logits_SV[i], temperature, top_k, top_p, generators[i]) for i in range(samples)
        ]
        for i in sorted(open_samples):
            if chosen[i] == end:
                open_samples.discard(i)
            else:
                grown[i].append(chosen[i])
        if not open_samples:
            break
        unread_ST = torch.tensor(chosen, device=device).unsqueeze(1)
        tokens_ST = torch.cat((tokens_ST, unread_ST), 1)
    return grown


def _choose(
    logits_V: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator
) -> int:
    """One token by the rules."""
    if temperature == 0:
        return int(logits_V.argmax())
    sorted_V, ids_V = torch.sort(logits_V / temperature, descending=True, stable=True)
    if top_k:
        sorted_V, ids_V = sorted_V[:top_k], ids_V[:top_k]
    probability_V = torch.softmax(sorted_V, 0)
    if top_p < 1:
        # A token stays if those before it do not reach top_p yet: the first always stays.
        before_V = probability_V.cumsum(0) - probability_V
        probability_V = torch.where(before_V < top_p, probability_V, 0.0)
    return int(ids_V[torch.multinomial(probability_V, 1, generator=generator)])


def _sample_seed(seed: int, sample: int) -> int:
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
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1 or samples < 1 or max_new_tokens < 0:
        raise SettingsError(
            f"temperature {temperature} must be ≥ 0, top_k {top_k} ≥ 0, top_p {top_p} in (0, 1], "
            f"samples {samples} ≥ 1, max_new_tokens {max_new_tokens} ≥ 0"
        )
