"""Child processes that do not outlive their parent, even when it is killed with SIGKILL.

Linux sends a signal to a child whose parent's thread died (prctl PR_SET_PDEATHSIG, prctl(2)), also
across exec. Elsewhere only the child's own watch over its standard input remains.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have this process killed when `parent`, the process that started it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the request was made.
    if os.getppid() != parent:
        os._exit(1)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs on this machine (a zombie does not)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(process) != "Z"


def started_at(process: int) -> str | None:
    """A token that tells two processes of one number apart: clock ticks since boot, on Linux."""
    fields = _stat_fields(process)
    return fields[19] if len(fields) > 19 else None


def _state(process: int) -> str | None:
    fields = _stat_fields(process)
    return fields[0] if fields else None


def _stat_fields(process: int) -> list[str]:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            # The command's name may hold spaces and parentheses: fields begin after the last one.
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


if __name__ == "__main__":
    # `python -m infra.orphans PARENT -- COMMAND ...`: the command, tied to the parent's life.
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606
