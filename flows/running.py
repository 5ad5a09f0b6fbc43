"""Running a flow from the command line: Prefect's API, signals, progress, and the last word."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from infra.errors import Stopped
from infra.signals import on_stop_signals
from infra.store import Store

if TYPE_CHECKING:
    from flows.profile import Profile
    from flows.progress import Reporter

Result = TypeVar("Result")

_EXIT_AT_ONCE = 130
_DRAIN_S = 5.0


def run_flow(
    console: Console,
    store: Path,
    load: Callable[[], Profile],
    flow: Callable[[Profile], Result],
    shortcut: Callable[[Profile, Callable[[], Reporter]], Result | None] | None = None,
) -> tuple[Profile, Result]:
    """Run a flow with bars on the terminal and everything stopped cleanly by Ctrl-C.

    Args:
        console: where it is told how the run goes.
        store: the store's folder, where Prefect's own folder is too.
        load: gives the profile; it imports most of the project, while Prefect's server starts.
        flow: runs the flow; it imports Prefect, after its address is known.
        shortcut: gives what the flow would, where that needs no work; with a Prefect server of the
            user's own it is not asked, so that the server knows of every run.

    Raises:
        Stopped: by SIGINT or SIGTERM; what is finished is kept.
    """
    # Not above: questions to a store, which want `store_of` alone, are answered without them.
    from flows.progress import TerminalReporter
    from flows.server import prefect_api

    home = store / "prefect"
    with prefect_api(home) as server, _stopping_on_signals(console) as was_stopped:
        # A new database takes the server long to make: see first that the profile can be used.
        if server is not None and (home / "prefect.db").is_file():
            server.begin()
        profile = load()
        # Keys that Prefect keeps are known when its server is.
        is_open = profile.runtime.shared is None or not profile.runtime.secrets
        if is_open:
            profile.runtime.open_store().prepare()
        quick = is_open and not profile.runtime.is_watched
        if server is not None and shortcut is not None and quick:
            there = shortcut(profile, lambda: TerminalReporter(console))
            if there is not None:
                return profile, there
        if server is not None:
            server.begin()
        from flows.session import reporting_to  # imports Prefect

        if server is not None:
            server.wait()
        records = _sending_records(own_server=server is not None)
        with records, reporting_to(TerminalReporter(console)):
            try:
                return profile, flow(profile)
            except Exception:
                if was_stopped():
                    raise Stopped from None
                raise


@contextlib.contextmanager
def _sending_records(*, own_server: bool) -> Iterator[None]:
    """Have Prefect's logs and events sent before a server of the run's own is ended."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if not own_server:
        yield
        return
    # Heartbeats tell a shared server of crashed runs. One's own server needs none, and the thread
    # that sends them costs every flow up to a second at its end.
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=_DRAIN_S)


@contextlib.contextmanager
def _stopping_on_signals(console: Console) -> Iterator[Callable[[], bool]]:
    """The first signal stops the run cleanly, the second ends the process at once."""
    stopped = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            os._exit(_EXIT_AT_ONCE)
        stopped = True
        console.print(
            f"\n[yellow]{signal.Signals(number).name}: stopping; what is done is kept "
            "(once more to end at once)[/]"
        )
        session = sys.modules.get("flows.session")
        if session is None or not session.stop_all():
            raise KeyboardInterrupt

    with on_stop_signals(stop):
        yield lambda: stopped


def store_of(place: str | Path) -> Store:
    """An existing store, to be looked at. Raises StoreError where there is none."""
    from infra.errors import StoreError
    from infra.place import is_address, open_store

    if not is_address(place) and not Path(place).is_dir():
        raise StoreError(f"there is no store {place}; give its folder with --store")
    opened = open_store(place)
    opened.refresh()
    return opened
