"""Features: GPT2Model's states, whatever the lengths, in either format."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from model import features
from model.config import ModelConfig
from model.errors import SettingsError, TextsError
from model.export import export_model
from model.features import write_features
from model.gpt2 import GPT2, build_gpt2

CONFIG = ModelConfig(layers=2, heads=2, width=16, context=24, vocabulary=128, padded_vocabulary=128)
TEXTS = ["hello", "", "a", "x" * 40, "the quick brown fox", "y" * 24, "", "bc"]


def encode(text: str) -> list[int]:
    return [ord(c) for c in text]


@pytest.fixture(scope="module")
def network() -> GPT2:
    network = build_gpt2(CONFIG, seed=2).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


@pytest.fixture(scope="module")
def theirs(network: GPT2, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """GPT2Model's states of each text by itself."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("model")
    export_model(CONFIG, network.state_dict(), folder, vocabulary_folder=None)
    model = transformers.GPT2Model.from_pretrained(folder).eval()
    del os.environ["HF_HUB_OFFLINE"]
    found = []
    for text in TEXTS:
        tokens = torch.tensor([encode(text)[:24]], dtype=torch.long)
        if not text:
            found.append(np.zeros((0, 16), np.float32))
            continue
        with torch.no_grad():
            found.append(model(tokens).last_hidden_state[0].numpy())
    return found


COUNTS = [[min(len(text), 24), len(text)] for text in TEXTS]


@pytest.mark.parametrize("window", [1, 3, 1024])
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_states_are_those_of_gpt2model(
    network: GPT2,
    theirs: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    suffix: str,
) -> None:
    monkeypatch.setattr(features, "_WINDOW_TEXTS", window)
    told: list[tuple[int, int]] = []
    path = tmp_path / f"states{suffix}"
    counts = write_features(
        network, lambda: TEXTS, encode, path, progress=lambda *done: told.append(done)
    )
    states, lengths = read(path)
    assert states.dtype == np.float32
    assert states.shape == (counts.tokens, 16) == counts.shape
    assert lengths.tolist() == COUNTS
    assert np.abs(states - np.concatenate(theirs)).max() < 1e-5
    assert (counts.texts, counts.cut_texts, counts.cut_tokens, counts.empty_texts) == (8, 1, 16, 2)
    assert told[-1] == (counts.tokens, counts.tokens)
    assert len(told) == -(-8 // window)
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, "states.counts.npy"}


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix == ".npy":
        return np.load(path), np.load(path.with_suffix(".counts.npy"))
    arrays = load_file(path)
    with safe_open(path, framework="np") as file:
        assert file.metadata()["format"] == "pt"
    return arrays["states"], arrays["counts"]


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_pools_give_a_row_for_each_text(
    network: GPT2, theirs: list[np.ndarray], tmp_path: Path, pool: Any
) -> None:
    path = tmp_path / "pooled.safetensors"
    counts = write_features(network, lambda: TEXTS, encode, path, pool=pool)
    states, lengths = read(path)
    assert states.shape == (8, 16) == counts.shape
    assert lengths.tolist() == COUNTS
    for state, found in zip(states, theirs, strict=True):
        if not len(found):
            assert not state.any()
            continue
        expected = found[-1] if pool == "last" else found.mean(0)
        assert np.abs(state - expected).max() < 1e-5


def test_equal_texts_give_equal_bytes_and_none_give_none(network: GPT2, tmp_path: Path) -> None:
    for suffix in (".npy", ".safetensors"):
        one, two, none = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "none"))
        write_features(network, lambda: TEXTS, encode, one)
        write_features(network, lambda: TEXTS, encode, two)
        assert one.read_bytes() == two.read_bytes()
        for texts in ([], ["", ""]):
            counts = write_features(network, texts.copy, encode, none)
            states, lengths = read(none)
            assert states.shape == (0, 16) == counts.shape
            assert lengths.shape == (len(texts), 2)


def test_mistakes_are_named(network: GPT2, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ends in \.npy or \.safetensors"):
        write_features(network, lambda: TEXTS, encode, tmp_path / "states.txt")
    with pytest.raises(SettingsError, match="text 1 has token 233.* knows 128"):
        write_features(network, lambda: ["a", "é"], encode, tmp_path / "states.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("window", [1, 1024])
@pytest.mark.parametrize("second", [["aa", "b"], ["a", "b", "c"], ["a"], []])
def test_texts_that_change_meanwhile_are_refused(
    network: GPT2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: list[str], window: int
) -> None:
    monkeypatch.setattr(features, "_WINDOW_TEXTS", window)
    readings: list[Iterable[str]] = [["a", "b"], second]
    texts: Callable[[], Iterable[str]] = lambda: readings.pop(0)  # noqa: E731
    with pytest.raises(TextsError, match="changed while it was read"):
        write_features(network, texts, encode, tmp_path / "states.npy")
    assert not list(tmp_path.iterdir())
