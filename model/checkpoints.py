"""Checkpoints that are whole or absent: written aside, fsynced, hashed, renamed.

`checkpoints/step-00000050/` holds DeepSpeed's files and `checkpoint.json`: the step, the settings
and shards it belongs to, the number of ranks, and every file's size and SHA-256. The name appears
only when all of that is on disk; what a kill leaves is a `.partial-…` folder that the next start
removes.

Nothing else needs saving: dropout is seeded anew each step from (seed, step, rank), and the data
position is the step.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist
from pydantic import ValidationError

from model.config import CheckpointConfig, ModelConfig, Settings, TrainConfig
from model.errors import CheckpointError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8,})")
_RECORD = "checkpoint.json"
_TAG = "engine"


class Identity(Settings):
    """What a checkpoint belongs to; a run of any other identity must not use it."""

    network: ModelConfig
    training: TrainConfig
    shards: str
    """Fingerprint of the shards artifact."""


class FileRecord(Settings):
    """One file of a checkpoint."""

    bytes: int
    sha256: str


class CheckpointRecord(Settings):
    """What `checkpoint.json` says."""

    step: int
    ranks: int
    identity: Identity
    files: dict[str, FileRecord]


class CheckpointFolder:
    """The checkpoints of one training."""

    def __init__(self, folder: Path, config: CheckpointConfig, identity: Identity) -> None:
        self.folder, self.config, self.identity = folder, config, identity

    def is_due(self, step: int) -> bool:
        """Whether to save after `step`."""
        last = step == self.identity.training.steps
        return last or step % self.config.every_steps == 0 or step in self.config.milestones

    def save(self, engine: Any, step: int) -> None:
        """Save the engine after `step`; every rank calls it."""
        target = self.folder / f"step-{step:08d}"
        aside = self.folder / f".partial-{step:08d}"
        if dist.get_rank() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        dist.barrier()
        engine.save_checkpoint(str(aside), tag=_TAG, save_latest=False)
        dist.barrier()
        if dist.get_rank() == 0:
            self._seal(aside, target, step)
            self._forget_old(step)
        dist.barrier()

    def restore(self, engine: Any) -> int:
        """Load the newest whole checkpoint into the engine; returns its step, 0 without one.

        Raises:
            CheckpointError: it belongs to other settings, shards or another number of ranks.
        """
        chosen: list[Any] = [None]
        if dist.get_rank() == 0:
            chosen[0] = self._choose()
        dist.broadcast_object_list(chosen)
        step, problem = chosen[0]
        if problem:
            raise CheckpointError(problem)
        if step:
            engine.load_checkpoint(str(self.folder / f"step-{step:08d}"), tag=_TAG)
        return int(step)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, in numeric order."""
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def _choose(self) -> tuple[int, str]:
        """The step to go on from, and why none may be used (empty: fine)."""
        for partial in self.folder.glob(".partial-*"):
            shutil.rmtree(partial)
        for step in reversed(self.steps()):
            path = self.folder / f"step-{step:08d}"
            try:
                record = read_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s; going back to an earlier one", error)
                continue
            return step, self._misfit(path, record)
        return 0, ""

    def _misfit(self, path: Path, record: CheckpointRecord) -> str:
        """Why the checkpoint cannot be used by this run, or nothing."""
        differing = _differences(record.identity, self.identity)
        if record.ranks != dist.get_world_size():
            differing.append(f"ranks ({record.ranks} there, {dist.get_world_size()} here)")
        if not differing:
            return ""
        return (
            f"{path} belongs to another training: {'; '.join(differing)}. "
            f"Restore these settings, or choose another work folder to train anew"
        )

    def _seal(self, aside: Path, target: Path, step: int) -> None:
        files = {
            str(path.relative_to(aside)): _sync_and_hash(path)
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        }
        record = CheckpointRecord(
            step=step, ranks=dist.get_world_size(), identity=self.identity, files=files
        )
        path = aside / _RECORD
        path.write_text(record.model_dump_json(indent=1) + "\n")
        _sync_and_hash(path)
        for folder in {path.parent for path in aside.rglob("*")}:
            _sync_folder(folder)
        if target.exists():  # only a damaged one that `restore` passed over
            shutil.rmtree(target)
        aside.rename(target)
        _sync_folder(self.folder)

    def _forget_old(self, newest: int) -> None:
        """Remove what is neither among the last nor a milestone."""
        past = [s for s in self.steps() if s <= newest and s not in self.config.milestones]
        for step in past[: -self.config.keep_last]:
            # Renamed first: a kill in the middle must not leave half a checkpoint under its name.
            doomed = self.folder / f".partial-{step:08d}"
            (self.folder / f"step-{step:08d}").rename(doomed)
            shutil.rmtree(doomed)


def read_checkpoint(folder: Path) -> CheckpointRecord:
    """The record of a checkpoint whose files are all as they were written.

    Raises:
        CheckpointError: a file is missing or differs.
    """
    try:
        record = CheckpointRecord.model_validate_json((folder / _RECORD).read_text())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{folder / _RECORD} cannot be read: {error}") from error
    for name, expected in record.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != expected.bytes:
            raise CheckpointError(f"{path} is missing or not {expected.bytes} bytes long")
        if _hash(path) != expected.sha256:
            raise CheckpointError(f"{path} does not have its recorded sha256 {expected.sha256}")
    return record


def _differences(there: Identity, here: Identity) -> list[str]:
    """Names of the settings that differ, with both values."""
    old, new = _flatten(there), _flatten(here)
    return [
        f"{name} ({old.get(name)!r} there, {new.get(name)!r} here)"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flatten(identity: Identity) -> dict[str, Any]:
    flat: dict[str, Any] = {"shards": identity.shards}
    for part in ("network", "training"):
        for name, value in json.loads(getattr(identity, part).model_dump_json()).items():
            flat[f"{part}.{name}"] = value
    return flat


def _sync_and_hash(path: Path) -> FileRecord:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileRecord(bytes=path.stat().st_size, sha256=_hash(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
