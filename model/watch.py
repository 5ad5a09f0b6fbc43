"""Ending in time: a stop that waits for the current step, and a death with the supervisor.

Imported before torch, so that both hold from a process's first moments.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from model.launch import EXIT_ORPHANED, EXIT_STOPPED, SUPERVISOR_PID

POLL_S = 0.5


class StopRequest:
    """Set by SIGTERM or SIGINT; the training loop looks at it after every step.

    While there is nothing to lose (imports, compilation and the first step's forward pass; the
    export of a finished network) the process ends at once instead.
    """

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._leave: Callable[[], None] | None = None

    def listen(self) -> None:
        """Take over both signals."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def end_at_once(self, leave: Callable[[], None]) -> None:
        """From now on, call `leave` when a stop is asked for (or was), and end the process."""
        self._leave = leave
        if self.requested:
            self._end(leave)

    def wait_for_step(self) -> None:
        """From now on, only take note of a stop: there is work to save."""
        self._leave = None

    def has_waited(self, seconds: float, since: float) -> bool:
        """Whether a stop has waited so long for what began at `since`, by the monotonic clock."""
        return self.requested and time.monotonic() - max(self._requested_at, since) > seconds

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self._requested_at = time.monotonic()
        self.requested = True
        if self._leave is not None:
            self._end(self._leave)

    def _end(self, leave: Callable[[], None]) -> None:
        self._leave = None  # a second signal must not come between
        leave()
        os._exit(EXIT_STOPPED)


def end_with_supervisor() -> None:
    """End this process when the one named in the environment is gone, however it died.

    A thread looks twice a second; so no trainer goes on writing after a `kill -9` of its flow.
    """
    text = os.environ.get(SUPERVISOR_PID)
    if not text:
        return
    pid = int(text)
    born = birth(pid)
    if born is None:
        os._exit(EXIT_ORPHANED)
    when_gone({pid: born}, lambda _pid: os._exit(EXIT_ORPHANED), name="supervisor")


def when_gone(births: dict[int, str], act: Callable[[int], None], *, name: str) -> threading.Event:
    """Have a thread call `act` with the first process id that is gone; set the event to end it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            gone = [pid for pid, born in births.items() if birth(pid) != born]
            if gone and not over.is_set():
                act(gone[0])
                return

    threading.Thread(target=watch, daemon=True, name=name).start()
    return over


def birth(pid: int) -> str | None:
    """When a process began, which tells it from a later one of its id; None if it is dead."""
    try:
        # After the command's name in parentheses: state is field 3, start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return _alive_without_proc(pid)
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _alive_without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
