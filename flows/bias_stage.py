"""The bias stage: the model and evaluation rooms joined, in a child process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.bias import BiasConfig, probe_bias
from webtext.counts import Progress


def probe_model(
    *,
    model: Path,
    occupations: Path,
    pairs: Path,
    device: str,
    config: BiasConfig,
    destination: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Probe the model in a folder. One thread computes, so that sums depend on no other work.

    Returns:
        How many continuations were drawn, and in how many no listed occupation was named.
    """
    import torch

    from model.generate import generate
    from model.likelihood import load_scorer
    from webtext.vocabulary import gpt2_encoding

    torch.set_num_threads(1)
    scorer, encoding = load_scorer(model, device), gpt2_encoding()

    def continue_prompt(prompt: str, samples: int) -> Iterator[str]:
        return generate(
            scorer.network,
            encoding.encode_ordinary,
            encoding.decode,
            prompt,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            seed=config.seed,
            samples=samples,
        )

    bias = probe_bias(
        scorer=scorer,
        encode=encoding.encode_ordinary,
        continue_prompt=continue_prompt,
        occupations=occupations,
        pairs=pairs,
        destination=destination,
        config=config,
        progress=progress,
    )
    return {
        "continuations": sum(group.samples for group in bias.groups),
        "unlisted": sum(group.unlisted for group in bias.groups),
    }
