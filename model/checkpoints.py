"""Checkpoints that are whole or absent: written aside, fsynced, hashed, renamed.

`checkpoints/step-00000050/` holds a `state-RRRRR.safetensors` from each rank (see `model.state`)
and `checkpoint.json`: the step, the settings and shards it belongs to, and every file's size and
SHA-256. The name appears only when all of that is on disk; what a kill leaves is a `.partial-…`
folder that the next start removes. There is no pointer to the latest: the highest whole step is it.

Nothing else needs saving: dropout is seeded anew from (seed, step, group of sequences), and the
data position is the step. So any number of ranks may go on from a checkpoint.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from pydantic import ValidationError
from torch import nn

from model.config import CheckpointConfig, ModelConfig, Settings, TrainConfig
from model.copies import Copies, fetch_newest
from model.errors import CheckpointError
from model.launch import checkpoint_name, saved_steps
from model.state import capture_share, install_moments, load_weights
from model.tensor_file import FileRecord, hash_file, reading_tensors, write_tensors
from model.trace import LOG_NAMES

logger = logging.getLogger(__name__)

_RECORD = "checkpoint.json"
_ABANDONED = "abandoned"


class Identity(Settings):
    """What a checkpoint belongs to; a run of any other identity must not use it."""

    network: ModelConfig
    training: TrainConfig
    shards: str
    """Fingerprint of the shards artifact."""


class CheckpointRecord(Settings):
    """What `checkpoint.json` says."""

    step: int
    """Steps that are done."""
    sequences_read: int
    """Data position: the next step begins with this place of the order of sequences."""
    ranks: int
    """Ranks that wrote it; any number may read it."""
    identity: Identity
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint that this training may go on from."""

    path: Path
    step: int
    files: tuple[str, ...]

    def load_weights(self, network: nn.Module) -> None:
        """Give a network that is not yet in an engine its weights."""
        for name in self.files:
            with reading_tensors(self.path / name) as tensors:
                load_weights(network, tensors)

    def install_moments(self, engine: Any) -> None:
        """Give the engine over that network AdamW's state; every rank calls it."""
        with ExitStack() as stack:
            paths = [self.path / name for name in self.files]
            install_moments(engine, [stack.enter_context(reading_tensors(p)) for p in paths])


