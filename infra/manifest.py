"""The manifest: what an artifact is, what it was made from, and every file with its hash.

It is written last and atomically, so a folder without one is unfinished work. Config, inputs, files
and counts depend on the artifact's identity alone; the rest tells of the run that happened to make
it. Manifests are the lineage: any index over them can be thrown away and rebuilt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.canonical import fingerprint
from infra.errors import CorruptArtifact, OtherFormat
from infra.files import write_atomic

FORMAT = 1
"""Raised when a reader of the format before would misunderstand what is written."""
MANIFEST_NAME = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FileRecord(_Record):
    """One file of an artifact."""

    path: str
    """POSIX path inside the artifact."""
    bytes: int
    rows: int | None = None
    """Rows of a Parquet table or .npy array; null for other kinds."""
    sha256: str


class InputRecord(_Record):
    """One thing that an artifact was made from: another artifact or a file from outside."""

    role: str
    """What the stage used it as: `links`, `dump`, `replay`, ..."""
    kind: Literal["artifact", "file", "address"]
    name: str
    """`STAGE/NAME-FINGERPRINT` of an artifact, the file's name, or the address. Not part of the
    identity."""
    fingerprint: str
    """The artifact's fingerprint, the file's SHA-256, or that of the address's text."""
    bytes: int | None = None
    """Size of a file."""


class Identity(_Record):
    """What an artifact's bytes depend on, and so its fingerprint."""

    stage: str
    version: int
    """The stage's own version: raised when its bytes change for equal inputs."""
    config: dict[str, Any]
    inputs: tuple[InputRecord, ...]
    packages: dict[str, str] = Field(default_factory=dict, exclude_if=lambda value: not value)
    """Versions of packages, where it was remade beside one that others had made."""

    def fingerprint(self) -> str:
        """SHA-256 over stage, version, config, the inputs' roles and fingerprints, and packages."""
        value = {
            "stage": self.stage,
            "version": self.version,
            "config": self.config,
            "inputs": [[entry.role, entry.fingerprint] for entry in self.inputs],
        }
        return fingerprint({**value, "packages": self.packages} if self.packages else value)


class Purge(_Record):
    """A record of a WARC file that was overwritten by a tombstone."""

    path: str
    offset: int
    length: int
    date: str
    reason: str


class Maker(_Record):
    """Who made an artifact, where and with what; never part of its identity."""

    run_id: str
    prefect_flow_run_id: str | None
    host: str
    python: str
    packages: dict[str, str]
    """Versions of the packages whose behaviour the bytes depend on."""
    git_commit: str | None
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str


class Manifest(_Record):
    """The whole account of a finished artifact."""

    format: int = FORMAT
    name: str
    fingerprint: str
    identity: Identity
    files: tuple[FileRecord, ...]
    counts: dict[str, Any]
    """What the stage counted: rows_in, rows_out, losses by reason, facts."""
    partitions: tuple[dict[str, Any], ...] = ()
    """The counts of each partition, in order, where there are several."""
    part_keys: dict[str, str] = Field(default_factory=dict)
    """By part, the hash of all that its bytes depend on (`infra.part_keys`)."""
    purges: tuple[Purge, ...] = ()
    """What was overwritten since, on demand; `files` tells of the files as they are now."""
    measurements: dict[str, float] = Field(default_factory=dict)
    """Seconds and rates of this making."""
    maker: Maker

    def write(self, folder: Path) -> None:
        """Write `folder/manifest.json` atomically: from then on the artifact is finished."""
        write_atomic(folder / MANIFEST_NAME, self.to_bytes())

    def to_bytes(self) -> bytes:
        """What the file holds."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a finished artifact's manifest.

        Raises:
            OtherFormat: another version of this project wrote it, in another format.
            CorruptArtifact: it cannot be read, or its identity and fingerprint disagree.
        """
        path = folder / MANIFEST_NAME
        try:
            content = json.loads(path.read_bytes())
            _check_format(path, content)
            manifest = cls.model_validate(content)
        except (OSError, ValueError, ValidationError) as error:
            raise CorruptArtifact(
                f"{path} cannot be read as a manifest ({_first_line(error)}); "
                f"remove the folder {folder} and run again to remake it"
            ) from error
        if manifest.identity.fingerprint() != manifest.fingerprint:
            raise CorruptArtifact(
                f"{path} was changed: its fingerprint {manifest.fingerprint[:12]} is not that of "
                f"what it describes; remove the folder {folder} and run again to remake it"
            )
        return manifest

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def _check_format(path: Path, content: Any) -> None:
    found = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if found == FORMAT:
        return
    maker = content.get("maker") or {}
    commit = maker.get("git_commit") if isinstance(maker, dict) else None
    newer = isinstance(found, int) and found > FORMAT
    raise OtherFormat(
        f"{path} is written in format {found!r}, and this version of the project reads format "
        f"{FORMAT}: it was made by {'a newer' if newer else 'an older'} one"
        f"{f', at commit {commit}' if commit else ''}. Nothing of it was touched. Use that version "
        f"{'or upgrade this one' if newer else 'for it'}, or give another store with --store"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
