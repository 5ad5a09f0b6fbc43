"""The artifact store: immutable folders, each named after its content's identity.

    STORE/STAGE/NAME-FINGERPRINT12/manifest.json    finished: never changes again
    STORE/STAGE/NAME-FINGERPRINT12/.work/           unfinished: lease and scratch of its writer
    STORE/runs/RUN_ID.json                          what each run made and reused
    STORE/removals.jsonl                            what was taken down (`webtext remove`)
    STORE/plans/                                    estimates of runs
    STORE/index/                                    indexes that can be made again
    STORE/reproduce/                                profiles that `webtext reproduce` wrote
    STORE/reports/                                  pages that can be written again

Equal identity gives the same folder, so "is it there already?" is the whole of caching.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.canonical import file_sha256
from infra.environment import (
    git_commit,
    host,
    package_versions,
    python_version,
    utc_now,
)
from infra.errors import CorruptArtifact, StoreError
from infra.files import files_below
from infra.lease import lease
from infra.manifest import MANIFEST_NAME, FileRecord, Identity, InputRecord, Maker, Manifest

WORK_NAME = ".work"
REMOVALS_NAME = "removals.jsonl"
_DIGITS = 12
_NOT_STAGES = {"runs", "plans", "prefect", "logs", "events", "index", "reproduce", "reports"}


@dataclass(frozen=True)
class Artifact:
    """A folder in the store, finished or not."""

    path: Path
    identity: Identity
    name: str

    @property
    def fingerprint(self) -> str:
        """The whole fingerprint, 64 hexadecimal digits."""
        return self.identity.fingerprint()

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        return self.identity.stage

    @property
    def label(self) -> str:
        """`STAGE/NAME-FINGERPRINT12`, by which people and inputs name it."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def work(self) -> Path:
        """Folder of unfinished work."""
        return self.path / WORK_NAME

    @property
    def is_finished(self) -> bool:
        """Whether its manifest is there."""
        return (self.path / MANIFEST_NAME).is_file()

    def manifest(self) -> Manifest:
        """Its manifest. Raises CorruptArtifact where that is missing or wrong."""
        return Manifest.read(self.path)

    def as_input(self, role: str) -> InputRecord:
        """How a stage that reads it names it."""
        return InputRecord(
            role=role, kind="artifact", name=self.label, fingerprint=self.fingerprint
        )


class Store:
    """All artifacts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the store's folder and check that it can be written.

        Raises:
            StoreError: it cannot be made or written.
        """
        probe = self.root / f".probe-{host()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the store {self.root} cannot be written ({error.strerror}); give another folder "
                "with --store, or mend its permissions"
            ) from error

    def artifact(
        self,
        stage: str,
        version: int,
        name: str,
        config: dict[str, Any],
        inputs: Sequence[InputRecord],
        packages: Mapping[str, str] | None = None,
    ) -> Artifact:
        """The artifact of this identity, whether or not it is there yet."""
        identity = Identity(
            stage=stage,
            version=version,
            config=config,
            inputs=tuple(inputs),
            packages=dict(packages or {}),
        )
        folder = f"{name}-{identity.fingerprint()[:_DIGITS]}"
        return Artifact(path=self.root / stage / folder, identity=identity, name=name)

    @contextlib.contextmanager
    def writing(self, artifact: Artifact, run_id: str) -> Iterator[None]:
        """Hold the artifact's lease while the block makes it.

        Raises:
            LeaseHeld: another live run makes it.
            StoreError: its folder cannot be written.
        """
        try:
            artifact.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{artifact.path} cannot be made ({error.strerror}); "
                "mend the store's permissions or choose another with --store"
            ) from error
        with lease(artifact.work, run_id):
            yield

    def finish(
        self,
        artifact: Artifact,
        *,
        files: Sequence[FileRecord],
        counts: dict[str, Any],
        partitions: Sequence[dict[str, Any]],
        measurements: dict[str, float],
        part_keys: dict[str, str] | None = None,
        packages: Mapping[str, str] | None = None,
        run_id: str,
        prefect_flow_run_id: str | None,
        started_at: str,
    ) -> Manifest:
        """Write the manifest, which makes the artifact finished, and drop its scratch.

        `packages` are versions that differ from the installed ones, where parts are older.
        """
        manifest = Manifest(
            name=artifact.name,
            fingerprint=artifact.fingerprint,
            identity=artifact.identity,
            files=tuple(sorted(files, key=lambda file: file.path)),
            counts=counts,
            partitions=tuple(partitions),
            part_keys=part_keys or {},
            measurements=measurements,
            maker=Maker(
                run_id=run_id,
                prefect_flow_run_id=prefect_flow_run_id,
                host=host(),
                python=python_version(),
                packages={**package_versions(), **(packages or {})},
                git_commit=git_commit(),
                started_at=started_at,
                finished_at=utc_now(),
            ),
        )
        manifest.write(artifact.path)
        drop_work(artifact)
        return manifest

    def folders(self) -> list[Path]:
        """Folders of all artifacts, finished or not, by stage and name."""
        if not self.root.is_dir():
            return []
        return sorted(
            folder
            for stage in self.root.iterdir()
            if stage.is_dir() and stage.name not in _NOT_STAGES and not stage.name.startswith(".")
            for folder in stage.iterdir()
            if folder.is_dir()
            and ((folder / MANIFEST_NAME).is_file() or (folder / WORK_NAME).is_dir())
        )

    def finished(self) -> list[Artifact]:
        """All finished artifacts, by stage and name."""
        return [open_artifact(folder) for folder in self.folders() if _is_finished(folder)]

    def find(self, reference: str) -> Artifact:
        """The finished artifact that a person means.

        Args:
            reference: `STAGE/NAME-FINGERPRINT`, a fingerprint or its first digits, a path, or a
                stage's name where the store holds just one artifact of it.

        Raises:
            StoreError: none or several answer to it.
        """
        path = Path(reference)
        if (path / MANIFEST_NAME).is_file():
            return open_artifact(path)
        folders = [folder for folder in self.folders() if _is_finished(folder)]
        matching = [folder for folder in folders if _answers(folder, reference.strip("/"))]
        if len(matching) == 1:
            return open_artifact(matching[0])
        shown = "\n".join(f"  {f.parent.name}/{f.name}" for f in (matching or folders)[:20])
        if matching:
            raise StoreError(f"{reference!r} may mean any of:\n{shown}\nGive more of its name.")
        raise StoreError(
            f"no finished artifact in {self.root} answers to {reference!r}"
            + (f"; there are:\n{shown}" if shown else "; the store is empty")
        )


