"""What can be scored: artifacts, checkpoints, Hugging Face folders, names on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.models import find_model, find_models, model_parameters
from infra.errors import StoreError
from infra.store import Store
from model.checkpoint_network import import_checkpoint
from model.config import ModelConfig
from model.errors import CheckpointError
from model.export import export_model
from model.gpt2 import build_gpt2
from model.likelihood import load_scorer
from model.tensor_file import write_tensors

CONFIG = ModelConfig(layers=2, heads=2, width=16, context=32, vocabulary=97, padded_vocabulary=128)


def write_checkpoint(folder: Path, step: int, seed: int = 0) -> None:
    """A checkpoint as the trainer writes it: weights and moments of two ranks, by name."""
    network = build_gpt2(CONFIG, seed)
    folder.mkdir(parents=True)
    files = {}
    for rank in range(2):
        share = {
            f"{kind}/{name}": value.detach() if kind == "weight" else torch.zeros_like(value)
            for kind in ("weight", "exp_avg")
            for number, (name, value) in enumerate(network.named_parameters())
            if number % 2 == rank
        }
        name = f"state-{rank:05d}.safetensors"
        record = write_tensors(folder / name, share)
        assert record is not None
        files[name] = record.model_dump()
    record = {
        "step": step,
        "sequences_read": step,
        "ranks": 2,
        "identity": {"network": CONFIG.model_dump(mode="json"), "training": {}, "shards": "x"},
        "files": files,
    }
    (folder / "checkpoint.json").write_text(json.dumps(record))


def write_hub_folder(folder: Path, seed: int = 0) -> None:
    weights = dict(build_gpt2(CONFIG, seed).state_dict())
    export_model(CONFIG, weights, folder, vocabulary_folder=None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "store")
    opened.prepare()
    return opened


def test_a_checkpoint_scores_as_its_export(store: Store, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run" / "step-00000040", 40)
    write_hub_folder(tmp_path / "export")
    found = find_model(store, str(tmp_path / "run" / "step-00000040"))
    assert (found.name, found.step, found.is_ours) == ("run/step-00000040", 40, True)
    assert [record.name for record in found.inputs] == [
        "checkpoint.json", "state-00000.safetensors", "state-00001.safetensors",
    ]  # fmt: skip
    assert model_parameters(found.folder) == model_parameters(tmp_path / "export")
    request = list(range(30))
    ((mine, _),) = load_scorer(found.folder).log_likelihoods([request], [1])
    ((theirs, _),) = load_scorer(tmp_path / "export").log_likelihoods([request], [1])
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    write_checkpoint(folder, 1)
    path = folder / "state-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="state-00001.safetensors is missing, or not as"):
        import_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing, or not as"):
        import_checkpoint(folder)
    (folder / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint's record"):
        import_checkpoint(folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    write_checkpoint(folder, 1)
    record = json.loads((folder / "checkpoint.json").read_text())
    del record["files"]["state-00001.safetensors"]
    (folder / "checkpoint.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="lacks weights or has others: "):
        import_checkpoint(folder)


def test_a_folder_of_checkpoints_is_all_of_them_by_step(store: Store, tmp_path: Path) -> None:
    for step in (1000, 20, 300):
        write_checkpoint(tmp_path / "many" / f"step-{step:08d}", step)
    write_hub_folder(tmp_path / "one")
    found = find_models(store, [str(tmp_path / "many"), str(tmp_path / "one")])
    assert [model.step for model in found] == [20, 300, 1000, None]
    assert found[3].name == "one"


@pytest.mark.parametrize(
    ("name", "step"),
    [("checkpoint-500", 500), ("step_20", 20), ("gpt2-124", None), ("model", None)],
)
def test_steps_of_foreign_folders(
    store: Store, tmp_path: Path, name: str, step: int | None
) -> None:
    write_hub_folder(tmp_path / name)
    found = find_model(store, str(tmp_path / name))
    assert (found.step, found.is_ours) == (step, False)
    assert found.weights_sha256 is not None
    (tmp_path / name / "trainer_state.json").write_text('{"global_step": 7}')
    assert find_model(store, str(tmp_path / name)).step == 7


def test_a_hub_name_is_found_in_the_local_cache(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    repository = cache / "models--someone--small-gpt2"
    snapshot = repository / "snapshots" / ("0" * 40)
    write_hub_folder(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = find_model(store, "someone/small-gpt2")
    assert (found.name, found.folder.resolve()) == ("someone/small-gpt2", snapshot.resolve())
    assert find_model(store, "hub:someone/small-gpt2").inputs == found.inputs
    with pytest.raises(StoreError, match="nobody/nothing could not be had from the hub"):
        find_model(store, "nobody/nothing")


def test_what_is_nowhere_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no finished artifact"):
        find_model(store, "model")
    with pytest.raises(StoreError, match="is no name on the hub"):
        find_model(store, "hub:../etc")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(StoreError, match="no \\*.safetensors"):
        find_model(store, str(tmp_path / "empty"))
    with pytest.raises(StoreError, match="is not a GPT-2's"):
        model_parameters(tmp_path / "empty")
