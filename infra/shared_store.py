"""A store in object storage, behind a folder of this machine that holds what was read and made.

    s3://bucket/prefix/STAGE/NAME-FP/manifest.json       finished: one write, the last of all
                                    /table/part-….parquet
                                    /.work/lease.json    its writer (infra.shared_lease)
                                    /.work/part-00007.json    this part's files are there, whole
    s3://bucket/prefix/runs/RUN_ID.json, plans/, removals.jsonl

The folder has the layout of a local store, so all code that takes paths is the same. Manifests come
when an artifact is asked for, files when something reads them (`infra.copies` says when a copy is
believed). A part's files are uploaded before its record, and all records before the manifest:
whatever a kill leaves is harmless, and the next run, on whatever machine, goes on from the records.
Whether a key is there is always asked of the key, never of a listing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from infra.call import PartRecord
from infra.copies import ASIDE, hold_copies, is_sealed, is_whole, seal_file
from infra.errors import CorruptArtifact, StoreError
from infra.files import write_atomic
from infra.lease import Holder
from infra.manifest import MANIFEST_NAME, FileRecord, Manifest
from infra.needs import LISTS, SOURCES, Needs, mapped
from infra.objects import Objects
from infra.part_keys import find_donors
from infra.parts import publish_part
from infra.runs import Run, read_runs, write_run
from infra.shared_lease import SharedLease, is_live, read_shared_holder, shared_lease
from infra.sources import describe_source
from infra.store import NOT_STAGES, WORK_NAME, Artifact, Store, drop_work

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8
_FRESH_S = 10.0
"""How long a listing of the whole store is good for."""


class SharedStore(Store):
    """All artifacts below one address, and this machine's copies of them."""

    def __init__(self, root: Path, objects: Objects) -> None:
        super().__init__(root)
        self.objects = objects
        self._leases: dict[str, SharedLease] = {}
        self._finished: set[str] = set()
        self._sources: dict[str, str] = {}
        self._files: dict[str, tuple[FileRecord, ...]] = {}
        self._records: dict[str, dict[str, PartRecord]] = {}
        self._locks: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()
        self._refreshed_at: float | None = None
        self._in_use: int | None = None

    @property
    def place(self) -> str:
        """Its address."""
        return self.objects.address

    @property
    def address(self) -> str | None:
        """Its address."""
        return self.objects.address

    def prepare(self) -> None:
        """Make the folder, see that object storage is fit, and know of what concerns every run.

        Raises:
            StoreError: it cannot be written, or not under conditions.
        """
        super().prepare()
        self.objects.check_conditions(f".probes/{os.getpid()}-{time.time_ns()}")
        self._pull_lists()

    def hold(self) -> None:
        """Keep copies from being removed for room while this process lives."""
        if self._in_use is None:
            self._in_use = hold_copies(self.root)

    def refresh(self) -> None:
        """Have the manifests and run records of all that is there in the folder."""
        now = time.monotonic()
        if self._refreshed_at is not None and now - self._refreshed_at < _FRESH_S:
            return
        self._pull_lists()
        for kind in ("runs", "plans"):
            self._pull_records(kind)
        listed = set(self._listed())
        here = {_label(folder) for folder in self._folders_here()}
        # A listing may be late: what runs tell of is asked for by its key.
        told = {use.artifact for run in read_runs(self.root) for use in run.uses}
        self._at_once(self._sync, sorted(listed | here | told))
        unfinished = [label for label in listed if not self._has_manifest(label)]
        self._at_once(self._show_unfinished, unfinished)
        self._refreshed_at = time.monotonic()

    def has(self, label: str) -> bool:
        """Whether an artifact of that label is finished; then its manifest is in the folder."""
        return label in self._finished or self._sync(label)

    def is_finished(self, artifact: Artifact) -> bool:
        """Whether the artifact is finished; then its manifest is in the folder."""
        return self.has(artifact.label)

    def require_sizes(self, artifact: Artifact) -> None:
        """Nothing: a file is compared with the manifest when it is brought."""

    def find(self, reference: str) -> Artifact:
        """The finished artifact that a person means, by its key where that is what was given."""
        if reference.count("/") == 1 and len(reference.rpartition("-")[2]) == 12:
            self._sync(reference)
        found = super().find(reference)
        if found.path.is_relative_to(self.root):
            self._bring_lineage({found.label})
        return found

    def bring(self, folder: Path, wanted: Callable[[str], bool] | None = None) -> Path:
        """Have a finished artifact's files, or those of the wanted paths, in its folder.

        Raises:
            CorruptArtifact: object storage has not what the manifest says.
            StoreError: there is no such artifact.
            StoreUnreachable: object storage does not answer.
        """
        if not folder.is_relative_to(self.root):
            return folder
        label = _label(folder)
        if not (self._has_manifest(label) or self._sync(label)):
            raise StoreError(f"{self.place} has no finished artifact {label}")
        records = [
            record for record in self._files_of(label) if wanted is None or wanted(record.path)
        ]
        self._at_once(lambda record: self._bring_file(label, record), records)
        return folder

    def check_stored(self, folder: Path) -> list[str]:
        """What differs, of an artifact in its folder, from what object storage has."""
        label = _label(folder)

        def check(record: FileRecord) -> str | None:
            key = f"{label}/{record.path}"
            return self.objects.difference(folder / record.path, key)

        found = self._at_once(check, Manifest.read(folder).files)
        return [f"{self.place}/{label}: {problem}" for problem in found if problem]

    def bring_needs(self, needs: Needs) -> None:
        """Have what a part reads in the folder, and no more."""
        for need in needs.files:
            self.bring(self.root / need.label, need.wants)
        for name in needs.sources:
            self._bring_source(name)
        for name in needs.lists:
            self._pull(name)
        if needs.with_lineage:
            self._bring_lineage({need.label for need in needs.files})

    def live_holder(self, artifact: Artifact) -> Holder | None:
        """Who is making the artifact; None where nobody is."""
        held = read_shared_holder(self.objects, _lease_key(artifact.label))
        return held[0] if held is not None and is_live(self.objects, *held) else None

    @contextlib.contextmanager
    def writing(self, artifact: Artifact, run_id: str) -> Iterator[None]:
        """Hold the artifact's lease while the block makes it.

        Raises:
            LeaseHeld: another live run, here or elsewhere, makes it.
        """
        artifact.work.mkdir(parents=True, exist_ok=True)
        with shared_lease(self.objects, _lease_key(artifact.label), run_id) as held:
            self._leases[artifact.label] = held
            try:
                yield
            finally:
                del self._leases[artifact.label]

    def finished_parts(self, artifact: Artifact, parts: Sequence[str]) -> dict[str, PartRecord]:
        """The records of those parts of an unfinished artifact that are done, on any machine."""
        known = self._records.setdefault(artifact.label, {})
        missing = [part for part in parts if part not in known]
        found = self._at_once(lambda part: self._record_of(artifact.label, part), missing)
        known.update({p: r for p, r in zip(missing, found, strict=True) if r is not None})
        return {part: known[part] for part in parts if part in known}

    def part_record(self, folder: Path, part: str) -> PartRecord | None:
        """The record of one part of an unfinished artifact, if it is done."""
        return self._record_of(_label(folder), part)

    def check_writing(self, artifact: Artifact) -> None:
        """Raise LeaseLost where another run may be making the artifact by now."""
        self._check_lease(artifact.label)

    def with_sources(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments with outside files, by absolute paths, uploaded once under their hash."""

        def share(text: str) -> str:
            path = Path(text)
            if not path.is_absolute() or path.is_relative_to(self.root) or not path.is_file():
                return text
            if text not in self._sources:
                found = describe_source(self.root, "outside", path)
                key = f"{SOURCES}/{found.fingerprint}/{path.name}"
                if self.objects.size(key) != found.bytes:
                    self.objects.upload(path, key, found.fingerprint)
                self._sources[text] = str(self.root / key)
            return self._sources[text]

        return mapped(arguments, share)

    def publish_part(self, folder: Path, part: str, record: PartRecord) -> None:
        """Upload a part's files, then its record; what this machine made stays here as a copy.

        Raises:
            LeaseLost: another run may be making the artifact by now.
            StoreUnreachable: object storage does not answer.
        """
        label, scratch = _label(folder), folder / WORK_NAME / part

        def upload(file: FileRecord) -> None:
            self._check_lease(label)
            self.objects.upload(scratch / file.path, f"{label}/{file.path}", file.sha256)
            seal_file(scratch / file.path, file.sha256)

        self._at_once(upload, record.files)
        self._publish_record(label, part, record)
        publish_part(folder, folder / WORK_NAME, part, record)

    def discard_part(self, artifact: Artifact, part: str, record: PartRecord) -> None:
        """Undo a part that is done: it is to be made again."""
        self._check_lease(artifact.label)
        self.objects.delete([f"{artifact.label}/{WORK_NAME}/{part}.json"])
        self._records.get(artifact.label, {}).pop(part, None)
        super().discard_part(artifact, part, record)

    def adopt(self, artifact: Artifact) -> None:
        """Upload an artifact that was taken over in the folder."""
        manifest = artifact.manifest()

        def upload(file: FileRecord) -> None:
            self._check_lease(artifact.label)
            path = artifact.path / file.path
            self.objects.upload(path, f"{artifact.label}/{file.path}", file.sha256)

        self._at_once(upload, manifest.files)
        self._seal(artifact, manifest)

    def lend_parts(
        self, artifact: Artifact, keys: Mapping[str, str], packages: Collection[str] = ()
    ) -> int:
        """Take over parts of other artifacts, copied inside object storage."""
        if not keys:
            return 0
        others = self.objects.folders(artifact.stage)
        self._at_once(self._sync, [f"{artifact.stage}/{name}" for name in others])
        donors = find_donors(artifact.path.parent, keys.values(), packages, here=False)
        wanted = [(part, donors[key]) for part, key in keys.items() if key in donors]

        def lend(part: str, source: str, record: PartRecord) -> bool:
            for file in record.files:
                key = f"{source}/{file.path}"
                if self.objects.size(key) != file.bytes:
                    return False
                self.objects.copy(key, f"{artifact.label}/{file.path}")
            self._publish_record(artifact.label, part, record)
            return True

        return sum(
            self._at_once(
                lambda pair: lend(pair[0], _label(pair[1].folder), pair[1].record), wanted
            )
        )

    def record_run(self, run: Run) -> None:
        """Write a run's record, here and there."""
        run.requests = dict(sorted(self.objects.requests.items()))
        write_run(self.root, run)
        self.share(f"runs/{run.run_id}.json")

    def runs(self) -> list[Run]:
        """All readable run records, oldest first."""
        self._pull_records("runs")
        return read_runs(self.root)

    def share(self, name: str) -> None:
        """Put a small file of the store itself, as it is here, where all machines see it."""
        self.objects.put(name, (self.root / name).read_bytes())

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Have a file of the store itself as it is now, and share what the block makes of it.

        Raises:
            StoreError: another machine changed it meanwhile.
        """
        found = self._pull(name)
        yield
        content = (self.root / name).read_bytes()
        if self.objects.put_if(name, content, found) is None:
            raise StoreError(f"{self.place}/{name} was changed meanwhile; give the command again")

    def discard(self, path: Path) -> None:
        """Remove an artifact or a record, there and here; the manifest goes first."""
        name = path.relative_to(self.root).as_posix()
        self._finished.discard(name)
        if path.is_dir() and path.parent.parent == self.root:
            self.objects.delete([f"{name}/{MANIFEST_NAME}"])
            files = []
            with contextlib.suppress(CorruptArtifact):
                files = [f"{name}/{file.path}" for file in Manifest.read(path).files]
            self.objects.delete(sorted({*files, *self.objects.keys(name)}))
        elif path.is_file():
            self.objects.delete([name])
        super().discard(path)

    def _seal(self, artifact: Artifact, manifest: Manifest) -> None:
        label = artifact.label
        self._check_lease(label)
        key = f"{label}/{MANIFEST_NAME}"
        if self.objects.put_if(key, manifest.to_bytes(), None) is None:
            self._sync(label)  # another run was quicker; its bytes are the same
        else:
            manifest.write(artifact.path)
        self._finished.add(label)
        drop_work(artifact)
        known = [f"{label}/{WORK_NAME}/{part}.json" for part in self._records.pop(label, {})]
        listed = self.objects.keys(f"{label}/{WORK_NAME}")
        self.objects.delete(sorted({*known, *listed} - {_lease_key(label)}))

    def _sync(self, label: str) -> bool:
        """Have the manifest as it is there; False, and none, where there is none."""
        path = self.root / label / MANIFEST_NAME
        there = path.read_bytes() if path.is_file() else None
        same = (
            None if there is None else f'"{hashlib.md5(there, usedforsecurity=False).hexdigest()}"'
        )
        found = self.objects.get(f"{label}/{MANIFEST_NAME}", unless=same)
        if found is None:
            path.unlink(missing_ok=True)
            self._finished.discard(label)
            self._files.pop(label, None)
            return False
        if not found.is_same and found.content != there:
            self._files.pop(label, None)
            write_atomic(path, found.content)
        self._finished.add(label)
        return True

    def _files_of(self, label: str) -> tuple[FileRecord, ...]:
        if label not in self._files:
            self._files[label] = Manifest.read(self.root / label).files
            with contextlib.suppress(OSError):
                os.utime(self.root / label / MANIFEST_NAME)  # what is not used goes first
        return self._files[label]

    def _has_manifest(self, label: str) -> bool:
        return (self.root / label / MANIFEST_NAME).is_file()

    def _show_unfinished(self, label: str) -> None:
        held = self.objects.get(_lease_key(label))
        work = self.root / label / WORK_NAME
        work.mkdir(parents=True, exist_ok=True)
        if held is not None:
            write_atomic(work / "lease.json", held.content)

    def _listed(self) -> list[str]:
        stages = [
            name
            for name in self.objects.folders("")
            if name not in NOT_STAGES and not name.startswith(".")
        ]
        below = self._at_once(self.objects.folders, stages)
        return [f"{s}/{name}" for s, names in zip(stages, below, strict=True) for name in names]

    def _bring_lineage(self, labels: set[str]) -> None:
        waiting, seen = sorted(labels), set(labels)
        while waiting:
            label = waiting.pop()
            if not (self._has_manifest(label) or self._sync(label)):
                continue
            for entry in Manifest.read(self.root / label).identity.inputs:
                if entry.kind == "artifact" and entry.name not in seen:
                    seen.add(entry.name)
                    waiting.append(entry.name)

    def _bring_file(self, label: str, record: FileRecord) -> None:
        self._bring_to(self.root / label / record.path, f"{label}/{record.path}", record)

    def _bring_to(self, path: Path, key: str, record: FileRecord) -> None:
        if is_sealed(path, record):
            return
        with self._lock:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if is_sealed(path, record) or is_whole(path, record):
                return
            aside = self.root / ASIDE / f"{os.getpid()}-{threading.get_ident()}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.objects.download(key, record.bytes, record.sha256, aside)
                path.parent.mkdir(parents=True, exist_ok=True)
                seal_file(aside, record.sha256)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def _bring_source(self, name: str) -> None:
        size = self.objects.size(name)
        if size is None:
            raise StoreError(f"{self.place} has no {name}: give the run's command again")
        sha256 = name.split("/")[1]
        self._bring_to(self.root / name, name, FileRecord(path=name, bytes=size, sha256=sha256))

    def _record_of(self, label: str, part: str) -> PartRecord | None:
        found = self.objects.get(f"{label}/{WORK_NAME}/{part}.json")
        try:
            return None if found is None else PartRecord.model_validate(json.loads(found.content))
        except (ValueError, ValidationError):
            return None

    def _publish_record(self, label: str, part: str, record: PartRecord) -> None:
        self._check_lease(label)
        content = record.model_dump_json().encode()
        self.objects.put(f"{label}/{WORK_NAME}/{part}.json", content)
        self._records.setdefault(label, {})[part] = record

    def _check_lease(self, label: str) -> None:
        # A part that runs on another machine than its run has none; that run's lease stands for it.
        held = self._leases.get(label)
        if held is not None:
            held.check()

    def _pull_lists(self) -> None:
        for name in LISTS:
            self._pull(name)

    def _pull(self, name: str) -> str | None:
        """Have a file of the store itself; gives its version."""
        found, path = self.objects.get(name), self.root / name
        if found is None:
            path.unlink(missing_ok=True)
            return None
        if not path.is_file() or path.read_bytes() != found.content:
            write_atomic(path, found.content)
        return found.etag

    def _pull_records(self, kind: str) -> None:
        going = {run.run_id for run in read_runs(self.root) if run.state == "running"}
        names = [key.rpartition("/")[2] for key in self.objects.keys(kind)]
        here = self.root / kind
        missing = [
            name
            for name in names
            if not (here / name).is_file() or name.removesuffix(".json") in going
        ]
        self._at_once(lambda name: self._pull(f"{kind}/{name}"), missing)

    def _at_once(self, act: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do it for each, several at once; the first error is raised when all have ended."""
        given = list(items)
        if len(given) <= 1:
            return [act(item) for item in given]
        with ThreadPoolExecutor(min(_AT_ONCE, len(given))) as pool:
            return list(pool.map(act, given))


def _label(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _lease_key(label: str) -> str:
    return f"{label}/{WORK_NAME}/lease.json"
