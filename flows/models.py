"""What can be scored: a model of the store, a checkpoint, a Hugging Face folder, a name on the hub.

Whatever it is, it becomes a folder and the records of what its scores depend on: an artifact's
fingerprint, or the digests of the files from outside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import StoreError
from infra.manifest import MANIFEST_NAME, InputRecord
from infra.sources import describe_source
from infra.store import Store, open_artifact

ROLE = "scored_model"
MILESTONES = "milestones"
"""Folder of a model artifact's milestones."""
HUB_PREFIX = "hub:"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_STEP_AT_END = re.compile(r"(?:step|checkpoint|iter)[-_]?(\d+)$")
_RECORD_NAME = "checkpoint.json"
_HUB_FILES = ["config.json", "*.safetensors", "model.safetensors.index.json"]


@dataclass(frozen=True)
class Scorable:
    """A model that is scored."""

    name: str
    """What it is called in tables: an artifact's label, a folder's name, or a hub name."""
    folder: Path
    inputs: Sequence[InputRecord]
    step: int | None
    """Training steps, where they are known."""
    is_ours: bool
    """Whether it is an artifact or a checkpoint of this project."""

    @property
    def reference(self) -> str:
        """What finds it again: its folder."""
        return str(self.folder)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of `model.safetensors`, where the model is a folder from outside."""
        found = [record for record in self.inputs if record.name == "model.safetensors"]
        return found[0].fingerprint if found and found[0].kind == "file" else None


def find_model(store: Store, reference: str) -> Scorable:
    """The model that a person means.

    Args:
        store: where artifacts are looked for.
        reference: an artifact's label or first letters, a path of an artifact, of a checkpoint
            (`step-…`) or of a folder with a Hugging Face GPT-2, or a name on the hub such as
            `openai-community/gpt2` or `hub:gpt2`.

    Raises:
        StoreError: nothing answers to it; the message tells what was looked for.
    """
    folder = Path(reference)
    if (folder / MANIFEST_NAME).is_file():
        return _artifact(store, folder)
    if (
        folder.resolve().parent.name == MILESTONES
        and (folder.resolve().parents[1] / MANIFEST_NAME).is_file()
    ):
        return _milestone(folder.resolve())
    if (folder / _RECORD_NAME).is_file():
        return _checkpoint(store, folder)
    if (folder / "config.json").is_file():
        return _hugging_face(store, folder, folder.resolve().name)
    if reference.startswith(HUB_PREFIX):
        return _from_hub(store, reference.removeprefix(HUB_PREFIX))
    try:
        return _artifact(store, store.find(reference).path)
    except StoreError as error:
        if "/" not in reference or not _HUB_NAME.fullmatch(reference):
            raise
        try:
            return _from_hub(store, reference)
        except StoreError as hub_error:
            raise StoreError(f"{error}\nNor is it on the hub: {hub_error}") from hub_error


def find_models(
    store: Store, references: Sequence[str], *, milestones: bool = False
) -> list[Scorable]:
    """Several models; a folder that holds checkpoints or models stands for all of them, by step.

    Args:
        store: where artifacts are looked for.
        references: as `find_model` takes them.
        milestones: put the milestones that an artifact keeps before it.

    Raises:
        StoreError: nothing answers to one of them.
    """
    found: list[Scorable] = []
    for reference in references:
        inside = _models_below(Path(reference)) or _models_below(store.root / reference)
        if inside:
            models = [find_model(store, str(folder)) for folder in inside]
            found += sorted(models, key=lambda model: (model.step or 0, model.name))
        else:
            model = find_model(store, reference)
            found += _kept(model) if milestones else []
            found.append(model)
    return found


def _kept(model: Scorable) -> list[Scorable]:
    """The milestones that a model artifact keeps; one at its last step is the model itself."""
    kept = [_milestone(folder) for folder in _models_below(model.folder / MILESTONES)]
    return [one for one in kept if one.step != model.step]


def model_parameters(folder: Path) -> int:
    """Trained numbers of a model, from its config.json or its checkpoint's record; no torch.

    Raises:
        StoreError: it is no GPT-2's.
    """
    from model.config import ModelConfig

    is_checkpoint = (folder / _RECORD_NAME).is_file()
    path = folder / (_RECORD_NAME if is_checkpoint else "config.json")
    try:
        found = json.loads(path.read_text("utf-8"))
        if is_checkpoint:
            return ModelConfig.model_validate(found["identity"]["network"]).parameters
        return ModelConfig(
            layers=found["n_layer"],
            heads=found["n_head"],
            width=found["n_embd"],
            context=found["n_positions"],
            vocabulary=found["vocab_size"],
            padded_vocabulary=found["vocab_size"],
        ).parameters
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a GPT-2's: {error}") from error


def _models_below(folder: Path) -> list[Path]:
    if not folder.is_dir() or _is_model(folder):
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _is_model(path))


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / _RECORD_NAME).is_file()


def _artifact(store: Store, folder: Path) -> Scorable:
    artifact = open_artifact(store.bring(folder))
    training = artifact.identity.config.get("training", {})
    step = training.get("steps") if isinstance(training, dict) else None
    return Scorable(artifact.label, artifact.path, [artifact.as_input(ROLE)], step, is_ours=True)


def _milestone(folder: Path) -> Scorable:
    """One that a model artifact keeps: known by the artifact, and by its own files in it."""
    artifact = open_artifact(folder.parents[1])
    step = _step_of(folder)
    inside = f"{MILESTONES}/{folder.name}/"
    files = [
        InputRecord(
            role=ROLE, kind="file", name=file.path, fingerprint=file.sha256, bytes=file.bytes
        )
        for file in artifact.manifest().files
        if file.path.startswith(inside)
        and file.path.endswith((".safetensors", ".json"))
        and "token" not in file.path
    ]
    if not files:
        raise StoreError(f"{artifact.label} keeps no milestone {folder.name}")
    name = f"{artifact.label}@{step}"
    return Scorable(name, folder, [artifact.as_input(ROLE), *files], step, is_ours=True)


def _checkpoint(store: Store, folder: Path) -> Scorable:
    record = json.loads((folder / _RECORD_NAME).read_text("utf-8"))
    names = [_RECORD_NAME, *sorted(record["files"])]
    inputs = [describe_source(store.root, ROLE, folder / name) for name in names]
    name = f"{folder.resolve().parent.name}/{folder.resolve().name}"
    return Scorable(name, folder, inputs, int(record["step"]), is_ours=True)


def _hugging_face(store: Store, folder: Path, name: str) -> Scorable:
    files = ["config.json", *sorted(path.name for path in folder.glob("*.safetensors"))]
    if len(files) == 1:
        raise StoreError(
            f"{folder} has a config.json but no *.safetensors; save the weights as safetensors"
        )
    inputs = [describe_source(store.root, ROLE, folder / file) for file in files]
    return Scorable(name, folder, inputs, _step_of(folder), is_ours=False)


def _step_of(folder: Path) -> int | None:
    """What Hugging Face's trainer wrote down, or the number at the end of the folder's name."""
    state = folder / "trainer_state.json"
    if state.is_file():
        step = json.loads(state.read_text("utf-8")).get("global_step")
        return step if isinstance(step, int) else None
    match = _STEP_AT_END.search(folder.resolve().name)
    return int(match[1]) if match else None


def _from_hub(store: Store, name: str) -> Scorable:
    if not _HUB_NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no name on the hub; expected OWNER/NAME")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StoreError(
            f"{name} could not be had from the hub ({reason}); without a network, give a folder "
            "with its config.json and model.safetensors"
        ) from error
    if not (folder / "config.json").is_file():
        raise StoreError(f"{name} on the hub has no config.json: it is no GPT-2")
    return _hugging_face(store, folder, name)
