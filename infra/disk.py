"""Room on the store's disk: looked at before a stage begins, and watched while a run goes on.

A disk that fills up breaks more than the run: databases, logs, other people's work. So a stage that
is not expected to fit is not begun, and a run is stopped while there is still a floor of free bytes
left. What is done is kept; the same command goes on from there when there is room.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.errors import DiskLow

_LOOK_EVERY_S = 1.0
_GIB = 1 << 30


def free_bytes(folder: Path) -> int:
    """Bytes that the disk of `folder`, or of its nearest parent that exists, has left for us."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_room(folder: Path, what: str, expected: float, source: str, floor: int) -> None:
    """See that what a stage is expected to write leaves the floor free.

    Args:
        folder: the store.
        what: the stage, for the message.
        expected: bytes that it will write.
        source: where that figure comes from, for the message.
        floor: bytes that must stay free; 0 asks for nothing.

    Raises:
        DiskLow: it would not.
    """
    if not floor:
        return
    free = free_bytes(folder)
    if free >= expected + floor:
        return
    raise DiskLow(
        f"{what} is not begun: it is expected to write {_shown(expected)} ({source}) and "
        f"{_shown(floor)} must stay free, but {folder} has {_shown(free)}; free "
        f"{_shown(expected + floor - free)} (`webtext gc` lists what no run uses) or give another "
        "disk with --store, and give the same command again; runtime.disk_floor_gib changes the "
        "floor, 0 switches this off"
    )


@contextlib.contextmanager
def watching(folder: Path, floor: int, stop: Callable[[str], None]) -> Iterator[None]:
    """Call `stop` once, with what to tell, when the free bytes fall below the floor meanwhile."""
    if not floor:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            with contextlib.suppress(OSError):
                if (free := free_bytes(folder)) < floor:
                    stop(_too_little(folder, free, floor))
                    return

    watcher = threading.Thread(target=look, name="disk", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _too_little(folder: Path, free: int, floor: int) -> str:
    return (
        f"the run was stopped before the disk was full: {folder} has {_shown(free)} free, less "
        f"than the {_shown(floor)} of runtime.disk_floor_gib; what is done is kept: free some "
        "space (`webtext gc` lists what no run uses) and give the same command again"
    )


def _shown(count: float) -> str:
    return f"{count / _GIB:,.2f} GiB" if count >= _GIB / 100 else f"{count / 2**20:,.1f} MiB"
