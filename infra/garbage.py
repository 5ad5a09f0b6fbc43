"""Garbage collection: what no kept run reaches, neither directly nor as an input of an input."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.errors import CorruptArtifact, OtherFormat
from infra.files import folder_bytes
from infra.lease import read_holder
from infra.manifest import MANIFEST_NAME, Manifest
from infra.runs import Run, read_runs
from infra.store import WORK_NAME, Store


@dataclass(frozen=True)
class Garbage:
    """One folder or run record that may go."""

    path: Path
    reason: str
    bytes: int


def find_garbage(store: Store, keep_runs: int) -> list[Garbage]:
    """What may be removed if the newest `keep_runs` runs of each profile and flow are kept.

    Live runs and folders under a live lease are always kept.
    """
    runs = read_runs(store.root)
    kept = _kept_runs(runs, keep_runs)
    reached = reachable(store, {use.artifact for run in kept for use in run.uses})
    garbage = [
        Garbage(folder, reason, folder_bytes(folder))
        for folder in store.folders()
        if (reason := _why_garbage(folder, reached)) is not None
    ]
    garbage += _stale_indexes(store, reached)
    kept_ids = {run.run_id for run in kept}
    for run in runs:
        if run.run_id not in kept_ids:
            path = store.root / "runs" / f"{run.run_id}.json"
            garbage.append(Garbage(path, "record of an older run", path.stat().st_size))
            plan = store.root / "plans" / path.name
            if plan.is_file():
                garbage.append(Garbage(plan, "estimate of an older run", plan.stat().st_size))
            page = store.root / "reports" / f"{run.run_id}.html"
            if page.is_file():
                garbage.append(Garbage(page, "report of an older run", page.stat().st_size))
    garbage += [
        Garbage(page, "page of a trace", page.stat().st_size)
        for page in sorted((store.root / "reports").glob("trace-*.html"))
    ]
    return garbage


def reachable(store: Store, labels: set[str]) -> set[str]:
    """The labels of all artifacts that these were made from, and their own."""
    reached: set[str] = set()
    waiting = list(labels)
    while waiting:
        label = waiting.pop()
        if label in reached:
            continue
        reached.add(label)
        folder = store.root / label
        if (folder / MANIFEST_NAME).is_file():
            inputs = Manifest.read(folder).identity.inputs
            waiting += [entry.name for entry in inputs if entry.kind == "artifact"]
    return reached


def remove(garbage: Garbage) -> None:
    """Remove one piece; the manifest goes first, so a kill leaves unfinished work, not a ruin."""
    if garbage.path.is_dir():
        (garbage.path / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(garbage.path)
    else:
        garbage.path.unlink(missing_ok=True)


def _kept_runs(runs: list[Run], keep: int) -> list[Run]:
    kept = [run for run in runs if run.is_live()]
    seen: dict[tuple[str, str], int] = {}
    for run in reversed(runs):
        kind = (run.flow, run.profile)
        if run.state == "finished" and seen.get(kind, 0) < keep:
            seen[kind] = seen.get(kind, 0) + 1
            kept.append(run)
    return kept


def _stale_indexes(store: Store, reached: set[str]) -> list[Garbage]:
    """Indexes of artifacts that are gone or going."""
    kept = {f"{label.partition('/')[0]}-{label.rpartition('-')[2]}" for label in reached}
    found = sorted((store.root / "index").glob("*"))
    return [
        Garbage(folder, "index of an artifact that no kept run uses", folder_bytes(folder))
        for folder in found
        if folder.name not in kept
    ]


def _why_garbage(folder: Path, reached: set[str]) -> str | None:
    holder = read_holder(folder / WORK_NAME)
    if holder is not None and holder.is_live():
        return None
    if not (folder / MANIFEST_NAME).is_file():
        return "unfinished work that no run is making"
    try:
        Manifest.read(folder)
    except OtherFormat:
        return None  # another version of this project knows what it is worth
    except CorruptArtifact:
        return "its manifest cannot be read"
    return None if f"{folder.parent.name}/{folder.name}" in reached else "no kept run uses it"
