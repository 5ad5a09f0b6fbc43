"""OpenLineage run events of every flow: into the store, and over HTTP where that is asked for.

A flow is a job, each of its stages a job below it; both start and end with an event. Events are
built and sent by a thread of their own, so a stage never waits for them, and never fail a run: what
cannot be sent is counted, and `webtext openlineage RUN` sends a run's file again.

    STORE/events/RUN_ID.jsonl     an event a line

`runtime.openlineage_url` or the environment's OPENLINEAGE_URL names a server (Marquez, for
example); its key is read from OPENLINEAGE_API_KEY alone. Specification: OpenLineage 2-0-2
(openlineage.io/spec/2-0-2/OpenLineage.json).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Stopped, StoreError
from infra.runs import Run
from infra.store import Artifact, Store

if TYPE_CHECKING:  # the client takes 0.4 s to import, which its own thread can wait for
    from openlineage.client.event_v2 import RunEvent

_LOG = logging.getLogger(__name__)

FOLDER = "events"
URL_VARIABLE = "OPENLINEAGE_URL"
KEY_VARIABLE = "OPENLINEAGE_API_KEY"
_GIVE_UP_AFTER = 3
"""Events in a row that a server did not take before the rest is left to the file."""
_CLOSE_S = 60.0
_TIMEOUT_S = 5.0
_RUN_IDS = uuid.UUID("5b0f6f0e-2a4c-5d53-9a38-6d3a0a6c5b11")
"""Namespace of the UUIDs that are made of our own run ids (RFC 9562, version 5)."""

Send = Callable[[dict[str, Any]], None]


def event_file(store_root: Path, run_id: str) -> Path:
    """Where a run's events are."""
    return store_root / FOLDER / f"{run_id}.jsonl"


def server_url(configured: str | None) -> str | None:
    """The server that events go to: the profile's, else the environment's."""
    return configured or os.environ.get(URL_VARIABLE) or None


def job_run_id(run_id: str, stage: str = "") -> str:
    """The UUID of a run, or of one stage's part of it; the same whenever it is asked for."""
    return str(uuid.uuid5(_RUN_IDS, f"{run_id}/{stage}"))


class LineageEvents:
    """The events of one run."""

    def __init__(self, store: Store, run: Run, url: str | None) -> None:
        self._store = store
        self._run = run
        self._url = url
        self._queue: queue.SimpleQueue[Callable[[], RunEvent] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run_started(self) -> None:
        """The flow begins."""
        self._put("START", None)

    def run_ended(self) -> None:
        """The flow has ended as its record says."""
        kind = {"finished": "COMPLETE", "stopped": "ABORT"}.get(self._run.state, "FAIL")
        self._put(kind, None, message=self._run.message)

    @contextlib.contextmanager
    def making(self, artifact: Artifact) -> Iterator[None]:
        """Tell that the block makes an artifact, and if it fails; `stage_ended` tells its end."""
        self._put("START", artifact)
        try:
            yield
        except BaseException as error:
            is_failure = isinstance(error, Exception) and not isinstance(error, Stopped)
            kind = "FAIL" if is_failure else "ABORT"
            self._put(kind, artifact, message=str(error) or type(error).__name__)
            raise

    def stage_ended(self, artifact: Artifact, how: str, seconds: float) -> None:
        """An artifact is there, `made` or `reused`."""
        self._put("COMPLETE", artifact, how=how, seconds=seconds)

    def close(self) -> None:
        """Wait until all is written and sent, or it is clear that it cannot be."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_CLOSE_S)

    def _put(self, kind: str, artifact: Artifact | None, **facts: Any) -> None:
        when = datetime.now(UTC)

        def build() -> RunEvent:
            from flows.openlineage_events import build_event

            return build_event(kind, when, self._store, self._run, artifact, **facts)

        self._queue.put(build)
        if self._thread is None:
            self._thread = threading.Thread(target=self._emit, name="openlineage", daemon=True)
            self._thread.start()

    def _emit(self) -> None:
        from openlineage.client.serde import Serde

        sender = _Sender(self._url) if self._url else None
        while (build := self._queue.get()) is not None:
            try:
                event = Serde.to_dict(build())
                self._write(event)
                if sender is not None:
                    sender.send(event)
            except Exception:  # noqa: BLE001  an event that is lost must not end the run
                _LOG.warning("an OpenLineage event could not be written", exc_info=True)
        if sender is not None and sender.lost:
            _LOG.warning(
                "%d OpenLineage events did not reach %s (%s); send them with: "
                "webtext openlineage %s --store %s",
                sender.lost, sender.shown, sender.reason, self._run.run_id, self._store.root,
            )  # fmt: skip

    def _write(self, event: dict[str, Any]) -> None:
        path = event_file(self._store.root, self._run.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, sort_keys=True) + "\n")


class _Sender:
    """Sends events to a server until it has refused several in a row."""

    def __init__(self, url: str) -> None:
        from flows.openlineage_datasets import place_of

        self._url = url
        self._failed = 0
        self.lost = 0
        self.reason = ""
        self.shown = place_of(url)[0]

    def send(self, event: dict[str, Any]) -> None:
        """Send an event, or count it as lost."""
        if self._failed >= _GIVE_UP_AFTER:
            self.lost += 1
            return
        try:
            post_event(self._url, event)
            self._failed = 0
        except StoreError as error:
            self._failed += 1
            self.lost += 1
            self.reason = str(error)


def post_event(url: str, event: dict[str, Any]) -> None:
    """Send one event to a server's `api/v1/lineage`.

    Raises:
        StoreError: it cannot be reached, or does not take the event.
    """
    import httpx2

    key = os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    target = url.rstrip("/") + "/api/v1/lineage"
    try:
        answer = httpx2.post(target, json=event, headers=headers, timeout=_TIMEOUT_S)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise StoreError(f"it cannot be reached: {type(error).__name__}") from error
    if not 200 <= answer.status_code < 300:
        raise StoreError(f"it answered {answer.status_code} {answer.reason_phrase}")


def send_again(store: Store, run_id: str, url: str | None) -> int:
    """Send the events of a run from its file; gives how many.

    Raises:
        StoreError: there are none, no server is named, or it does not take them.
    """
    path, target = event_file(store.root, run_id), server_url(url)
    if target is None:
        raise StoreError(f"no server is named; give --url, or set {URL_VARIABLE}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StoreError(
            f"there are no events of the run {run_id!r} in {path.parent}; `webtext runs` shows "
            "the runs"
        ) from error
    for number, line in enumerate(lines, 1):
        try:
            post_event(target, json.loads(line))
        except StoreError as error:
            raise StoreError(
                f"the server did not take line {number} of {path}: {error}; mend that and give "
                "the command again (a server takes an event twice without harm)"
            ) from error
    return len(lines)
