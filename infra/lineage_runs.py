"""The runs and artifacts of a store as rows: state, size, age, scores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from infra.errors import CorruptArtifact
from infra.files import folder_bytes
from infra.lineage_answers import Answer, ScoreLine
from infra.lineage_build import Known
from infra.lineage_trace import score_lines
from infra.manifest import MANIFEST_NAME, Manifest
from infra.runs import Mark, Run, read_runs
from infra.store import WORK_NAME, Store


class RunRow(Answer):
    """A run, and what it came to."""

    run: str
    flow: str
    profile: str
    state: str
    """`running`, `finished`, `failed`, `stopped`, or `died` where its process has gone."""
    message: str | None
    began_at: str
    ended_at: str | None
    age_s: float
    """Since it began."""
    seconds: float | None
    """That it took; None while it runs, and where it died."""
    made: int
    reused: int
    bytes_made: int
    """Of the artifacts that it made and that are still there."""
    artifacts: tuple[str, ...]
    prefect_flow_run_id: str | None
    marks: tuple[Mark, ...] = ()
    """Gates that were closed and let it go on."""


class ArtifactRow(Answer):
    """An artifact, finished or not."""

    artifact: str
    state: str
    """`finished`, `unfinished`, or `corrupt` where the manifest cannot be read."""
    bytes: int
    age_s: float
    """Since it was finished, or since its folder last changed."""
    run: str | None
    """The run that made it."""
    runs: int
    """Runs that made or reused it."""
    scores: tuple[ScoreLine, ...]
    removed_documents: int = 0
    """Documents that it was trained on and that are on the list of removals since."""
    superseded_by: str | None = None
    """The card that was issued in its place when something was taken down."""


class Inventory(Answer):
    """What a store holds."""

    runs: tuple[RunRow, ...]
    """The newest first."""
    artifacts: tuple[ArtifactRow, ...]
    """By stage and name."""


def take_inventory(store: Store, now: datetime, most_runs: int = 0) -> Inventory:
    """The runs, the newest `most_runs` of them (0: all), and all artifacts of a store."""
    runs = list(reversed(read_runs(store.root)))
    used: dict[str, int] = {}
    for run in runs:
        for label in {use.artifact for use in run.uses}:
            used[label] = used.get(label, 0) + 1
    artifacts = tuple(_artifact_row(store, folder, used, now) for folder in store.folders())
    sizes = {row.artifact: row.bytes for row in artifacts}
    shown = runs[:most_runs] if most_runs else runs
    return Inventory(runs=tuple(_run_row(run, sizes, now) for run in shown), artifacts=artifacts)


def _run_row(run: Run, sizes: dict[str, int], now: datetime) -> RunRow:
    made = [use.artifact for use in run.uses if use.how == "made"]
    ended = run.ended_at
    return RunRow(
        run=run.run_id,
        flow=run.flow,
        profile=run.profile,
        state=run.shown_state,
        message=run.message,
        began_at=run.began_at,
        ended_at=ended,
        age_s=_since(run.began_at, now),
        seconds=_since(run.began_at, datetime.fromisoformat(ended)) if ended else None,
        made=len(made),
        reused=len(run.uses) - len(made),
        bytes_made=sum(sizes.get(label, 0) for label in made),
        artifacts=tuple(use.artifact for use in run.uses),
        prefect_flow_run_id=run.prefect_flow_run_id,
        marks=tuple(run.marks),
    )


def _artifact_row(store: Store, folder: Path, used: dict[str, int], now: datetime) -> ArtifactRow:
    label = f"{folder.parent.name}/{folder.name}"
    row = {"artifact": label, "runs": used.get(label, 0)}
    changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    unfinished = {"age_s": (now - changed).total_seconds(), "run": None, "scores": ()}
    if not (folder / MANIFEST_NAME).is_file():
        assert (folder / WORK_NAME).is_dir()
        return ArtifactRow.model_validate(
            {**row, **unfinished, "state": "unfinished", "bytes": folder_bytes(folder)}
        )
    try:
        manifest = Manifest.read(folder)
    except CorruptArtifact:
        return ArtifactRow.model_validate(
            {**row, **unfinished, "state": "corrupt", "bytes": folder_bytes(folder)}
        )
    return ArtifactRow.model_validate(
        {
            **row,
            "state": "finished",
            "bytes": manifest.total_bytes,
            "age_s": _since(manifest.maker.finished_at, now),
            "run": manifest.maker.run_id,
            "scores": tuple(_scores(Known(label, folder, manifest, store))),
        }
    )


def _scores(known: Known) -> Iterator[ScoreLine]:
    if known.stage == "scores":
        yield from score_lines(known, known.scored_model or "a model from outside")


def _since(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds()
