"""From a score, an item of a benchmark or any artifact: up to the dumps and down to the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.errors import StoreError
from infra.lineage_answers import (
    ArtifactTrace,
    Made,
    RunTrace,
    ScoreLine,
    ScoreTrace,
    SharedDocument,
)
from infra.lineage_build import CORPUS_STAGES, Build, Known, Library
from infra.lineage_tables import find_rows
from infra.lineage_trace import score_lines
from infra.manifest import InputRecord
from infra.runs import Run

_SETTINGS = ("steps", "sequences_per_step", "learning_rate", "seed", "dtype")


def trace_score(
    library: Library,
    scores: Known,
    column: str | None = None,
    item: int | None = None,
    limit: int = 20,
) -> ScoreTrace:
    """What a scores artifact says, and everything that it was made from.

    Args:
        library: the store's artifacts.
        scores: the artifact.
        column: the column of the score table that is meant; all of its columns by default.
        item: an item of the benchmark's file, counted from 0.
        limit: documents that overlap with the item, at most; 0: all.

    Raises:
        StoreError: it holds no such column or item.
    """
    model = next(iter(scores.inputs("scored_model")), None)
    known = library.known.get(model) if model else None
    builds = library.builds_of_model(known) if known else []
    lines = [
        line
        for line in score_lines(scores, scores.scored_model or "a model from outside")
        if column in (None, line.column)
    ]
    if not lines:
        raise StoreError(f"{scores.label} holds no column {column}")
    training = known.manifest.identity.config.get("training", {}) if known else {}
    return ScoreTrace(
        scores=tuple(lines),
        artifact=scores.label,
        items=tuple(_items(scores, item)) if item is not None else (),
        overlaps=tuple(_overlaps(library, scores, builds, item, limit)),
        benchmark=_named(scores, "benchmark"),
        model=scores.scored_model or ", ".join(_named(scores, "scored_model")),
        steps=_milestone_step(scores) or training.get("steps"),
        made_from=tuple(made for build in builds for made in _made(build)),
        dumps=tuple(dict.fromkeys(name for build in builds for name in _outside(build))),
        training={name: training[name] for name in _SETTINGS if name in training},
        runs=_runs(library, scores.label),
    )


def _milestone_step(scores: Known) -> int | None:
    """The step of the milestone that was scored; None of a whole training's model."""
    step = (scores.scored_model or "").partition("@")[2]
    return int(step) if step else None


def trace_artifact(library: Library, known: Known) -> ArtifactTrace:
    """An artifact, what it was made from, and all that was made from it."""
    below = list(library.below(known.label))
    scores: list[ScoreLine] = []
    for user in [known, *below]:
        if user.stage == "scores":
            scores += score_lines(user, user.scored_model or "a model from outside")
    return ArtifactTrace(
        artifact=known.label,
        stage=known.stage,
        made_from=tuple(name_of_input(entry) for entry in known.manifest.identity.inputs),
        made_of_it=tuple(user.label for user in below),
        made_by=known.manifest.maker.run_id,
        prefect_flow_run_id=known.manifest.maker.prefect_flow_run_id,
        scores=tuple(scores),
        runs=_runs(library, known.label),
    )


def trace_run(library: Library, run: Run) -> RunTrace:
    """What a run made and reused, and the scores among it."""
    used = [(library.known.get(use.artifact), use) for use in run.uses]
    scores = [
        line
        for known, _use in used
        if known is not None and known.stage == "scores"
        for line in score_lines(known, next(iter(known.inputs("scored_model")), "from outside"))
    ]
    return RunTrace(
        run=run.run_id,
        flow=run.flow,
        profile=run.profile,
        state=run.shown_state,
        message=run.message,
        began_at=run.began_at,
        ended_at=run.ended_at,
        prefect_flow_run_id=run.prefect_flow_run_id,
        made=tuple(use.artifact for use in run.uses if use.how == "made"),
        reused=tuple(use.artifact for use in run.uses if use.how == "reused"),
        gone=tuple(use.artifact for known, use in used if known is None),
        scores=tuple(scores),
    )


def newest_scores(library: Library, benchmark: str, build: Build | None) -> Known:
    """The newest scores of a benchmark, of a build where one is given.

    Raises:
        StoreError: there are none.
    """
    wanted = None if build is None else {s.label for of in build.scores.values() for s in of}
    used = [library.known.get(use.artifact) for run in reversed(library.runs) for use in run.uses]
    made = sorted(library.known.values(), key=lambda one: one.manifest.maker.finished_at)
    for known in (*used, *reversed(made)):
        if known is None or known.stage != "scores":
            continue
        named = known.manifest.identity.config.get("benchmark") == benchmark
        if named and (wanted is None or known.label in wanted):
            return known
    raise StoreError(f"nothing in {library.store.root} has scored {benchmark}")


def _made(build: Build) -> list[Made]:
    """The build's stages, the last first."""
    found = []
    labels = build.labels()
    for stage in reversed(CORPUS_STAGES):
        known = next((k for k in build.by_role.values() if k.label == labels.get(stage)), None)
        if known is not None:
            counts = known.manifest.counts
            found.append(
                Made(
                    stage=stage,
                    artifact=known.label,
                    rows_in=counts.get("rows_in"),
                    rows_out=counts.get("rows_out"),
                    losses={k: v for k, v in counts.get("losses", {}).items() if v},
                )
            )
    return found


def _overlaps(
    library: Library, scores: Known, builds: Sequence[Build], item: int | None, limit: int
) -> list[SharedDocument]:
    if item is None or not builds:
        return []
    # Only this question needs it.
    from infra.lineage_overlap import shared_documents

    benchmark = scores.manifest.identity.config["benchmark"]
    found = [one for b in builds for one in shared_documents(library, b, benchmark, item, limit)]
    return found[:limit] if limit else found


def _items(scores: Known, item: int) -> list[dict[str, Any]]:
    path = scores.file("items.parquet")
    found = list(find_rows(path, "item", [item]))
    if not found:
        raise StoreError(f"{scores.label} has no item {item}; items are counted from 0")
    return found


def _outside(build: Build) -> tuple[str, ...]:
    """The files at the beginning: those of the first stage, or of what made them."""
    first = build.get("submissions") or build.get("rows") or build.tip
    return tuple(name_of_input(entry) for entry in first.manifest.identity.inputs)


def _named(known: Known, role: str) -> tuple[str, ...]:
    return tuple(
        name_of_input(entry) for entry in known.manifest.identity.inputs if entry.role == role
    )


def name_of_input(entry: InputRecord) -> str:
    """How an answer names what something was made from."""
    if entry.kind == "artifact":
        return entry.name
    return f"{entry.name} (sha256 {entry.fingerprint[:12]}…)"


def _runs(library: Library, label: str) -> tuple[str, ...]:
    return tuple(run.run_id for run in library.runs if any(u.artifact == label for u in run.uses))
