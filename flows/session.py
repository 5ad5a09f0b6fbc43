"""A session: what all flows of one run share — store, run record, child processes, reporter.

The outermost flow opens it, flows inside join it. It lives in this process alone; tasks find it by
its run id, and do without it (no progress, children of their own) where they run elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.cross_links import flow_run_id, publish_artifacts, tag_flow_run
from flows.openlineage import LineageEvents, event_file, server_url
from flows.profile import Profile, Runtime
from flows.progress import LogReporter, Reporter
from flows.secret_blocks import load_secrets
from flows.watchers import Watchers
from infra.call import GIB
from infra.children import Children
from infra.disk import watching
from infra.environment import utc_now
from infra.errors import DiskLow, GateClosed, Stopped
from infra.runs import Mark, Run, Use, new_run
from infra.secrets import know, mask, reveal
from infra.store import Artifact, Store
from model.device import Device, choose_device

if TYPE_CHECKING:
    from flows.ray_engine import RayEngine


class WorkToDo(Exception):  # noqa: N818
    """Something that a run needs is not in the store yet."""


@dataclass
class Session:
    """One run of the pipeline, or of a part of it."""

    profile: Profile
    store: Store
    run: Run
    reporter: Reporter
    children: Children
    events: LineageEvents
    engine: RayEngine | None = None
    """The cluster that parts are worked on; None: this machine."""
    reuse_only: bool = False
    """Whether the session only looks: what is not there raises `WorkToDo` instead of being made."""
    stopped_because: str | None = None
    """Why the run stopped itself, e.g. for want of disk space."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def runtime(self) -> Runtime:
        """How the run is done."""
        return self.profile.runtime

    @property
    def device(self) -> Device:
        """What scores and probes.

        Raises:
            SettingsError: a GPU is asked for and there is none.
        """
        return choose_device(self.runtime.device)

    @property
    def disk_floor_bytes(self) -> int:
        """Bytes that stay free on the store's disk."""
        return int(self.runtime.disk_floor_gib * GIB)

    def stop(self, reason: str) -> None:
        """Have the run stop itself: its children end, what they finished is kept."""
        self.stopped_because = reason
        self.children.stop()

    def record_use(self, artifact: Artifact, how: str, seconds: float) -> None:
        """Write down that the run made or reused an artifact."""
        use = Use.model_validate({"artifact": artifact.label, "how": how, "seconds": seconds})
        with self._lock:
            self.run.uses.append(use)
            if not self.reuse_only:
                self.store.record_run(self.run)
                self.events.stage_ended(artifact, how, seconds)

    def record_mark(self, mark: Mark) -> None:
        """Write down, once, that a gate was closed and let the run go on."""
        with self._lock:
            if mark in self.run.marks:
                return
            self.run.marks.append(mark)
            if not self.reuse_only:
                self.store.record_run(self.run)

    def expect_work(self, artifact: Artifact) -> None:
        """Call before any work on an artifact that is not finished.

        Raises:
            WorkToDo: the session only looks.
        """
        if self.reuse_only and not self.store.is_finished(artifact):
            raise WorkToDo(artifact.label)


_current: ContextVar[Session | None] = ContextVar("session", default=None)
_reporter: ContextVar[Reporter | None] = ContextVar("reporter", default=None)
_by_run: dict[str, Session] = {}


@contextlib.contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Have the sessions opened inside the block report to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        reporter.close()
        _reporter.reset(token)


@contextlib.contextmanager
def session(flow: str, profile: Profile) -> Iterator[Session]:
    """Join the session of the flow around, or open one and record how it ends."""
    outer = _current.get()
    if outer is not None:
        tag_flow_run(outer.run)
        yield outer
        return
    know(profile.model_dump(mode="json", exclude={"runtime": {"secrets"}}))
    load_secrets(profile.runtime.secrets)
    store = profile.runtime.open_store()
    store.prepare()
    run = new_run(flow, profile.name, os.getpid())
    run.prefect_flow_run_id = flow_run_id()
    watchers = Watchers(profile.runtime, run, store.root)
    children = Children(store.root / "logs" / run.run_id)
    events = LineageEvents(store, run, reveal(server_url(profile.runtime.openlineage_url)))
    reporter = watchers.with_reporter(_reporter.get() or LogReporter())
    opened = Session(profile, store, run, reporter, children, events)
    store.record_run(run)
    events.run_started()
    tag_flow_run(run)
    token = _current.set(opened)
    _by_run[run.run_id] = opened
    try:
        with watching(store.root, opened.disk_floor_bytes, opened.stop), _engine(opened):
            yield opened
        run.state = "finished"
    except BaseException as error:
        run.state = "stopped" if _was_stopped(error) else "failed"
        run.message = mask(opened.stopped_because or str(error) or type(error).__name__)
        if opened.stopped_because is not None and isinstance(error, Exception):
            raise DiskLow(opened.stopped_because) from None
        raise
    finally:
        opened.children.stop()
        _by_run.pop(run.run_id, None)
        _current.reset(token)
        run.ended_at = utc_now()
        store.record_run(run)
        events.run_ended()
        events.close()
        publish_artifacts(run)
        watchers.close()
        written = event_file(store.root, run.run_id)
        if written.is_file():
            store.share(written.relative_to(store.root).as_posix())


@contextlib.contextmanager
def _engine(opened: Session) -> Iterator[None]:
    if opened.runtime.engine == "local":
        yield
        return
    from flows.ray_engine import RayEngine

    with RayEngine(opened.runtime, opened.store, opened.run.run_id, opened.reporter) as engine:
        opened.engine = engine
        yield


def session_of(run_id: str) -> Session | None:
    """The session of a run of this process."""
    return _by_run.get(run_id)


def stop_all() -> bool:
    """Ask the sessions of this process to stop; False where there is none."""
    for opened in list(_by_run.values()):
        opened.children.stop()
    return bool(_by_run)


def _was_stopped(error: BaseException) -> bool:
    # What is no Exception came from outside: Ctrl-C, or Prefect's signal that the run is cancelled.
    return isinstance(error, Stopped | GateClosed) or not isinstance(error, Exception)
