"""Cheap looks before scheduled work: is there a dump that was not read, a model without scores?

Both compare names that are on the disk with what the store's manifests say; nothing is read or
hashed that was looked at before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import stages
from flows.models import ROLE, find_model
from flows.profile import Profile
from infra.errors import CorruptArtifact, StoreError
from infra.store import Artifact, Store, open_artifact

_CHECKPOINTS = Path("training") / "checkpoints"


@dataclass(frozen=True)
class Unscored:
    """A model or a checkpoint that has no scores yet."""

    reference: str
    """What `evaluate` finds it by."""
    held_out: str | None
    """The corpus it was trained on, to cut the demo's benchmarks from."""


def new_dumps(store: Store, profile: Profile) -> list[Path]:
    """The profile's dumps that no finished artifact of the store was made from, by name and size.

    A pattern that matches nothing yet is no error here: that is what is looked for.
    """
    try:
        dumps = profile.inputs.dumps()
    except StoreError:
        return []
    read = {
        (entry.name, entry.bytes)
        for artifact in _finished(store, stages.SUBMISSIONS.name)
        for entry in artifact.identity.inputs
        if entry.role == "dump"
    }
    there = [dump for dump in dumps if dump.is_file()]
    return [dump for dump in there if (dump.name, dump.stat().st_size) not in read]


def unscored_models(store: Store) -> list[Unscored]:
    """Finished models and checkpoints of trainings under way that no scores were made of."""
    scored = {
        frozenset(entry.fingerprint for entry in artifact.identity.inputs if entry.role == ROLE)
        for artifact in _finished(store, stages.SCORES.name)
    }
    return [
        each
        for each in _models(store)
        if frozenset(entry.fingerprint for entry in find_model(store, each.reference).inputs)
        not in scored
    ]


def _models(store: Store) -> Iterator[Unscored]:
    for folder in sorted((store.root / stages.MODEL.name).glob("*")):
        if (folder / "manifest.json").is_file():
            model = open_artifact(folder)
            shards = [one.name for one in model.identity.inputs if one.role == "shards"]
            yield Unscored(model.label, _corpus_of(store, shards))
            continue
        training = folder / ".work" / _CHECKPOINTS.parent
        shards = _shards_of(training / "spec.json")
        for checkpoint in sorted((folder / ".work" / _CHECKPOINTS).glob("step-*")):
            if (checkpoint / "checkpoint.json").is_file():
                yield Unscored(str(checkpoint), _corpus_of(store, shards))


def _shards_of(spec: Path) -> list[str]:
    try:
        path = Path(json.loads(spec.read_bytes())["shards"])
    except (OSError, ValueError, KeyError):
        return []
    return [f"{path.parent.name}/{path.name}"]


def _corpus_of(store: Store, labels: Sequence[str]) -> str | None:
    """The corpus below shards, or below a series of months, where there is just one."""
    found = set()
    waiting = list(labels)
    while waiting:
        folder = store.root / waiting.pop()
        if not (folder / "manifest.json").is_file():
            continue
        for entry in open_artifact(folder).identity.inputs:
            if entry.kind != "artifact":
                continue
            if entry.name.startswith(f"{stages.CORPUS.name}/"):
                found.add(entry.name)
            elif entry.name.startswith(f"{stages.SHARDS.name}/"):
                waiting.append(entry.name)
    return max(found, default=None)


def _finished(store: Store, stage: str) -> Iterator[Artifact]:
    for folder in sorted((store.root / stage).glob("*/manifest.json")):
        try:
            yield open_artifact(folder.parent)
        except CorruptArtifact:
            continue
