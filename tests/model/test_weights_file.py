"""Safetensors files: the same bytes as the library's, in pieces, and damaged ones."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.errors import WeightsError
from model.weights_file import INDEX_NAME, WEIGHTS_NAME, WeightsFolder, write_tensors

TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a.weight": torch.tensor([float("nan"), -0.0, 1e-45]),
    "äö": torch.zeros(0, 4),
    "z": torch.tensor(3.0),
}


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    write_tensors(path, shapes, lambda name: tensors[name])


def test_the_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    write(tmp_path / "ours", TENSORS)
    save_file(TENSORS, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert load_file(tmp_path / "ours").keys() == TENSORS.keys()


def test_a_tensor_is_asked_for_once_and_may_be_a_transposed_view(tmp_path: Path) -> None:
    asked: list[str] = []

    def tensor_of(name: str) -> Tensor:
        asked.append(name)
        return TENSORS["b"].t()

    write_tensors(tmp_path / "file", {"y": (3, 2), "x": (3, 2)}, tensor_of)
    assert asked == ["x", "y"]
    assert torch.equal(load_file(tmp_path / "file")["x"], TENSORS["b"].t())


def test_weights_in_several_files_are_read_as_one(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", {"b": TENSORS["b"], "stray": TENSORS["z"]})
    write(tmp_path / "two.safetensors", {"z": TENSORS["z"]})
    places = {"b": "one.safetensors", "z": "two.safetensors"}
    (tmp_path / INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with WeightsFolder(tmp_path) as stored:
        assert stored.names == ["b", "z"]
        assert stored.shape("b") == (2, 3)
        assert torch.equal(stored.read("b"), TENSORS["b"])
        assert stored.read("z").item() == 3.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"a": torch.tensor([1.5, -2.0], dtype=dtype)}, tmp_path / WEIGHTS_NAME)
    with WeightsFolder(tmp_path) as stored:
        assert stored.read("a").dtype == torch.float32
        assert stored.read("a").tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
def test_other_formats_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"a": torch.ones(2, dtype=dtype)}, tmp_path / WEIGHTS_NAME)
    with (
        WeightsFolder(tmp_path) as stored,
        pytest.raises(WeightsError, match=r"a is stored as [FI]\d+; convert it"),
    ):
        stored.read("a")


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    def opened(match: str) -> None:
        with pytest.raises(WeightsError, match=match), WeightsFolder(tmp_path):
            pass

    opened("no such file")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    opened("is a pickle.*save_pretrained")
    index = tmp_path / INDEX_NAME
    for text, match in (
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"weight_map": {"a": 5}}', "cannot be read"),
        ('{"weight_map": {"a": "../secret"}}', "expected a file of the same folder"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors cannot be read"),
    ):
        index.write_text(text)
        opened(match)
    write(tmp_path / "part.safetensors", {"b": TENSORS["b"]})
    index.write_text('{"weight_map": {"a": "part.safetensors"}}')
    opened("lacks a, which")
    whole = tmp_path / WEIGHTS_NAME
    write(whole, TENSORS)
    whole.write_bytes(whole.read_bytes()[:-1])
    opened("model.safetensors cannot be read")
    whole.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    opened("model.safetensors cannot be read")
