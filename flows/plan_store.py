"""Estimates that are kept with their runs, and what the runs then took.

STORE/plans/RUN_ID.json     the estimate of a run, written when it began
STORE/plans/rates.json      what was measured on this machine
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from flows import stages
from flows.plan import Estimate, estimate_run, estimate_training
from flows.plan_rates import (
    ASSUMED,
    Figures,
    choose_figures,
    earlier_figures,
    keep_measurement,
    measured_figures,
    read_measurement,
)
from flows.plan_sample import sample_dumps
from flows.plan_stage import StageEstimate
from flows.profile import Profile
from infra.environment import host, utc_now
from infra.errors import CorruptArtifact, StoreError
from infra.files import write_atomic
from infra.manifest import Manifest
from infra.runs import Run, read_runs
from infra.store import Store, open_artifact

LATEST = "latest"
"""Stands for the newest run."""


class Actual(BaseModel):
    """What one stage took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    how: str
    """`made` by the run, or `reused`: then the figures are of the run that made it."""
    rows_in: float | None
    rows_out: float | None
    seconds: float | None
    memory_bytes: float | None
    """Largest resident memory of one worker, where it was recorded."""
    disk_bytes: float | None
    tokens: float | None


class Comparison(BaseModel):
    """An estimate beside what the run took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    state: str
    estimate: Estimate
    actuals: dict[str, Actual]


def plan_profile(profile: Profile, *, measure: bool) -> Estimate:
    """Estimate a run of a profile; measures this machine where asked to, or where it never was.

    Without dumps to look into, as with an existing corpus, training alone is estimated.

    Raises:
        SourceError: a dump cannot be read.
    """
    root, cores = profile.runtime.store, os.cpu_count() or 1
    if measure or read_measurement(root) is None:
        from flows.plan_measure import measure_machine

        profile.runtime.open_store().prepare()
        keep_measurement(root, measure_machine(profile, cores))
    if profile.inputs.submissions:
        return estimate_dumps(profile, profile.inputs.dumps())
    if profile.demo_web is None or profile.inputs.documents:
        return estimate_training(
            profile,
            _figures(profile.runtime.open_store(), profile),
            cores=cores,
            host=host(),
            made_at=utc_now(),
        )
    with TemporaryDirectory(prefix="webtext-plan-") as folder:
        return estimate_dumps(profile, _demo_dumps(profile, Path(folder)))


def estimate_dumps(profile: Profile, dumps: Sequence[Path]) -> Estimate:
    """Estimate a run from what is known already: quick, a look into the dumps apart."""
    store = profile.runtime.open_store()
    return estimate_run(
        profile,
        sample_dumps(dumps, profile),
        _figures(store, profile),
        cores=os.cpu_count() or 1,
        host=host(),
        made_at=utc_now(),
    )


def keep_estimate(root: Path, run_id: str, estimate: Estimate) -> str:
    """Keep a run's estimate, for the comparison afterwards; gives its name in the store."""
    path = _path(root, run_id)
    write_atomic(path, (estimate.model_dump_json(indent=1) + "\n").encode())
    return path.relative_to(root).as_posix()


def compare_run(store: Store, reference: str) -> Comparison:
    """A run's estimate and what it took.

    Args:
        store: where it ran.
        reference: a run's id or its first characters, or `latest`.

    Raises:
        StoreError: there is no such run, or it has no estimate.
    """
    run = _find_run(store, reference)
    path = _path(store.root, run.run_id)
    try:
        estimate = Estimate.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            f"the run {run.run_id} has no estimate: it found all it needed, or did not come to "
            "reading dumps. `webtext plan --profile ...` makes one"
        ) from error
    except ValidationError as error:
        raise StoreError(f"{path} is no estimate; remove it") from error
    return Comparison(
        run_id=run.run_id,
        state=run.shown_state,
        estimate=estimate,
        actuals=_actuals(store, run),
    )


