"""The parent's side: start child processes, follow their progress, and end them all when asked.

A child serves one call after another of the same function, so that what the function imports is
imported once a worker. A child that is killed, runs out of memory or out of time raises
`ChildDied`: the task that ran it may try again. A child that says why it failed raises
`StageFailed`: trying again would not help.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infra.call import Call, PartRecord
from infra.errors import ChildDied, StageFailed, Stopped
from infra.secrets import mask

OnProgress = Callable[[int, int | None, dict[str, float]], None]

_GRACE_S = 10.0
_LOG_TAIL_BYTES = 4000
_LOG_MASK_BYTES = 64 << 20


class Worker:
    """A child process that serves calls, and the file of its standard error."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def close(self) -> None:
        """End it: at once if it is idle, by SIGKILL if it does not listen."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        end_group(self.process)
        self.process.stdout.close()
        _tidy_log(self.log)


class Children:
    """The child processes of one run; their standard error goes to files in `logs`."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._idle: dict[str, list[Worker]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.is_stopping:
            raise Stopped("the run was asked to stop")

    def run(self, call: Call, on_progress: OnProgress) -> PartRecord:
        """Run a call to its end in an idle child or a new one, and return its record.

        Raises:
            ChildDied: it ended without an answer, or ran out of time.
            StageFailed: the function raised; the message is its own.
            Stopped: the run was asked to stop.
        """
        worker = self._take(call.function)
        try:
            with self._deadline(worker.process, call.timeout_s) as late:
                answer = self._converse(worker.process, call, on_progress)
        except BaseException:
            self._discard(worker)
            raise
        if answer is None or answer["event"] == "error" or self.is_stopping:
            self._discard(worker)
            self.check()
            if answer is None:
                code = worker.process.returncode
                raise ChildDied(_obituary(call, code, late.is_set(), worker.log))
            raise StageFailed(_complaint(call, answer, worker.log))
        with self._lock:
            self._idle.setdefault(call.function, []).append(worker)
        return PartRecord.model_validate(answer["record"])

    def retire(self, function: str) -> None:
        """End the idle children that serve `function`: there is no more for them to do."""
        with self._lock:
            workers = self._idle.pop(function, [])
        for worker in workers:
            self._discard(worker)

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
            idle = list(self._idle)
        for function in idle:
            self.retire(function)

    def _take(self, function: str) -> Worker:
        with self._lock:
            self.check()
            while idle := self._idle.get(function):
                worker = idle.pop()
                if worker.process.poll() is None:
                    return worker
                self._running.discard(worker.process)
            self._logs.mkdir(parents=True, exist_ok=True)
            log = self._logs / f"{function.partition(':')[0]}-{next(self._numbers)}.log"
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", "infra.child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            self._running.add(process)
        return Worker(process, log)

    def _discard(self, worker: Worker) -> None:
        worker.close()
        with self._lock:
            self._running.discard(worker.process)

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
    return mask(content[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip())


def _tidy_log(log: Path) -> None:
    """Remove a log that is empty, and hide the secrets that a library may have written to it."""
    if not log.is_file():
        return
    size = log.stat().st_size
    if not size:
        log.unlink()
    elif size <= _LOG_MASK_BYTES:
        text = log.read_bytes().decode("utf-8", "surrogateescape")
        if (masked := mask(text)) != text:
            log.write_bytes(masked.encode("utf-8", "surrogateescape"))


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
    with log.open("a", encoding="utf-8") as file:
        file.write(answer["trace"])
    return (
        f"{call.function} failed: {message}\n"
        f"This is a fault of the program, not of your input; its traceback is in {log}"
    )
