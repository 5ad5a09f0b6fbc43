"""The files from outside that a score was made from: where they are, and whether they still are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eval.files import benchmark_paths
from flows import stages
from flows.models import MILESTONES
from infra.canonical import file_sha256
from infra.errors import StoreError
from infra.files import write_atomic
from infra.lineage_answers import Answer
from infra.lineage_build import Known
from infra.manifest import InputRecord
from infra.sources import describe_source, places_of
from infra.store import REMOVALS_NAME, Store
from webtext.hub import PREFIX

FOLDER = "reproduce"
"""Where in the store is kept what the command reads that is nowhere else."""
_REMOVALS = "list"
State = Literal["in place", "changed", "missing", "never seen", "not needed"]


class OutsideInput(Answer):
    """A file or an address that something was made from."""

    role: str
    kind: Literal["file", "address"]
    name: str
    sha256: str
    """Of a file's bytes; of an address's text."""
    bytes: int | None
    path: str | None
    """Where the file is, or was last seen."""
    state: State
    """`not needed`: what was made from it is taken over."""
    advice: str | None = None
    """What to do where it is not in place."""


class Finder:
    """Looks for files by their hash: where runs have seen them, then in the folders given."""

    def __init__(self, store: Store, folders: Sequence[Path]) -> None:
        """Raises StoreError where a folder is not there."""
        for folder in folders:
            if not folder.is_dir():
                raise StoreError(f"there is no folder {folder} to look for files in")
        self._store = store
        self._folders = folders

    def look(self, entry: InputRecord, *, needed: bool = True) -> OutsideInput:
        """Where an input is now."""
        path, state = self._state(entry, needed=needed)
        return OutsideInput(
            role=entry.role,
            kind="file" if entry.kind == "file" else "address",
            name=entry.name,
            sha256=entry.fingerprint,
            bytes=entry.bytes,
            path=str(path) if path else None,
            state=state,
            advice=_advice(entry, path, state),
        )

    def _state(self, entry: InputRecord, *, needed: bool) -> tuple[Path | None, State]:
        if not needed:
            return None, "not needed"
        if entry.kind != "file" or _is_known_by_size(entry):
            return None, "in place"
        if entry.role == _REMOVALS and (kept := self._keep_removals(entry)):
            return kept, "in place"
        return self._find(entry)

    def _keep_removals(self, entry: InputRecord) -> Path | None:
        """The list of removals as it was, in a file of its own."""
        content = _removals_as_they_were(self._store.root / REMOVALS_NAME, entry.fingerprint)
        if content is None:
            return None
        path = self._store.root / FOLDER / f"{entry.fingerprint[:12]}.{REMOVALS_NAME}"
        write_atomic(path, content)
        return path.absolute()

    def _find(self, entry: InputRecord) -> tuple[Path | None, State]:
        seen = places_of(self._store.root, entry.fingerprint)
        there = [path for path in seen if path.is_file()]
        for path in (*there, *self._of_its_size(entry)):
            if self._digest(path) == entry.fingerprint:
                return path, "in place"
        if not seen:
            return None, "never seen"
        return (there[-1], "changed") if there else (seen[-1], "missing")

    def _digest(self, path: Path) -> str:
        return describe_source(self._store.root, "file", path).fingerprint

    def _of_its_size(self, entry: InputRecord) -> Iterator[Path]:
        for folder in self._folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.stat().st_size == entry.bytes:
                    yield path


def outside_of(known: Known) -> list[InputRecord]:
    """What an artifact was made from that is no artifact, nor a part of one."""
    entries = known.manifest.identity.inputs
    return [
        entry
        for entry in entries
        if entry.kind != "artifact" and not entry.name.startswith(f"{MILESTONES}/")
    ]


def gather_inputs(
    finder: Finder, again: Sequence[Known], taken: Sequence[Known]
) -> list[OutsideInput]:
    """Where everything from outside is that artifacts were made from, each file once.

    Args:
        finder: looks for files.
        again: artifacts that are made again.
        taken: artifacts that are taken over, of which no file is needed.
    """
    found: dict[tuple[str, str, str], OutsideInput] = {}
    for number, known in enumerate((*again, *taken)):
        for entry in outside_of(known):
            key = (entry.role, entry.name, entry.fingerprint)
            if key not in found:
                # An index is hashed to know the captures by, though they are taken over.
                needed = number < len(again) or entry.role == "cdx-index"
                found[key] = finder.look(entry, needed=needed)
    return list(found.values())


def given_inputs(
    root: Path, chain: Sequence[Known], inputs: Sequence[OutsideInput]
) -> dict[str, Any]:
    """The `inputs` section of a profile that makes a chain from these files."""
    by_stage = {known.stage: known for known in chain}
    scores = by_stage[stages.SCORES.name]
    given: dict[str, Any] = {
        "submissions": _paths(inputs, "dump"),
        "blocked_domains": _paths(inputs, "blocked_domains"),
        "allowed_domains": _paths(inputs, "allowed_domains"),
        "replay": _paths(inputs, "replay"),
        "gateway": next((one.name for one in inputs if one.role == "gateway"), None),
        **_cdx(inputs),
        "documents": list(_documents(chain, inputs)),
        "earlier": _earlier(root, by_stage),
        "benchmarks": _benchmarks(inputs, scores),
        "removals": next(iter(_paths(inputs, "list")), None),
    }
    return {name: value for name, value in given.items() if value}


def _paths(inputs: Sequence[OutsideInput], role: str) -> list[str]:
    """Where the files of a role are; the name of one that was never seen."""
    return [one.path or one.name for one in inputs if one.role == role and one.kind == "file"]


def _cdx(inputs: Sequence[OutsideInput]) -> dict[str, Any]:
    """The indexes of an archive; blocks beside an index are found by it."""
    indexes = [one for one in inputs if one.role == "cdx-index"]
    if not indexes:
        return {}
    named = [one.path or one.name for one in indexes if not _is_known_by_size(one)]
    # Captures are taken over: where the archive's files are is asked of, and never read.
    records = next((one.name for one in inputs if one.role == "cdx-records"), "not-read")
    return {"cdx": named, "cdx_records": records}


def _is_known_by_size(one: OutsideInput | InputRecord) -> bool:
    """Whether it is too large to be hashed, and known by name and size."""
    digest = one.sha256 if isinstance(one, OutsideInput) else one.fingerprint
    return hashlib.sha256(f"{one.name}:{one.bytes}".encode()).hexdigest() == digest


def _documents(chain: Sequence[Known], inputs: Sequence[OutsideInput]) -> Iterator[str]:
    """The files of an existing corpus, and the data sets on hubs, in their order."""
    by_label = {known.label: known for known in chain}
    found = {one.sha256: one.path or one.name for one in inputs if one.role == "documents"}
    rows = next((known for known in chain if known.stage == stages.ROWS.name), None)
    for entry in rows.manifest.identity.inputs if rows else ():
        if entry.kind != "artifact":
            yield found[entry.fingerprint]
            continue
        config = by_label[entry.name].manifest.identity.config
        pattern = f"/{config['pattern']}" if config["pattern"] else ""
        yield f"{PREFIX}{config['repository']}@{config['revision']}{pattern}"


def _earlier(root: Path, by_stage: Mapping[str, Known]) -> list[str]:
    duplicates = by_stage.get(stages.DUPLICATES.name)
    labels = duplicates.inputs("earlier_duplicates") if duplicates else []
    return [str((root / label).absolute()) for label in labels]


def _benchmarks(inputs: Sequence[OutsideInput], scores: Known) -> str | None:
    """The folder that the benchmark's files are below."""
    paths = [Path(path) for path in _paths(inputs, "benchmark")]
    for folder in paths[0].absolute().parents[:3] if paths else ():
        found = benchmark_paths(scores.manifest.identity.config["benchmark"], folder)
        if {path.absolute() for path in paths} & {path.absolute() for path in found}:
            return str(folder)
    return str(paths[0].absolute().parent) if paths else None


def _removals_as_they_were(path: Path, digest: str) -> bytes | None:
    """The beginning of a list of removals that has a hash; None where none has.

    The list only grows, so what it was is how it begins.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for count in range(len(lines), 0, -1):
        beginning = b"".join(lines[:count])
        if hashlib.sha256(beginning).hexdigest() == digest:
            return beginning
    return None


def _advice(entry: InputRecord, path: Path | None, state: State) -> str | None:
    cure = "name a folder that holds it by --find"
    if state == "changed":
        found = file_sha256(path) if path else ""
        return (
            f"{path} has other bytes now (sha256 {found[:12]}…); put the old ones back, or {cure}"
        )
    if state == "missing":
        return f"it was {path}; put it back there, or {cure}"
    if state == "never seen":
        return f"this store does not know where {entry.name} was; {cure}"
    return None
