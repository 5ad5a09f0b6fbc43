"""Tensors in a safetensors file that is hashed while it is written and on disk when it is done.

safetensors' own writer copies all tensors into one buffer first, and hashing afterwards reads
them again; a checkpoint is three times as large as its model, so it is written in one pass here.
The format is described in `model.weights_file`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.config import Settings
from model.errors import CheckpointError
from model.weights_file import header_bytes

_PIECE_BYTES = 4 << 20
_SYNC_BYTES = 32 << 20
"""Written between two waits for the disk: one wait for gigabytes could not be broken off."""
_KINDS = {torch.int64: "I64", torch.float32: "F32"}


class FileRecord(Settings):
    """One file as it was written."""

    bytes: int
    sha256: str


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], give_up: Callable[[], bool] = lambda: False
) -> FileRecord | None:
    """Write tensors (float32 or int64) and fsync.

    Args:
        path: the file.
        tensors: what it is to hold.
        give_up: asked after every few megabytes; where it is true, None is returned at once and
            what was written is worthless.
    """
    digest, size, synced = hashlib.sha256(), 0, 0
    with path.open("wb", buffering=0) as file:
        for chunk in _pieces(tensors):
            if give_up():
                return None
            digest.update(chunk)
            size += _write_all(file, chunk)
            if size - synced >= _SYNC_BYTES:
                os.fdatasync(file.fileno())
                synced = size
        os.fsync(file.fileno())
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _write_all(file: FileIO, chunk: memoryview) -> int:
    done = 0
    while done < len(chunk):  # without a buffer, a signal or a full pipe cuts a write short
        done += file.write(chunk[done:]) or 0
    return done


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    for chunk in _chunks(tensors):
        whole = memoryview(chunk)
        for start in range(0, len(whole), _PIECE_BYTES):
            yield whole[start : start + _PIECE_BYTES]


def _chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    # Wider formats first, so that every tensor begins at a multiple of its width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    kinds = {n: (_KINDS[tensors[n].dtype], tuple(tensors[n].shape)) for n in names}
    yield header_bytes(kinds, {})
    for name in names:
        whole = tensors[name].detach().cpu().contiguous()
        if whole.numel():
            yield whole.view(-1).numpy().data.cast("B")


@contextmanager
def reading_tensors(path: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a file, each read when it is asked for.

    Raises:
        CheckpointError: it is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield _Lazy(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


class _Lazy(Mapping[str, Tensor]):
    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = dict.fromkeys(sorted(file.keys()))

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
