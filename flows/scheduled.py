"""The flows that deployments run: the pipeline's own, with a turn, a look, retries and time-outs.

A scheduled run differs from one on the command line in what happens when nobody watches: it takes
the store's turn, or waits for it, or is skipped; it looks first whether there is anything to do; an
error costs one more attempt after a pause, for servers and networks that come back (what was done
is reused); a run that goes on for ever is ended. Time-outs and retries are stated here, schedules
and limits in infra/prefect.yaml.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.evaluate import evaluate
from flows.looks import new_dumps, unscored_models
from flows.pipeline import pipeline
from flows.profile import Profile, load_profile
from flows.refresh import refresh
from flows.retention import RETENTION_DAYS, remove_old_runs
from flows.train import train
from flows.work import THREADS
from infra.turns import Collision, TurnTaken, turn

_LOG = logging.getLogger("webtext.scheduled")

BUILD = "build"
"""Runs that make corpora and models: one at a time on a store."""
SCORE = "score"
"""Runs that score: beside those, or a training of weeks would have no scores until its end."""

RETRIES = 1
RETRY_DELAY_S = 600
BUILD_TIMEOUT_S = timedelta(days=60).total_seconds()
SCORE_TIMEOUT_S = timedelta(hours=12).total_seconds()


def _settings(profile: Profile | str, changes: Sequence[str]) -> Profile:
    if isinstance(profile, Profile) and not changes:
        return profile
    if isinstance(profile, Profile):
        from infra.profiles import override

        return Profile.model_validate(override(profile.model_dump(mode="json"), changes))
    return load_profile(profile, changes)


def _in_turn(
    settings: Profile, kind: str, on_collision: Collision, work: Callable[[Profile], Any]
) -> Any:
    """Do the work in the store's turn; a run that is skipped is completed and says so."""
    store = settings.runtime.open_store()
    store.prepare()
    try:
        with turn(store.root, kind, str(flow_run.get_id()), on_collision, _LOG.warning):
            return work(settings)
    except TurnTaken as taken:
        return Completed(name="Skipped", message=f"skipped: {taken}")


@flow(
    name="pipeline",
    persist_result=False,
    task_runner=THREADS,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_S,
    timeout_seconds=BUILD_TIMEOUT_S,
)
def scheduled_pipeline(
    profile: Profile | str, changes: tuple[str, ...] = (), on_collision: Collision = "wait"
) -> Any:
    """Run a profile end to end.

    Args:
        profile: the profile, its path or its name.
        changes: settings to change, such as `train.steps=20`.
        on_collision: what to do while another build has the store's turn.
    """
    return _in_turn(_settings(profile, changes), BUILD, on_collision, pipeline.fn)


@flow(
    name="refresh",
    persist_result=False,
    task_runner=THREADS,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_S,
    timeout_seconds=BUILD_TIMEOUT_S,
)
def scheduled_refresh(
    profile: Profile | str, changes: tuple[str, ...] = (), on_collision: Collision = "skip"
) -> Any:
    """Add new months' dumps to the profile's series; where there is none, do nothing.

    Args:
        profile: the profile, its path or its name; its `inputs.submissions` say by a pattern where
            dumps appear.
        changes: settings to change.
        on_collision: what to do while another build has the store's turn.
    """
    settings = _settings(profile, changes)
    if not new_dumps(settings.runtime.open_store(), settings):
        shown = ", ".join(map(str, settings.inputs.submissions)) or "(none named)"
        return Completed(message=f"nothing to do: no dump at {shown} that was not read already")
    return _in_turn(settings, BUILD, on_collision, refresh.fn)


@flow(
    name="train",
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_S,
    timeout_seconds=BUILD_TIMEOUT_S,
)
def scheduled_train(
    profile: Profile | str,
    shards: str = "shards",
    changes: tuple[str, ...] = (),
    on_collision: Collision = "wait",
) -> Any:
    """Train the profile's model.

    Args:
        profile: the profile, its path or its name.
        shards: the shards artifact.
        changes: settings to change.
        on_collision: what to do while another build has the store's turn.
    """
    return _in_turn(
        _settings(profile, changes),
        BUILD,
        on_collision,
        lambda settings: train.fn(settings, shards),
    )


@flow(
    name="evaluate",
    persist_result=False,
    task_runner=THREADS,
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAY_S,
    timeout_seconds=SCORE_TIMEOUT_S,
)
def scheduled_evaluate(
    profile: Profile | str, changes: tuple[str, ...] = (), on_collision: Collision = "skip"
) -> Any:
    """Score every model and checkpoint of the store that has no scores; often there is none.

    Args:
        profile: the profile, its path or its name.
        changes: settings to change.
        on_collision: what to do while another run scores.
    """
    settings = _settings(profile, changes)
    store = settings.runtime.open_store()
    found = unscored_models(store)
    if not found:
        return Completed(message="nothing to do: every model and checkpoint has its scores")

    def score(settings: Profile) -> dict[str, Any]:
        made = {}
        for each in found:
            # A training that goes on removes its older checkpoints meanwhile.
            if not Path(each.reference).is_absolute() or Path(each.reference).is_dir():
                made[each.reference] = evaluate(settings, each.reference, each.held_out)
        return made

    return _in_turn(settings, SCORE, on_collision, score)


@flow(name="retention", persist_result=False, retries=RETRIES, retry_delay_seconds=RETRY_DELAY_S)
def scheduled_retention(days: float = RETENTION_DAYS) -> int:
    """Remove the records of flow runs that ended more than `days` ago from Prefect's database.

    Nothing of the store is touched: Prefect's records are only shown, never read back.
    """
    removed = remove_old_runs(timedelta(days=days))
    _LOG.info("%d flow runs removed that ended more than %g days ago", removed, days)
    return removed
