"""Features of texts: a GPT-2's last hidden states, after its final LayerNorm.

They are those of Hugging Face's `GPT2Model` (`last_hidden_state`), to 1e-5. A text is read from its
first token, without `<|endoftext|>` before it, and up to the network's context; what lies behind
that is cut off, and counted. Two arrays are written:

- `states`, float32. Pool `none`: (tokens, width), a row for each token that was read, the texts
  one after the other. Pool `last` or `mean`: (texts, width), the state of the last token, or the
  mean of all; zeros for a text without tokens.
- `counts`, int64 (texts, 2): the tokens that were read of each text, and the tokens it has. The
  states of text i begin at row `counts[:i, 0].sum()`.

A destination that ends in `.npy` gets `states`, with `counts` beside it in `STEM.counts.npy`; one
that ends in `.safetensors` gets both. The same texts and weights give the same bytes: batches are a
function of the texts' lengths.

Shape suffixes: B texts of a batch, T tokens, C width.
"""

# ruff: noqa: N806  names of tensors end in their shape

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from model.config import Settings
from model.errors import SettingsError, TextsError
from model.gpt2 import GPT2
from model.likelihood import length_batches
from model.weights_file import header_bytes

Pool = Literal["none", "last", "mean"]
Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]
_WINDOW_TEXTS = 1024
"""Texts in memory at once, among which batches of like lengths are made."""


class FeatureCounts(Settings):
    """What became of the texts."""

    texts: int
    """Texts of the file."""
    tokens: int
    """Tokens that were read."""
    cut_texts: int
    """Texts longer than the context, of which only the beginning was read."""
    cut_tokens: int
    """Tokens of those texts that were not read."""
    empty_texts: int
    """Texts without a token."""
    shape: tuple[int, int]
    """Rows and width of `states`."""


def write_features(
    network: GPT2,
    texts: Callable[[], Iterable[str]],
    encode: Callable[[str], list[int]],
    destination: Path,
    *,
    pool: Pool = "none",
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> FeatureCounts:
    """Write the features of texts to a file; it appears under its name when it is whole.

    Args:
        network: gives the states.
        texts: gives all texts anew each time: they are gone through twice, to count and to read.
        encode: a text's tokens.
        destination: ends in `.npy` or `.safetensors`.
        pool: every token's state, or one for a text.
        device: where the network computes.
        progress: called with the tokens done and all tokens.

    Raises:
        SettingsError: the destination has another ending, or the network another vocabulary.
        TextsError: the texts changed between the two readings.
    """
    if destination.suffix not in (".npy", ".safetensors"):
        raise SettingsError(f"{destination}: expected a name that ends in .npy or .safetensors")
    context = network.config.context
    whole = np.fromiter(_count_tokens(texts(), encode, network.config.vocabulary), np.int64)
    counts = np.stack([np.minimum(whole, context), whole], 1)
    tokens = int(counts[:, 0].sum())
    rows = len(counts) if pool != "none" else tokens
    aside = destination.with_name(f".part-{destination.name}")
    try:
        states = _reserve(aside, rows, network.config.width, counts, pool)
        table = _Table(network.to(device).eval(), states, pool, device)
        for window in _windows(texts(), encode):
            lengths = counts[table.texts : table.texts + _WINDOW_TEXTS, 1]
            _check_unchanged(lengths, window)
            table.append([read[:context] for read in window])
            progress(table.tokens, tokens)
        _check_unchanged(counts[table.texts :, 1], [])
        _publish(aside, destination, counts)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return FeatureCounts(
        texts=len(counts),
        tokens=tokens,
        cut_texts=int((whole > context).sum()),
        cut_tokens=int(whole.sum()) - tokens,
        empty_texts=int((whole == 0).sum()),
        shape=(rows, network.config.width),
    )


class _Table:
    """The rows of `states`, filled text by text."""

    def __init__(self, network: GPT2, states: Floats, pool: Pool, device: str) -> None:
        self._network, self._states, self._pool, self._device = network, states, pool, device
        self.texts = 0
        self.tokens = 0

    def append(self, window: list[list[int]]) -> None:
        """Compute the states of some texts, like lengths together, and put them into place."""
        lengths = [len(tokens) for tokens in window]
        starts = self.tokens + np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        order = sorted((i for i, n in enumerate(lengths) if n), key=lambda i: (-lengths[i], i))
        for batch in length_batches(order, lengths):
            found = _compute_states([window[i] for i in batch], self._network, self._device)
            for i, found_TC in zip(batch, found, strict=True):
                if self._pool == "none":
                    self._states[starts[i] : starts[i + 1]] = found_TC
                else:
                    row = found_TC[-1] if self._pool == "last" else found_TC.mean(0)
                    self._states[self.texts + i] = row
        self.texts += len(window)
        self.tokens += sum(lengths)


@torch.inference_mode()
def _compute_states(batch: list[list[int]], network: GPT2, device: str) -> list[Floats]:
    """The states of texts, each (T, C). Padding is on the right, where causal attention ends."""
    tokens_BT = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.long)
    for row, tokens in enumerate(batch):
        tokens_BT[row, : len(tokens)] = torch.tensor(tokens)
    x_BTC = network.hidden_states(tokens_BT.to(device)).float().cpu().numpy()
    return [x_TC[: len(tokens)] for x_TC, tokens in zip(x_BTC, batch, strict=True)]


def _windows(texts: Iterable[str], encode: Callable[[str], list[int]]) -> Iterator[list[list[int]]]:
    """The tokens of some texts at a time."""
    unread = iter(texts)
    while window := [encode(text) for text in islice(unread, _WINDOW_TEXTS)]:
        yield window


def _count_tokens(
    texts: Iterable[str], encode: Callable[[str], list[int]], vocabulary: int
) -> Iterator[int]:
    for number, text in enumerate(texts):
        tokens = encode(text)
        if tokens and max(tokens) >= vocabulary:
            raise SettingsError(
                f"text {number} has token {max(tokens)}, but the network knows {vocabulary}: it is "
                "of another vocabulary"
            )
        yield len(tokens)


def _check_unchanged(lengths: Counts, window: list[list[int]]) -> None:
    if lengths.tolist() != [len(tokens) for tokens in window]:
        raise TextsError("the file of texts changed while it was read; give the command again")


def _reserve(path: Path, rows: int, width: int, counts: Counts, pool: Pool) -> Floats:
    """Write all but the states, and give the states as an array over the file."""
    if path.suffix == ".npy":
        before = BytesIO()
        layout = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(before, layout)
        head = before.getvalue()
    else:
        tensors = {"counts": ("I64", counts.shape), "states": ("F32", (rows, width))}
        metadata = {"format": "pt", "pool": pool}
        head = header_bytes(tensors, metadata) + counts.astype("<i8").tobytes()
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 4 * rows * width)
    if not rows:
        return np.empty((0, width), np.float32)
    return np.memmap(path, "<f4", "r+", len(head), (rows, width))


def _publish(aside: Path, destination: Path, counts: Counts) -> None:
    """Give the files their names, the states last."""
    if destination.suffix == ".npy":
        beside = destination.with_suffix(".counts.npy")
        hidden = beside.with_name(f".part-{beside.name}")
        np.save(hidden, counts)
        hidden.replace(beside)
    aside.replace(destination)
