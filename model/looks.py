"""What is looked at between steps: validation loss, and texts that the network writes.

Neither changes the training. A stop may come in the middle of a look; then nothing of it is kept,
and the resumed run looks again.
"""

# ruff: noqa: N806  names of tensors end in their shape

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batches import read_batch
from model.config import VOCABULARY, TrainSpec
from model.engine import any_rank, local_device, sum_over_ranks
from model.export import gathered_weights
from model.generate import generate_tokens
from model.gpt2 import GPT2
from model.sequences import UNPREDICTED, Shards, validation_indices
from model.tokenizer_files import END_OF_TEXT_ID, read_vocabulary

Stopped = Callable[[], bool]


class Interrupted(Exception):  # noqa: N818  no error: the training goes on later
    """A stop was asked for in the middle of a look."""


def is_due(every_steps: int, step: int, steps: int) -> bool:
    """Whether what happens each so many steps (0: never) and after the last is due."""
    return every_steps > 0 and (step % every_steps == 0 or step == steps)


@torch.no_grad()
def measure_loss(
    engine: Any, shards: Shards, spec: TrainSpec, rank: int, ranks: int, stopped: Stopped
) -> float:
    """Mean loss of the chosen validation sequences in nats a token; every rank calls it.

    Raises:
        Interrupted: `stopped` holds on some rank.
    """
    engine.eval()
    indices = validation_indices(shards, spec.training.validation_sequences)
    mine = indices[rank::ranks]
    total = 0.0
    # Ranks must call the engine equally often (ZeRO 3 gathers in it), always with the same shape:
    # what a rank lacks is filled with a sequence that has no targets.
    longest = -(-len(indices) // ranks)
    size = min(spec.training.micro_batch, longest)
    for turn in range(0, longest, size):
        if any_rank(stopped()):
            raise Interrupted
        chosen = mine[turn : turn + size]
        filled = np.concatenate((chosen, np.repeat(indices[:1], size - len(chosen))))
        tokens_BT, targets_BT = read_batch(shards, filled, spec)
        targets_BT[len(chosen) :] = UNPREDICTED
        total += engine(tokens_BT.to(local_device()), targets_BT.to(local_device()), 1.0).item()
    predicted = sum(shards.predicted(int(index)) for index in indices)
    return sum_over_ranks(total) / predicted


def write_samples(
    engine: Any, spec: TrainSpec, step: int, rank: int, stopped: Stopped
) -> list[dict[str, Any]]:
    """Lines for `samples.jsonl`, on rank 0; every rank calls it.

    Each text begins a document, and is drawn from the training's seed and its own number, so the
    same network writes the same texts. The text is null for a vocabulary that is not GPT-2's.

    Raises:
        Interrupted: `stopped` holds on some rank after the texts.
    """
    weights = gathered_weights(engine.module)
    lines = _draw(weights, spec, step, stopped) if rank == 0 else []
    if any_rank(stopped()):
        raise Interrupted
    return lines


def _draw(
    weights: dict[str, Tensor], spec: TrainSpec, step: int, stopped: Stopped
) -> list[dict[str, Any]]:
    with torch.device("meta"):
        network = GPT2(spec.network)
    network.load_state_dict(weights, assign=True)  # not a copy
    config, vocabulary = spec.training.samples, spec.network.vocabulary
    end = min(END_OF_TEXT_ID, vocabulary - 1)
    texts = generate_tokens(
        network,
        [end],
        max_new_tokens=min(config.max_new_tokens, spec.network.context - 1),
        temperature=config.temperature,
        top_k=config.top_k,
        seed=spec.training.seed,
        samples=config.samples,
        end=end,
    )
    decode = decoder_of(spec.vocabulary) if vocabulary == VOCABULARY else lambda _tokens: None
    lines = []
    for number, tokens in enumerate(texts):
        lines.append({"step": step, "sample": number, "tokens": tokens, "text": decode(tokens)})
        if stopped():
            break
    return lines


def decoder_of(vocabulary: Path) -> Callable[[Sequence[int]], str | None]:
    """Text of GPT-2's tokens; bytes that are no UTF-8 become U+FFFD.

    Raises:
        WeightsError: a vocabulary file is missing or not GPT-2's.
    """
    encoder, _ = read_vocabulary(vocabulary)
    byte_of = byte_characters()
    pieces = {
        token: bytes(byte_of[c] for c in piece)
        for piece, token in encoder.items()
        if token != END_OF_TEXT_ID
    }

    def decode(tokens: Sequence[int]) -> str:
        return b"".join(pieces[token] for token in tokens).decode("utf-8", errors="replace")

    return decode


def byte_characters() -> dict[str, int]:
    """The byte behind each character of `encoder.json`.

    Printable bytes stand for themselves; the others, in order, are U+0100, U+0101 and so on
    (Radford et al. 2019, released code).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + number): byte for number, byte in enumerate(others)
    }
