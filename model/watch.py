"""Ending in time: a stop that waits for the current step, and a death with the supervisor.

Imported before torch, so that both hold from a process's first moments.
"""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from model.launch import EXIT_ORPHANED, SUPERVISOR_PID

POLL_S = 0.5


class StopRequest:
    """Set by SIGTERM or SIGINT; the training loop looks at it after every step."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take over both signals."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def end_with_supervisor() -> None:
    """End this process when the one named in the environment is gone, however it died.

    A thread looks twice a second; so no trainer goes on writing after a `kill -9` of its flow.
    """
    text = os.environ.get(SUPERVISOR_PID)
    if not text:
        return
    pid = int(text)
    born = _birth(pid)
    if born is None:
        os._exit(EXIT_ORPHANED)
    threading.Thread(target=_watch, args=(pid, born), daemon=True, name="supervisor").start()


def _watch(pid: int, born: str) -> None:
    while _birth(pid) == born:
        time.sleep(POLL_S)
    os._exit(EXIT_ORPHANED)


def _birth(pid: int) -> str | None:
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
