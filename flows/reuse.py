"""A run that has nothing to do: seen from the store alone, without starting Prefect.

Every artifact's fingerprint follows from settings and inputs, so whether all of them are there is
known in a moment. The run is recorded as any other, with everything reused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flows import stages
from flows.bias import make_bias
from flows.corpus import make_corpus
from flows.evaluate import (
    benchmarks_folder,
    expect_coverage,
    make_all_scores,
    make_scores,
    score_in_turn,
)
from flows.models import find_model, find_models
from flows.openlineage import LineageEvents, server_url
from flows.overlap import make_overlap
from flows.profile import Profile
from flows.progress import Reporter
from flows.publish import card_artifact, run_report
from flows.scores import missing_benchmarks
from flows.session import Session, WorkToDo
from flows.train import make_model
from infra.children import Children
from infra.environment import utc_now
from infra.runs import Run, new_run
from infra.store import Store, open_artifact

Result = TypeVar("Result")


class _Later:
    """Keeps what stages report until it is known that the whole run is there."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, float, str]] = []

    def started(self, stage: str, parts: int, unit: str) -> None:
        """Nothing is started."""

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """Nothing goes on."""

    def part_finished(self, stage: str, part: str) -> None:
        """No part is done."""

    def finished(self, stage: str, label: str, how: str, seconds: float, summary: str) -> None:
        """Keep the line."""
        self.lines.append((stage, label, how, seconds, summary))

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """The line says it already."""

    def waiting(self, stage: str, message: str) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Nothing is held."""


def reuse_pipeline(profile: Profile, reporter: Callable[[], Reporter]) -> dict[str, str] | None:
    """What the pipeline flow would give, if all of it is there; None where there is work to do."""
    return _reuse(
        "pipeline", profile, reporter, _pipeline, lambda run, made: made | run_report(run)
    )


def reuse_scores(
    profile: Profile,
    reporter: Callable[[], Reporter],
    models: Sequence[str],
    held_out: str | None,
    milestones: bool = False,
) -> dict[str, Any] | None:
    """What the flow `evaluate_many` would give, if all of it is there."""
    return _reuse(
        "evaluate",
        profile,
        reporter,
        lambda run: make_all_scores(
            run,
            find_models(run.store, models, milestones=milestones),
            held_out,
            score_in_turn,
        ),
    )


def _reuse(
    flow: str,
    profile: Profile,
    reporter: Callable[[], Reporter],
    make: Callable[[Session], Result],
    finish: Callable[[Session, Result], Result] | None = None,
) -> Result | None:
    store = profile.runtime.open_store()
    run = new_run(flow, profile.name, os.getpid())
    later = _Later()
    children = Children(store.root / "logs" / run.run_id)
    events = LineageEvents(store, run, server_url(profile.runtime.openlineage_url))
    looking = Session(profile, store, run, later, children, events, reuse_only=True)
    try:
        made = make(looking)
    except WorkToDo:
        return None
    shown = reporter()
    for line in later.lines:
        shown.finished(*line)
    shown.close()
    run.state, run.ended_at = "finished", utc_now()
    store.record_run(run)
    _tell(events, store, run)
    return made if finish is None else finish(looking, made)


def _tell(events: LineageEvents, store: Store, run: Run) -> None:
    events.run_started()
    for use in run.uses:
        events.stage_ended(open_artifact(store.root / use.artifact), use.how, use.seconds)
    events.run_ended()
    events.close()


def _pipeline(run: Session) -> dict[str, str]:
    made = make_corpus(run)
    expect_coverage(run, run.profile.inputs.benchmarks)
    made |= make_model(run, made[stages.SHARDS.name])
    model = find_model(run.store, made[stages.MODEL.name])
    made |= make_scores(run, model, made[stages.CORPUS.name], score_in_turn)
    made |= make_bias(run, made[stages.MODEL.name])
    made |= make_overlap(run, made[stages.MODEL.name], made)
    missing = missing_benchmarks(benchmarks_folder(run.profile, made))
    return made | card_artifact(run, made, missing)
