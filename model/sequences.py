"""Which tokens a training step reads: the loader, a pure function of (shards, seed, step).

A shard is a `.npy` of shape (rows, context) of uint16; a row is a sequence. Every epoch visits
every sequence once, in an order given by a keyed permutation that can be evaluated at any point in
constant time and memory (a Feistel network with cycle-walking, so a corpus of any size costs
nothing to shuffle). A step therefore needs no log: `sequences_of_step` says what it read, and
`steps_of_sequence` which steps read a sequence.

The targets of a row are its tokens shifted by one, the last being the first token of the next row
of the same shard: only the last token of a shard is unpredicted. This module does not import torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.errors import ShardsError

Indices = npt.NDArray[np.int64]
ROUNDS = 6  # four suffice for a pseudo-random permutation (Luby & Rackoff 1988, strong form)
UNPREDICTED = -100
SAMPLED_BYTES = 65536


class SequenceAddress(NamedTuple):
    """Where a sequence lies: a shard's path inside the artifact, and a row of it."""

    shard: str
    row: int


@dataclass(frozen=True, kw_only=True)
class Permutation:
    """A keyed bijection of 0 … size − 1, evaluated point by point."""

    size: int
    key: bytes
    _half_bits: int = field(init=False, repr=False)
    _keys: list[np.uint64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bits = max((self.size - 1).bit_length(), 2)
        object.__setattr__(self, "_half_bits", (bits + 1) // 2)
        object.__setattr__(self, "_keys", [self._round_key(r) for r in range(ROUNDS)])

    def _round_key(self, number: int) -> np.uint64:
        digest = hashlib.blake2b(number.to_bytes(1, "little"), key=self.key, digest_size=8).digest()
        return np.uint64(int.from_bytes(digest, "little"))

    def forward(self, places: Indices) -> Indices:
        """The sequence at each place of the order."""
        return self._walk(places, self._keys)

    def inverse(self, sequences: Indices) -> Indices:
        """The place of each sequence in the order."""
        return self._walk(sequences, self._keys[::-1], backwards=True)

    def _walk(self, values: Indices, keys: list[np.uint64], *, backwards: bool = False) -> Indices:
        """Apply the network until every value is below `size` again (under 4 turns on average)."""
        result = values.astype(np.uint64)
        outside = np.ones(len(result), dtype=bool)
        while outside.any():
            result[outside] = self._network(result[outside], keys, backwards)
            outside = result >= np.uint64(self.size)
        return result.astype(np.int64)

    def _network(
        self, values: npt.NDArray[np.uint64], keys: list[np.uint64], backwards: bool
    ) -> npt.NDArray[np.uint64]:
        bits, mask = np.uint64(self._half_bits), np.uint64((1 << self._half_bits) - 1)
        left, right = values >> bits, values & mask
        for key in keys:
            if backwards:
                left, right = right ^ (_mix(left ^ key) & mask), left
            else:
                left, right = right, left ^ (_mix(right ^ key) & mask)
        return (left << bits) | right


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A 64-bit finaliser: every input bit reaches every output bit (SplitMix64, Steele 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Shards:
    """The sequences of one split of a shards artifact, memory-mapped as they are needed."""

    def __init__(self, folder: Path, split: str, context: int) -> None:
        """Read the headers of `folder/split/*.npy`.

        Raises:
            ShardsError: a shard is not a uint16 array of rows of `context` tokens.
        """
        self.folder, self.split, self.context = folder, split, context
        rows = [(path.name, _shard_rows(path, context)) for path in _shard_paths(folder, split)]
        rows = [(name, count) for name, count in rows if count]
        self.names = [f"{split}/{name}" for name, _ in rows]
        self.rows = [count for _, count in rows]
        self.ends = np.cumsum(self.rows, dtype=np.int64)
        self._open: dict[int, npt.NDArray[np.uint16]] = {}

    @property
    def sequences(self) -> int:
        """Rows of all shards together."""
        return int(self.ends[-1]) if self.rows else 0

    def locate(self, index: int) -> tuple[int, int]:
        """The number of the shard of sequence `index`, and its row there."""
        shard = int(np.searchsorted(self.ends, index, side="right"))
        return shard, index - (int(self.ends[shard]) - self.rows[shard])

    def address(self, index: int) -> SequenceAddress:
        """Where sequence `index` lies."""
        shard, row = self.locate(index)
        return SequenceAddress(self.names[shard], row)

    def index(self, address: SequenceAddress) -> int:
        """The inverse of `address`."""
        if address.shard not in self.names:
            raise ShardsError(f"{self.folder} has no shard {address.shard}")
        shard = self.names.index(address.shard)
        if not 0 <= address.row < self.rows[shard]:
            raise ShardsError(f"{address.shard} has {self.rows[shard]} rows, no row {address.row}")
        return int(self.ends[shard]) - self.rows[shard] + address.row

    def predicted(self, index: int) -> int:
        """How many of the sequence's tokens have a target."""
        shard, row = self.locate(index)
        return self.context - (row + 1 == self.rows[shard])

    def read(self, indices: Indices) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokens and targets of sequences, int64 (sequences, context); −100: no target."""
        tokens = np.empty((len(indices), self.context), dtype=np.int64)
        targets = np.full_like(tokens, UNPREDICTED)
        for i, index in enumerate(indices):
            shard, row = self.locate(int(index))
            flat = self._array(shard).reshape(-1)
            start = row * self.context
            window = flat[start : start + self.context + 1]
            tokens[i] = window[: self.context]
            targets[i, : len(window) - 1] = window[1:]
        return tokens, targets

    def _array(self, shard: int) -> npt.NDArray[np.uint16]:
        if shard not in self._open:
            self._open[shard] = np.load(self.folder / self.names[shard], mmap_mode="r")
        return self._open[shard]


def _shard_paths(folder: Path, split: str) -> list[Path]:
    return sorted((folder / split).glob("*.npy"))


def _shard_rows(path: Path, context: int) -> int:
    """Rows of a shard by its header alone, checked against the file's length."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            present = path.stat().st_size - file.tell()
    except (OSError, ValueError) as error:
        raise ShardsError(f"{path} is not a .npy file: {error}; make the shards again") from error
    if dtype != np.uint16 or fortran or len(shape) != 2 or shape[1] != context:
        raise ShardsError(
            f"{path} holds {dtype} of shape {shape}, expected uint16 of shape (rows, {context})"
        )
    if present != 2 * shape[0] * shape[1]:
        raise ShardsError(
            f"{path} is truncated: {present} bytes of tokens, expected {2 * shape[0] * shape[1]}"
        )
    return int(shape[0])


class Order:
    """The order in which a training run visits the sequences of its shards."""

    def __init__(self, shards: Shards, seed: int, sequences_per_step: int) -> None:
        if not shards.sequences:
            raise ShardsError(f"{shards.folder / shards.split} holds no sequence to train on")
        self.shards, self.seed, self.sequences_per_step = shards, seed, sequences_per_step

    def step_indices(self, step: int) -> Indices:
        """The sequences of `step` (1, 2, ...): the same at any number of ranks."""
        start = (step - 1) * self.sequences_per_step
        places = np.arange(start, start + self.sequences_per_step, dtype=np.int64)
        epochs = places // self.shards.sequences
        indices = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self._epoch(int(epoch)).forward(places[here] % self.shards.sequences)
        return indices

    def predicted_tokens(self, step: int) -> int:
        """Targets of the whole step, by which its loss is divided."""
        return sum(self.shards.predicted(int(index)) for index in self.step_indices(step))

    def steps_of(self, indices: Indices, steps: int) -> Indices:
        """The steps up to `steps` that read any of these sequences, each once, in order."""
        epochs = -(-steps * self.sequences_per_step // self.shards.sequences)
        found = [np.empty(0, dtype=np.int64)]
        for epoch in range(epochs):
            places = epoch * self.shards.sequences + self._epoch(epoch).inverse(indices)
            found.append(places // self.sequences_per_step + 1)
        read = np.unique(np.concatenate(found))
        return read[read <= steps]

    def _epoch(self, epoch: int) -> Permutation:
        key = f"sequences/{self.seed}/{epoch}".encode()
        return Permutation(size=self.shards.sequences, key=key)


def validation_indices(shards: Shards, count: int) -> Indices:
    """`count` sequences (or all) chosen without regard to the training seed, in file order."""
    permutation = Permutation(size=max(shards.sequences, 1), key=b"validation")
    chosen = permutation.forward(np.arange(min(count, shards.sequences), dtype=np.int64))
    return np.sort(chosen)


def sequences_of_step(
    folder: Path, *, seed: int, step: int, sequences_per_step: int, context: int = 1024
) -> list[SequenceAddress]:
    """The sequences that `step` (1, 2, ...) of a training run read, in the order of the batch."""
    shards = Shards(folder, "train", context)
    order = Order(shards, seed, sequences_per_step)
    return [shards.address(int(index)) for index in order.step_indices(step)]


def steps_of_sequence(
    folder: Path,
    address: SequenceAddress,
    *,
    seed: int,
    steps: int,
    sequences_per_step: int,
    context: int = 1024,
) -> list[int]:
    """The steps (1 to `steps`) of a training run that read the sequence at `address`."""
    shards = Shards(folder, "train", context)
    index = np.array([shards.index(address)], dtype=np.int64)
    return [int(step) for step in Order(shards, seed, sequences_per_step).steps_of(index, steps)]


def shards_identity(folder: Path) -> str:
    """What tells these shards from others: their manifest's fingerprint, or a hash without one.

    Without a manifest (shards made by hand) the hash covers names, lengths and the first and last
    64 KiB of every file.
    """
    manifest = folder / "manifest.json"
    if manifest.is_file():
        fingerprint = json.loads(manifest.read_text()).get("fingerprint")
        if isinstance(fingerprint, str):
            return fingerprint
    digest = hashlib.sha256()
    for split in ("train", "validation"):
        for path in _shard_paths(folder, split):
            digest.update(f"{split}/{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(SAMPLED_BYTES))
                file.seek(-min(SAMPLED_BYTES, path.stat().st_size), 2)
                digest.update(file.read(SAMPLED_BYTES))
    return "unsealed-" + digest.hexdigest()
