"""The artifact store: immutable folders, each named after its content's identity.

    STORE/STAGE/NAME-FINGERPRINT12/manifest.json    finished: never changes again
    STORE/STAGE/NAME-FINGERPRINT12/.work/           unfinished: lease and scratch of its writer
    STORE/runs/RUN_ID.json                          what each run made and reused
    STORE/removals.jsonl                            what was taken down (`webtext remove`)
    STORE/plans/                                    estimates of runs
    STORE/index/                                    indexes that can be made again
    STORE/reproduce/                                profiles that `webtext reproduce` wrote
    STORE/reports/                                  pages that can be written again

Equal identity gives the same folder, so "is it there already?" is the whole of caching. Where the
store is in object storage (`infra.shared_store`), the folder is this machine's copy of what it read
and made, and whoever opens an artifact's files asks for them first: `bring`, `folder_of`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.call import PartRecord
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
from infra.lease import Holder, lease, read_holder
from infra.manifest import MANIFEST_NAME, FileRecord, Identity, InputRecord, Maker, Manifest
from infra.needs import Needs
from infra.part_keys import find_donors, lend_part
from infra.parts import discard_part, finished_part, publish_part, scratch_folder
from infra.runs import Run, read_runs, write_run

WORK_NAME = ".work"
REMOVALS_NAME = "removals.jsonl"
_DIGITS = 12
NOT_STAGES = {
    "runs", "plans", "prefect", "logs", "events", "index", "reproduce", "reports", "sources",
}  # fmt: skip
"""Folders of a store that are no stages."""

Wanted = Callable[[str], bool]
"""Whether a file of an artifact is meant, by its path inside."""


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

    @property
    def place(self) -> str:
        """What people call it: its folder or its address."""
        return str(self.root)

    @property
    def address(self) -> str | None:
        """Its address in object storage; None of a folder."""
        return None

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

    def refresh(self) -> None:
        """Have the manifests and run records of all that is there in the folder."""

    def has(self, label: str) -> bool:
        """Whether an artifact of that label is finished; then its manifest is in the folder."""
        return (self.root / label / MANIFEST_NAME).is_file()

    def is_finished(self, artifact: Artifact) -> bool:
        """Whether the artifact is finished; then its manifest is in the folder."""
        return artifact.is_finished

    def require_sizes(self, artifact: Artifact) -> None:
        """Check cheaply that a finished artifact's files are all there, by size.

        Raises:
            CorruptArtifact: a file is missing or has another size.
        """
        require_sizes(artifact)

    def bring(self, folder: Path, wanted: Wanted | None = None) -> Path:  # noqa: ARG002
        """Have a finished artifact's files, or those of the wanted paths, in its folder."""
        return folder

    def folder_of(self, label: str, *names: str) -> Path:
        """The folder of a finished artifact, with all files or the named ones in it."""
        return self.bring(self.root / label, names.__contains__ if names else None)

    def check_stored(self, folder: Path) -> list[str]:  # noqa: ARG002
        """What differs, of an artifact in its folder, from what object storage has."""
        return []

    def bring_needs(self, needs: Needs) -> None:
        """Have what a part reads in the folder."""

    def live_holder(self, artifact: Artifact) -> Holder | None:
        """Who is making the artifact; None where nobody is."""
        holder = read_holder(artifact.work)
        return holder if holder is not None and holder.is_live() else None

    def finished_parts(self, artifact: Artifact, parts: Sequence[str]) -> dict[str, PartRecord]:
        """The records of those parts of an unfinished artifact that are done."""
        found = {part: finished_part(artifact.path, artifact.work, part) for part in parts}
        return {part: record for part, record in found.items() if record is not None}

    def part_record(self, folder: Path, part: str) -> PartRecord | None:
        """The record of one part of an unfinished artifact, if it is done."""
        return finished_part(folder, folder / WORK_NAME, part)

    def check_writing(self, artifact: Artifact) -> None:
        """Raise LeaseLost where another run may be making the artifact by now."""

    def with_sources(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments with outside files where every machine can have them."""
        return arguments

    def publish_part(self, folder: Path, part: str, record: PartRecord) -> None:
        """Move a part's files from its scratch folder into the artifact."""
        publish_part(folder, folder / WORK_NAME, part, record)

    def discard_part(self, artifact: Artifact, part: str, record: PartRecord) -> None:
        """Undo a part that is done: it is to be made again."""
        discard_part(artifact.path, artifact.work, part, record)

    def adopt(self, artifact: Artifact) -> None:
        """Have an artifact that was taken over in the folder where all machines see it."""

    def lend_parts(
        self, artifact: Artifact, keys: Mapping[str, str], packages: Collection[str] = ()
    ) -> int:
        """Take over those parts that another artifact of the stage has; gives how many.

        Args:
            artifact: the unfinished one.
            keys: by part, what its bytes depend on (`infra.part_keys`).
            packages: whose versions have to be the installed ones.
        """
        donors = find_donors(artifact.path.parent, keys.values(), packages)
        lent = [part for part, key in keys.items() if key in donors]
        for part in lent:
            record = lend_part(donors[keys[part]], scratch_folder(artifact.work, part))
            self.publish_part(artifact.path, part, record)
        return len(lent)

    def record_run(self, run: Run) -> None:
        """Write a run's record."""
        write_run(self.root, run)

    def runs(self) -> list[Run]:
        """All readable run records, oldest first."""
        return read_runs(self.root)

    def share(self, name: str) -> None:
        """Have a file of the store itself, written in the folder, where all machines see it."""

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[None]:  # noqa: ARG002
        """Have a file of the store itself as it is now, and share what the block makes of it."""
        yield

    def discard(self, path: Path) -> None:
        """Remove an artifact or a record; the manifest goes first, so a kill leaves no ruin."""
        if path.is_dir():
            (path / MANIFEST_NAME).unlink(missing_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

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
        self._seal(artifact, manifest)
        return manifest

    def _seal(self, artifact: Artifact, manifest: Manifest) -> None:
        manifest.write(artifact.path)
        drop_work(artifact)

    def folders(self) -> list[Path]:
        """Folders of all artifacts, finished or not, by stage and name."""
        self.refresh()
        return self._folders_here()

    def _folders_here(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(
            folder
            for stage in self.root.iterdir()
            if stage.is_dir() and stage.name not in NOT_STAGES and not stage.name.startswith(".")
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
