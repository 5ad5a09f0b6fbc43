"""Prefect's API for a run: the user's own where one is set, else a temporary one of the run's own.

The temporary server keeps its SQLite database in the store's `prefect` folder, listens on loopback,
sends nothing anywhere and dies with the run, also when the run is killed. This module imports no
Prefect, so that the server starts while the run's process is still importing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from infra.children import end_group, log_tail
from infra.errors import InfraError

_START_TIMEOUT_S = 120.0
_LEAST_FREE_BYTES = 8_000_000
_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Prefect's own log lines go to its database; the terminal shows the run's progress.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
# The server of one run schedules nothing, cleans up nothing and shows no pages.
_ONE_RUN_ONLY = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


class TemporaryServer:
    """A Prefect server that lives as long as one run."""

    def __init__(self, home: Path, *, schedules: bool) -> None:
        self._home = home
        self._environment = {} if schedules else _ONE_RUN_ONLY
        self._log = home / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._start_lock: contextlib.ExitStack | None = None

    def begin(self) -> None:
        """Start the server's process, once, and point Prefect, when it is imported, at it."""
        if self._process is not None:
            return
        self._home.mkdir(parents=True, exist_ok=True)
        self._start_lock = contextlib.ExitStack()
        self._start_lock.enter_context(_start_lock(self._home))
        self._port = _free_port()
        os.environ["PREFECT_HOME"] = str(self._home.resolve())
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{self._port}/api"
        command = [
            sys.executable,
            "-m",
            "flows.temporary_server",
            str(os.getpid()),
            str(self._port),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            InfraError: it ended, or did not answer in time; the message holds its last words.
        """
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise InfraError(self._why_not())
            time.sleep(0.05)
        self._unlock()

    def _why_not(self) -> str:
        free = shutil.disk_usage(self._home).free
        if free < _LEAST_FREE_BYTES:
            return (
                f"the disk is full: {free / 1e6:.1f} MB are free for {self._home}, too few for "
                "Prefect's database; free some space and give the same command again"
            )
        last_words = log_tail(self._log)
        return f"Prefect's temporary server did not start; its log is {self._log}:\n{last_words}"

    def close(self) -> None:
        """End the server."""
        self._unlock()
        if self._process is not None:
            end_group(self._process)
            self._process = None

    def _unlock(self) -> None:
        if self._start_lock is not None:
            self._start_lock.close()
            self._start_lock = None


@contextlib.contextmanager
def prefect_api(home: Path, *, schedules: bool = False) -> Iterator[TemporaryServer | None]:
    """A temporary server, unless PREFECT_API_URL names one, ended with the block.

    Whoever runs a flow calls its `begin`, imports Prefect, and calls its `wait`.

    Args:
        home: Prefect's folder, with its database.
        schedules: whether the server runs schedules and shows its pages, for `webtext serve`.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    server = TemporaryServer(home, schedules=schedules)
    try:
        yield server
    finally:
        server.close()
        os.environ.pop("PREFECT_API_URL", None)


@contextlib.contextmanager
def _start_lock(home: Path) -> Iterator[None]:
    # Two servers that migrate one fresh SQLite database at once would get in each other's way.
    with (home / ".start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
