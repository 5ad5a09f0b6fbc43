"""The parent's side: start child processes, follow their progress, and end them all when asked.

A child that is killed, runs out of memory or out of time raises `ChildDied`: the task that ran it
may try again. A child that says why it failed raises `StageFailed`: trying again would not help.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.call import Call, PartRecord
from infra.errors import ChildDied, StageFailed, Stopped

OnProgress = Callable[[int, int | None, dict[str, float]], None]

_GRACE_S = 10.0
_LOG_TAIL_BYTES = 4000


class Children:
    """The running child processes of one run."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.is_stopping:
            raise Stopped("the run was asked to stop")

    def run(self, call: Call, log: Path, on_progress: OnProgress) -> PartRecord:
        """Run a call to its end and return its record; its standard error goes to `log`.

        Raises:
            ChildDied: it ended without an answer, or ran out of time.
            StageFailed: the function raised; the message is its own.
            Stopped: the run was asked to stop.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("wb") as errors,
            self.started([sys.executable, "-m", "infra.child"], errors=errors) as child,
            self._deadline(child, call.timeout_s) as late,
        ):
            answer = self._converse(child, call, on_progress)
            child.wait()
        self.check()
        if answer is None:
            raise ChildDied(_obituary(call, child.returncode, late.is_set(), log))
        if answer["event"] == "error":
            log.write_text(answer["trace"], encoding="utf-8")
            raise StageFailed(_complaint(call, answer, log))
        return PartRecord.model_validate(answer["record"])

    @contextlib.contextmanager
    def started(
        self,
        command: list[str],
        *,
        errors: Any,
        output: Any = subprocess.PIPE,
        environment: dict[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process of a group and session of its own, ended with the block if it lives so long."""
        with self._lock:
            self.check()
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )
            self._running.add(child)
        try:
            yield child
        finally:
            end_group(child)
            with self._lock:
                self._running.discard(child)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def stop(self) -> None:
        """Ask every child to end; whoever waits for one then sees Stopped."""
        self._stopping.set()
        with self._lock:
            for child in self._running:
                signal_group(child, signal.SIGTERM)

    def _converse(
        self, child: subprocess.Popen[bytes], call: Call, on_progress: OnProgress
    ) -> dict[str, Any] | None:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(call.model_dump_json().encode() + b"\n")
            child.stdin.flush()
        for line in child.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] != "progress":
                return event
            on_progress(event["done"], event["total"], event["facts"])
        return None

    @contextlib.contextmanager
    def _deadline(
        self, child: subprocess.Popen[bytes], timeout_s: float
    ) -> Iterator[threading.Event]:
        late = threading.Event()

        def expire() -> None:
            late.set()
            signal_group(child, signal.SIGKILL)

        timer = threading.Timer(timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()


def signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the child's whole process group, if it still lives."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


def end_group(child: subprocess.Popen[bytes], grace_s: float = _GRACE_S) -> None:
    """End the child's group: politely at first, then by SIGKILL."""
    signal_group(child, signal.SIGTERM)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        signal_group(child, signal.SIGKILL)
        child.wait()
    # What the child itself started may outlive it in the group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def log_tail(log: Path) -> str:
    """The end of a log file, for a message."""
    try:
        content = log.read_bytes()
    except OSError:
        return ""
    return content[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()


def _obituary(call: Call, code: int, late: bool, log: Path) -> str:
    what = f"{call.function} in {call.scratch}"
    if late:
        return f"{what} was stopped after its {call.timeout_s:,.0f} s"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    tail = log_tail(log)
    return f"{what} {how} without an answer" + (f"; its last words:\n{tail}" if tail else "")


def _complaint(call: Call, answer: dict[str, Any], log: Path) -> str:
    message = str(answer["message"])
    if answer["kind"] == "user":
        return message
    return (
        f"{call.function} failed: {message}\n"
        f"This is a fault of the program, not of your input; its traceback is in {log}"
    )


def seconds_since(moment: float) -> float:
    """Seconds since a `time.monotonic` reading."""
    return time.monotonic() - moment
