"""A further machine of a training: `webtext join` runs its ranks for as long as the training goes.

Machine 0 runs the train flow. The store is on storage that all machines share, so that the same
profile and shards name the same work folder everywhere; what machine 0 wrote there is run here, as
often as machine 0 begins anew after one of them died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from flows.openlineage import LineageEvents
from flows.profile import Profile
from flows.progress import LogReporter
from flows.session import Session
from infra.children import Children, end_group, signal_group
from infra.errors import StageFailed, Stopped
from infra.runs import new_run
from infra.signals import on_stop_signals
from infra.store import Artifact
from model.launch import launch_command, read_outcome

_POLL_S = 0.5
_SAVE_GRACE_S = 120.0


def join_training(profile: Profile, shards: str, tell: Callable[[str], None]) -> None:
    """Run this machine's ranks until the model is there.

    Args:
        profile: says which machine this is, and where machine 0 is.
        shards: the artifact that is trained on.
        tell: told what goes on, in words.

    Raises:
        StageFailed: the training failed; the message is machine 0's.
        Stopped: it was stopped, here or elsewhere.
    """
    model, spec = _find_training(profile, shards)
    with _catching_stops() as was_stopped:
        while not model.is_finished:
            if not _wait_for_start(model, spec, was_stopped, tell):
                continue
            tell(f"machine {profile.runtime.node_rank} of {profile.runtime.nodes} begins")
            _run_ranks(profile, model, spec, was_stopped)
            _judge(model, spec.parent, was_stopped)
    tell(f"{model.label} is finished")


def _find_training(profile: Profile, shards: str) -> tuple[Artifact, Path]:
    from flows.train import planned_model

    store = profile.runtime.open_store()
    run = new_run("join", profile.name, os.getpid())
    events = LineageEvents(store, run, None)  # the flow on machine 0 tells of the training
    children = Children(store.root / "logs")
    looking = Session(profile, store, run, LogReporter(), children, events, reuse_only=True)
    return planned_model(looking, shards)


def _wait_for_start(
    model: Artifact, spec: Path, was_stopped: Callable[[], bool], tell: Callable[[str], None]
) -> bool:
    """Wait until machine 0 has begun; False where the model was finished meanwhile."""
    if not spec.is_file():
        tell(f"waiting for machine 0 to begin {model.label}")
    while not spec.is_file():
        if model.is_finished:
            return False
        if was_stopped():
            raise Stopped("this machine was asked to stop")
        time.sleep(_POLL_S)
    return True


def _run_ranks(
    profile: Profile, model: Artifact, spec: Path, was_stopped: Callable[[], bool]
) -> None:
    runtime = profile.runtime
    command, extra = launch_command(spec, runtime.ranks, runtime.launcher, runtime.training_nodes())
    guard = [sys.executable, "-m", "infra.orphans", str(os.getpid()), "--"]
    launched = subprocess.Popen(
        [*guard, *command],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        env={**os.environ, **extra},
    )
    try:
        while launched.poll() is None and not was_stopped() and not model.is_finished:
            time.sleep(_POLL_S)
        if launched.poll() is None:
            signal_group(launched, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launched.wait(_SAVE_GRACE_S)
    finally:
        end_group(launched)


def _judge(model: Artifact, work: Path, was_stopped: Callable[[], bool]) -> None:
    """Whether to go on: after a death machine 0 begins again."""
    if was_stopped():
        raise Stopped("this machine was asked to stop")
    outcome = read_outcome(work)
    if outcome is None or model.is_finished:
        return
    if outcome.state == "failed":
        raise StageFailed(f"training failed: {outcome.message}")
    if outcome.state == "stopped":
        raise Stopped(f"the training was stopped at step {outcome.step}")
    while outcome is not None and outcome.state == "finished" and not model.is_finished:
        if was_stopped():
            raise Stopped("this machine was asked to stop")
        time.sleep(_POLL_S)  # machine 0 puts the model into the store
        outcome = read_outcome(work)


@contextlib.contextmanager
def _catching_stops() -> Iterator[Callable[[], bool]]:
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    with on_stop_signals(stop):
        yield lambda: asked