def _figures(store: Store, profile: Profile) -> Figures:
    measured = read_measurement(store.root)
    built_in = profile.demo_web is not None and not profile.inputs.submissions
    speeds = measured_figures(measured, built_in_web=built_in) if measured is not None else {}
    return choose_figures(earlier_figures(store, profile.name), speeds, ASSUMED)


def _demo_dumps(profile: Profile, folder: Path) -> list[Path]:
    """The dump of the demo's web, which is made to be looked at (it is the same each time)."""
    from webtext.demo_web import build_demo_web

    assert profile.demo_web is not None
    build_demo_web(destination=folder, config=profile.demo_web)
    return sorted((folder / "submissions").iterdir())


def _path(root: Path, run_id: str) -> Path:
    return root / "plans" / f"{run_id}.json"


def _find_run(store: Store, reference: str) -> Run:
    runs = read_runs(store.root)
    planned = [run for run in runs if _path(store.root, run.run_id).is_file()]
    if reference == LATEST:
        if not planned:
            raise StoreError(f"no run in {store.root} has an estimate; give a run's id")
        return planned[-1]
    found = [run for run in runs if run.run_id.startswith(reference)]
    if len(found) != 1:
        known = ", ".join(run.run_id for run in planned[-5:]) or "none"
        raise StoreError(
            f"{len(found)} runs in {store.root} answer to {reference!r}; with an estimate: {known}"
        )
    return found[0]


def _actuals(store: Store, run: Run) -> dict[str, Actual]:
    """By stage, what the run's artifacts took; scores are taken together."""
    found: dict[str, Actual] = {}
    for use in run.uses:
        folder = store.root / use.artifact
        try:
            manifest = open_artifact(folder).manifest()
        except CorruptArtifact:
            continue  # removed since
        stage = manifest.identity.stage
        seen = _actual(manifest, use.how)
        found[stage] = _joined(found[stage], seen) if stage in found else seen
    return found


def _actual(manifest: Manifest, how: str) -> Actual:
    counts, stage = manifest.counts, manifest.identity.stage
    return Actual(
        stage=stage,
        how=how,
        rows_in=counts.get("rows_in", counts.get("steps")),
        rows_out=counts.get("rows_out", counts.get("steps")),
        seconds=manifest.measurements.get("wall_seconds", 0.0),
        memory_bytes=manifest.measurements.get("peak_memory_bytes"),
        disk_bytes=manifest.total_bytes,
        tokens=_tokens(stage, counts),
    )


def _tokens(stage: str, counts: dict[str, Any]) -> float | None:
    if stage == stages.MODEL.name:
        return float(counts["tokens"])
    facts = counts.get("facts")
    if stage not in ("documents", "corpus", "shards") or not isinstance(facts, dict):
        return None
    named = ("tokens",) if stage == "documents" else ("train_tokens", "validation_tokens")
    return float(sum(facts.get(name, 0) for name in named))


def _joined(one: Actual, other: Actual) -> Actual:
    """Two artifacts of a stage that were made side by side: the longer one's time."""
    peaks = [seen for seen in (one.memory_bytes, other.memory_bytes) if seen is not None]
    return Actual(
        stage=one.stage,
        how=one.how if one.how == other.how else "made",
        rows_in=_added(one.rows_in, other.rows_in),
        rows_out=_added(one.rows_out, other.rows_out),
        seconds=max(one.seconds or 0.0, other.seconds or 0.0),
        memory_bytes=max(peaks, default=None),
        disk_bytes=_added(one.disk_bytes, other.disk_bytes),
        tokens=_added(one.tokens, other.tokens),
    )


def _added(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def stage_pairs(compared: Comparison) -> list[tuple[StageEstimate, Actual | None]]:
    """Each stage's estimate with what it took, None where the run did not come to it."""
    return [(stage, compared.actuals.get(stage.stage)) for stage in compared.estimate.stages]
