"""The network of a training checkpoint, for whoever only reads it: no engine, no moments.

A checkpoint (`model.checkpoints`) is a folder with `checkpoint.json` and, from each rank, a
`state-RRRRR.safetensors`, in which weights lie under `weight/NAME`, float32 and whole.
"""

import json
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from model.config import ModelConfig
from model.errors import CheckpointError
from model.gpt2 import GPT2
from model.tensor_file import hash_file, reading_tensors

RECORD_NAME = "checkpoint.json"
WEIGHT = "weight/"


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a training checkpoint."""
    return (folder / RECORD_NAME).is_file()


def checkpoint_config(folder: Path) -> ModelConfig:
    """The shape of a checkpoint's network.

    Raises:
        CheckpointError: its record cannot be read.
    """
    return _read_record(folder)[0]


def checkpoint_step(folder: Path) -> int:
    """How many steps it was trained for.

    Raises:
        CheckpointError: its record cannot be read.
    """
    return _read_record(folder)[1]


def checkpoint_files(folder: Path) -> list[str]:
    """Names of the files that hold its state.

    Raises:
        CheckpointError: its record cannot be read.
    """
    return sorted(_read_record(folder)[2])


def import_checkpoint(folder: Path) -> GPT2:
    """The network of a checkpoint, in evaluation mode, float32, on the CPU.

    Raises:
        CheckpointError: a file is missing or damaged, or weights are missing.
    """
    config, _, digests = _read_record(folder)
    with torch.device("meta"):
        network = GPT2(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, digest in sorted(digests.items()):
        path = folder / name
        if not path.is_file() or hash_file(path) != digest:
            raise CheckpointError(f"{path} is missing, or not as it was written")
        with reading_tensors(path) as tensors:
            weights |= {
                key.removeprefix(WEIGHT): tensors[key].clone()
                for key in tensors
                if key.startswith(WEIGHT)
            }
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != wanted:
        wrong = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        raise CheckpointError(f"{folder} lacks weights or has others: {', '.join(wrong[:5])}")
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _read_record(folder: Path) -> tuple[ModelConfig, int, dict[str, str]]:
    """Shape, step, and the SHA-256 of each file."""
    path = folder / RECORD_NAME
    try:
        record = json.loads(path.read_text("utf-8"))
        config = ModelConfig.model_validate(record["identity"]["network"])
        files = {str(name): str(file["sha256"]) for name, file in record["files"].items()}
        return config, int(record["step"]), files
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint's record: {error}") from error
