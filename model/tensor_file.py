"""Tensors in a safetensors file that is hashed while it is written and on disk when it is done.

safetensors' own writer copies all tensors into one buffer first, and hashing afterwards reads
them again; a checkpoint is three times as large as its model, so it is written in one pass here.
The format: eight bytes with the header's length, a JSON header of dtypes, shapes and offsets, and
the raw tensors (https://github.com/huggingface/safetensors, "Format").
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.config import Settings
from model.errors import CheckpointError

_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
_ALIGNMENT = 8  # the header is padded with spaces so that tensors begin on a word


class FileRecord(Settings):
    """One file as it was written."""

    bytes: int
    sha256: str


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileRecord:
    """Write tensors (float32 or int64), in the order of their names, and fsync."""
    names = sorted(tensors)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in _chunks(names, tensors):
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _chunks(names: list[str], tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
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