def open_artifact(folder: Path) -> Artifact:
    """A finished artifact by its folder. Raises CorruptArtifact where the manifest is wrong."""
    manifest = Manifest.read(folder)
    return Artifact(path=folder, identity=manifest.identity, name=manifest.name)


def drop_work(artifact: Artifact) -> None:
    """Remove the scratch of an artifact that is finished."""
    # Another run that waits for the lease may put its own file there meanwhile; it cleans up too.
    shutil.rmtree(artifact.work, ignore_errors=True)


def verify_artifact(folder: Path) -> list[str]:
    """Compare every file with the manifest; an empty list means that all is as it was made.

    Raises:
        CorruptArtifact: the manifest itself cannot be read.
    """
    manifest = Manifest.read(folder)
    problems = [
        problem
        for record in manifest.files
        if (problem := _file_problem(folder, record)) is not None
    ]
    known = {record.path for record in manifest.files} | {MANIFEST_NAME}
    strangers = [path for path in files_below(folder) if path.parts[0] != WORK_NAME]
    problems += [
        f"{folder / path} is not in the manifest; remove it"
        for path in strangers
        if path.as_posix() not in known
    ]
    return problems


def require_sizes(artifact: Artifact) -> None:
    """Check cheaply that a finished artifact's files are all there, by size.

    Raises:
        CorruptArtifact: a file is missing or has another size.
    """
    for record in artifact.manifest().files:
        path = artifact.path / record.path
        size = path.stat().st_size if path.is_file() else None
        if size != record.bytes:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise CorruptArtifact(
                f"{path} {found}, its manifest says {record.bytes:,}; "
                f"remove the folder {artifact.path} and run again to remake it"
            )


def _file_problem(folder: Path, record: FileRecord) -> str | None:
    path = folder / record.path
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != record.bytes:
        return f"{path} has {size:,} bytes, its manifest says {record.bytes:,}"
    digest = file_sha256(path)
    if digest != record.sha256:
        return f"{path} has sha256 {digest[:12]}…, its manifest says {record.sha256[:12]}…"
    return None


def _is_finished(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file()


def _answers(folder: Path, reference: str) -> bool:
    label = f"{folder.parent.name}/{folder.name}"
    digits = folder.name.rpartition("-")[2]
    return (
        reference in (label, folder.name, folder.parent.name)
        or label.startswith(reference)
        or (len(reference) >= 4 and digits.startswith(reference[:_DIGITS]))
    )