class CheckpointFolder:
    """The checkpoints of one training."""

    def __init__(self, folder: Path, config: CheckpointConfig, identity: Identity) -> None:
        self.folder, self.config, self.identity = folder, config, identity
        self.copies: Copies | None = None
        """What copies them to object storage, on rank 0."""
        if config.copy_to is not None and dist.get_rank() == 0:
            self.copies = Copies(folder.parent, config)
        self.abandoned: int | None = None
        """The step whose save was given up."""

    def is_due(self, step: int) -> bool:
        """Whether to save after `step`."""
        last = step == self.identity.training.steps
        due = last or step % self.config.every_steps == 0 or step in self.config.milestones
        return due or (step > 0 and self._roll_back_base(step) == step)

    def base_of(self, step: int) -> Checkpoint | None:
        """The checkpoint that `step` rolls back to; None where there was none before it.

        Raises:
            CheckpointError: it is damaged.
        """
        base = self._roll_back_base(step - 1)
        if not base:
            return None
        files = [sorted(read_checkpoint(self._path(base)).files)] if dist.get_rank() == 0 else [[]]
        dist.broadcast_object_list(files)
        return Checkpoint(self._path(base), base, tuple(files[0]))

    def _roll_back_base(self, step: int) -> int:
        """The last step up to `step` that a spike may roll back to; 0 is none."""
        spikes = self.identity.training.spikes
        every = spikes.roll_back_every_steps
        return step // every * every if spikes.action == "roll_back" else 0

    def save(self, engine: Any, step: int, give_up: Callable[[], bool]) -> bool:
        """Save the engine after `step`, unless `give_up` holds on some rank before it is written.

        Every rank calls it. What is abandoned leaves nothing behind, and gives False.
        """
        rank, ranks = dist.get_rank(), dist.get_world_size()
        aside = self.folder / f".partial-{step:08d}"
        if rank == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        dist.barrier()
        name = f"state-{rank:05d}.safetensors"
        abandoned = aside / _ABANDONED  # how the rank that gives up tells those still writing
        share = capture_share(engine, rank, ranks)
        record = write_tensors(aside / name, share, lambda: give_up() or abandoned.exists())
        if record is None:
            abandoned.touch()
        files: list[Any] = [None] * ranks
        dist.all_gather_object(files, record and (name, record.bytes, record.sha256))
        is_whole = all(files)
        if rank == 0 and is_whole:
            self._seal(aside, step, {name: FileRecord(bytes=n, sha256=h) for name, n, h in files})
            if self.copies is not None:
                logs = [self.folder.parent / name for name in LOG_NAMES]
                self.copies.add(self._path(step), [path for path in logs if path.is_file()])
            self._forget_old(step)
        elif rank == 0:
            shutil.rmtree(aside)
        self.abandoned = None if is_whole else step
        dist.barrier()
        return is_whole

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, the same on every rank; every rank calls it.

        Raises:
            CheckpointError: it belongs to other settings or shards.
        """
        chosen: list[Any] = [None]
        if dist.get_rank() == 0:
            chosen[0] = self._choose()
        dist.broadcast_object_list(chosen)
        step, files, problem = chosen[0]
        if problem:
            raise CheckpointError(problem)
        return Checkpoint(self._path(step), step, tuple(files)) if files else None

    def _path(self, step: int) -> Path:
        return self.folder / checkpoint_name(step)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, in numeric order."""
        return saved_steps(self.folder)

    def _choose(self) -> tuple[int, list[str], str]:
        """The step to go on from, its files, and why it may not be used (empty: fine)."""
        for partial in self.folder.glob(".partial-*"):
            shutil.rmtree(partial)
        if self.config.copy_to is not None and not self.steps():
            self.folder.mkdir(parents=True, exist_ok=True)
            fetch_newest(self.config, self.folder.parent, self.folder, read_checkpoint)
        for step in reversed(self.steps()):
            path = self._path(step)
            try:
                record = read_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s; going back to an earlier one", error)
                continue
            return step, sorted(record.files), self._misfit(path, record)
        return 0, [], ""

    def _misfit(self, path: Path, record: CheckpointRecord) -> str:
        """Why the checkpoint cannot be used by this run, or nothing."""
        differing = _differences(record.identity, self.identity)
        if not differing:
            return ""
        return (
            f"{path} belongs to another training: {'; '.join(differing)}. "
            f"Restore these settings, or choose another work folder to train anew"
        )

    def _seal(self, aside: Path, step: int, files: dict[str, FileRecord]) -> None:
        record = CheckpointRecord(
            step=step,
            sequences_read=step * self.identity.training.sequences_per_step,
            ranks=dist.get_world_size(),
            identity=self.identity,
            files=files,
        )
        _write_synced(aside / _RECORD, record.model_dump_json(indent=1) + "\n")
        _sync_folder(aside)
        target = self._path(step)
        if target.exists():  # only a damaged one that `newest` passed over
            shutil.rmtree(target)
        aside.rename(target)
        _sync_folder(self.folder)

    def _forget_old(self, newest: int) -> None:
        """Remove what is neither among the last nor a milestone nor may be rolled back to."""
        kept = {*self.config.milestones, self._roll_back_base(newest)}
        past = [s for s in self.steps() if s <= newest and s not in kept]
        for step in past[: -self.config.keep_last]:
            # Renamed first: a kill in the middle must not leave half a checkpoint under its name.
            doomed = self.folder / f".partial-{step:08d}"
            self._path(step).rename(doomed)
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
        if hash_file(path) != expected.sha256:
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


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
