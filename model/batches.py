"""The batches of a training, read ahead by a thread, so that the loop never waits for a disk.

Shape suffixes: B sequences, T tokens.
"""

# ruff: noqa: N806, N815  names of tensors end in their shape

import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import Tensor

from model.config import TrainSpec
from model.errors import ShardsError
from model.sequences import Indices, Order, Shards

_AHEAD = 4  # micro-batches: enough to hide one slow read, and little memory
_POLL_S = 0.1


class Batch(NamedTuple):
    """One rank's micro-batch: always of the same shape."""

    tokens_BT: Tensor
    """int64."""
    targets_BT: Tensor
    """int64; −100: no target."""
    predicted: int
    """Targets of the whole step, over all ranks and micro-batches."""


class Batches:
    """One rank's micro-batches from a step on, in order; a context manager that ends its thread."""

    def __init__(
        self, order: Order, spec: TrainSpec, first_step: int, rank: int, ranks: int
    ) -> None:
        self._order, self._spec = order, spec
        self._first, self._rank, self._ranks = first_step, rank, ranks
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_all, daemon=True, name="batches")
        self.waited_s = 0.0
        """How long `take` has waited in all."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def take(self, device: torch.device) -> Batch:
        """The next micro-batch, on `device`.

        Raises:
            ShardsError: a token is not of the vocabulary.
        """
        began = time.monotonic()
        batch = self._ready.get()
        self.waited_s += time.monotonic() - began
        if isinstance(batch, BaseException):
            raise batch
        return batch._replace(
            tokens_BT=batch.tokens_BT.to(device, non_blocking=True),
            targets_BT=batch.targets_BT.to(device, non_blocking=True),
        )

    def _read_all(self) -> None:
        try:
            for batch in self._batches():
                if not self._put(batch):
                    return
        except BaseException as error:  # noqa: BLE001  it is raised where the batch is taken
            self._put(error)

    def _put(self, batch: Batch | BaseException) -> bool:
        """Queue it; False once nobody wants it any more."""
        while not self._over.is_set():
            try:
                self._ready.put(batch, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _batches(self) -> Iterator[Batch]:
        config = self._spec.training
        accumulation = config.sequences_per_step // (config.micro_batch * self._ranks)
        pin = torch.cuda.is_available()
        for step in range(self._first, config.steps + 1):
            indices = self._order.step_indices(step)
            predicted = self._order.predicted_tokens(step)
            for micro in range(accumulation):
                share = share_of(indices, micro * self._ranks + self._rank, config.micro_batch)
                tokens_BT, targets_BT = read_batch(self._order.shards, share, self._spec)
                if pin:  # lets the copy to the device go on beside its work
                    tokens_BT, targets_BT = tokens_BT.pin_memory(), targets_BT.pin_memory()
                yield Batch(tokens_BT, targets_BT, predicted)


def read_batch(shards: Shards, indices: Indices, spec: TrainSpec) -> tuple[Tensor, Tensor]:
    """Tokens and targets (−100: none) of some sequences, int64 (B, T).

    Raises:
        ShardsError: a token is not of the vocabulary.
    """
    tokens, targets = shards.read(indices)
    if tokens.size and tokens.max() >= spec.network.vocabulary:
        where = shards.address(int(indices[int(tokens.max(1).argmax())]))
        raise ShardsError(
            f"{where.shard} row {where.row} holds token {tokens.max()}, but the vocabulary has "
            f"{spec.network.vocabulary}; the shards are damaged or of another vocabulary"
        )
    return torch.from_numpy(tokens), torch.from_numpy(targets)


def share_of(indices: Indices, number: int, size: int) -> Indices:
    """The `number`-th group of `size` sequences of a step."""
    return indices[number * size : (number + 1) * size]
