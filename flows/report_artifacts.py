"""Where the numbers of a report come from: artifacts' facts, and the environment of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.report_graph import anchor
from flows.report_source import Source
from infra.canonical import fingerprint
from infra.lineage_build import Known
from infra.lineage_scores import name_of_input
from infra.manifest import InputRecord, Manifest

_MOST_FILES = 12
_MOST_INPUTS = 40
_MOST_CONFIG_CHARACTERS = 6000


@dataclass(frozen=True)
class InputFact:
    """Something that an artifact was made from."""

    role: str
    name: str
    anchor: str | None
    """Its section on the page, where it has one."""


@dataclass(frozen=True)
class FileFact:
    """A file of an artifact."""

    path: str
    bytes: int
    rows: int | None
    sha256: str


@dataclass(frozen=True)
class ArtifactFact:
    """An artifact: its identity, its counts, its files and their hashes."""

    label: str
    anchor: str
    stage: str
    version: int
    fingerprint: str
    content: str
    """One hash over the paths and hashes of all files."""
    inputs: list[InputFact]
    more_inputs: int
    config: str
    counts: list[tuple[str, str]]
    files: list[FileFact]
    file_count: int
    bytes: int
    rows: int
    purges: int


@dataclass(frozen=True)
class StageTime:
    """What a run spent on an artifact."""

    label: str
    anchor: str | None
    how: str
    seconds: float
    peak_memory_bytes: float | None


@dataclass(frozen=True)
class Environment:
    """The run itself: the only part of a report that differs between runs of equal artifacts."""

    run_id: str
    flow: str
    profile: str
    state: str
    message: str | None
    host: str
    began_at: str
    ended_at: str | None
    seconds: float | None
    prefect_flow_run_id: str | None
    times: list[StageTime]
    python: str
    git_commit: str | None
    packages: dict[str, str]
    others: list[str]
    """Artifacts that were made with something else."""


def artifact_facts(source: Source) -> list[ArtifactFact]:
    """The facts of each artifact, in the report's order."""
    anchors = {known.label for known in source.artifacts}
    return [_facts(known, anchors) for known in source.artifacts]


def environment(source: Source) -> Environment:
    """Who ran it, when, with what, and how long each stage took."""
    run, known = source.run, {one.label: one for one in source.artifacts}
    maker = _newest(source.artifacts).maker
    seconds = None
    if run.ended_at is not None:
        began, ended = (datetime.fromisoformat(t) for t in (run.began_at, run.ended_at))
        seconds = (ended - began).total_seconds()
    return Environment(
        run_id=run.run_id,
        flow=run.flow,
        profile=run.profile,
        state=run.state,
        message=run.message,
        host=run.host,
        began_at=run.began_at,
        ended_at=run.ended_at,
        seconds=seconds,
        prefect_flow_run_id=run.prefect_flow_run_id,
        times=[
            StageTime(
                use.artifact,
                anchor(use.artifact) if use.artifact in known else None,
                use.how,
                use.seconds,
                _peak(known.get(use.artifact)) if use.how == "made" else None,
            )
            for use in run.uses
        ],
        python=maker.python,
        git_commit=maker.git_commit,
        packages=dict(sorted(maker.packages.items())),
        others=_made_otherwise(source.artifacts),
    )


def _facts(known: Known, anchors: set[str]) -> ArtifactFact:
    manifest, identity = known.manifest, known.manifest.identity
    config = json.dumps(identity.config, indent=2, sort_keys=True, ensure_ascii=False)
    cut = config[:_MOST_CONFIG_CHARACTERS]
    return ArtifactFact(
        label=known.label,
        anchor=anchor(known.label),
        stage=known.stage,
        version=identity.version,
        fingerprint=manifest.fingerprint,
        content=fingerprint([[file.path, file.sha256] for file in manifest.files]),
        inputs=[_input(entry, anchors) for entry in identity.inputs[:_MOST_INPUTS]],
        more_inputs=max(len(identity.inputs) - _MOST_INPUTS, 0),
        config=cut + ("\n… the rest is in manifest.json" if cut != config else ""),
        counts=list(_counts(manifest.counts)),
        files=[
            FileFact(file.path, file.bytes, file.rows, file.sha256)
            for file in manifest.files[:_MOST_FILES]
        ],
        file_count=len(manifest.files),
        bytes=manifest.total_bytes,
        rows=sum(file.rows or 0 for file in manifest.files),
        purges=len(manifest.purges),
    )


def _input(entry: InputRecord, anchors: set[str]) -> InputFact:
    there = entry.kind == "artifact" and entry.name in anchors
    return InputFact(entry.role, name_of_input(entry), anchor(entry.name) if there else None)


def _counts(counts: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    """The numbers of a manifest by their names, those inside others after them."""
    for name, value in counts.items():
        shown = f"{above}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _counts(value, f"{shown}: ")
        elif isinstance(value, bool) or value is None:
            yield shown, f"{value}"
        elif isinstance(value, int):
            yield shown, f"{value:,}"
        elif isinstance(value, float):
            yield shown, f"{value:,.4f}"


def _newest(artifacts: Iterable[Known]) -> Manifest:
    return max((known.manifest for known in artifacts), key=lambda one: one.maker.finished_at)


def _made_otherwise(artifacts: Iterable[Known]) -> list[str]:
    newest = _newest(artifacts).maker
    wanted = (newest.python, newest.packages, newest.git_commit)
    found = []
    for known in artifacts:
        maker = known.manifest.maker
        if (maker.python, maker.packages, maker.git_commit) != wanted:
            found.append(known.label)
    return found


def _peak(known: Known | None) -> float | None:
    return known.manifest.measurements.get("peak_memory_bytes") if known else None
