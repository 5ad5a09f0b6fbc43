"""Weights on disk as safetensors, one tensor in memory at a time.

Writing: the file that `safetensors.torch.save_file` would write, byte for byte, but each tensor is
made when its turn comes, so an export needs no second copy of a network of gigabytes. The format
is eight bytes of header length, little-endian, a JSON header padded with spaces to a multiple of
eight, and the tensors' bytes in the header's order (safetensors' format description).

Reading: `model.safetensors`, or the several files that a `model.safetensors.index.json` names.
Tensors are mapped from the file, not read into memory.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import WeightsError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_MAX_INDEX_BYTES = 64 * 2**20  # of a network of a million tensors; GPT-2 XL has 580
_BYTES = {"F32": 4, "I64": 8}
_READABLE = {"F32", "F16", "BF16"}
"""Number formats that float32 holds without loss."""


def write_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensor_of: Callable[[str], Tensor]
) -> None:
    """Write float32 tensors to a safetensors file, in the order of their names.

    Args:
        path: the file; an older one is replaced.
        shapes: every tensor's shape, by its name.
        tensor_of: gives a tensor by its name: float32, on the CPU, of the shape promised. It is
            called once for each, and the tensor is let go before the next.
    """
    ordered = {name: ("F32", shapes[name]) for name in sorted(shapes)}
    with path.open("wb") as file:
        file.write(header_bytes(ordered, {"format": "pt"}))
        for name in ordered:
            tensor = tensor_of(name)
            assert tensor.dtype == torch.float32
            assert tuple(tensor.shape) == shapes[name], name
            file.write(tensor.contiguous().numpy().astype("<f4", copy=False).data)


def header_bytes(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """What stands before the tensors' bytes, which follow in the order given.

    Args:
        tensors: each one's number format, `F32` or `I64`, and shape. For safetensors' own order:
            wider formats first, then by name.
        metadata: goes into the header.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + _BYTES[kind] * math.prod(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class WeightsFolder:
    """The tensors of a folder by their names; a context manager that holds the files open.

    Raises:
        WeightsError: there are none, or a file or the index is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        """The open file that holds each tensor."""

    def __enter__(self) -> Self:
        with self._stack:  # closes what was opened where a later file fails
            for path, names in _list_files(self._folder).items():
                self._open(path, names)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _open(self, path: Path, names: set[str] | None) -> None:
        try:
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            held = set(file.keys())
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} cannot be read: {error}") from error
        if names is not None and not names <= held:
            raise WeightsError(
                f"{path} lacks {min(names - held)}, which {INDEX_NAME} says it holds"
            )
        self._files |= dict.fromkeys(held if names is None else names, file)

    @property
    def names(self) -> list[str]:
        """All tensors' names, sorted."""
        return sorted(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """A tensor in float32 on the CPU; it may be a view of the file, so do not write to it.

        Raises:
            WeightsError: its number format is not a float of at most 32 bits.
        """
        kind = self._files[name].get_slice(name).get_dtype()
        if kind not in _READABLE:
            raise WeightsError(
                f"{self._folder}: {name} is stored as {kind}; convert it to one of "
                f"{', '.join(sorted(_READABLE))}"
            )
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor.to(torch.float32)


def _list_files(folder: Path) -> dict[Path, set[str] | None]:
    """The folder's weight files, with the tensors to take from each (None: all)."""
    single, index = folder / WEIGHTS_NAME, folder / INDEX_NAME
    if single.is_file():
        return {single: None}
    if index.is_file():
        return _read_index(index)
    pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
    if pickled is not None:
        raise WeightsError(
            f"{folder} holds {pickled}, which is a pickle: reading one may run any code. Save the "
            "model again with save_pretrained, which writes model.safetensors"
        )
    raise WeightsError(f"{single} cannot be read: there is no such file")


def _read_index(index: Path) -> dict[Path, set[str] | None]:
    try:
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise WeightsError(f"{index} is larger than {_MAX_INDEX_BYTES} bytes; it is no index")
        places = json.loads(index.read_bytes())["weight_map"]
        files: dict[Path, set[str] | None] = {}
        for name, file in places.items():
            if Path(file).name != file:
                raise WeightsError(f"{index} names {file!r}; expected a file of the same folder")
            names = files.setdefault(index.parent / file, set())
            assert names is not None
            names.add(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} cannot be read: {type(error).__name__}: {error}") from error
    return files
