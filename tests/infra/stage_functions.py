"""Stage functions that misbehave in every way a child process can."""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra.errors import StoreError

Progress = Callable[..., None]


def count(*, number: int, source: Path, destination: Path, progress: Progress) -> dict:
    """Write a file of `number` letters; proves that arguments arrive with their types."""
    assert isinstance(source, Path)
    for step in range(number):
        progress(step + 1, number, loss=0.5)
    print("a library prints on standard output")
    (destination / "table").mkdir()
    (destination / "table" / "letters.txt").write_text("x" * number)
    return {"rows_in": number, "rows_out": number, "losses": {}, "facts": {}}


def go_on(*, destination: Path, progress: Progress) -> dict:
    """Leave a mark at every attempt and die at the first."""
    marks = destination / "marks.txt"
    attempts = len(marks.read_text()) if marks.exists() else 0
    marks.write_text("x" * (attempts + 1))
    if attempts == 0:
        os.kill(os.getpid(), 9)
    return {"rows_in": 1, "rows_out": 1, "losses": {}, "facts": {"attempts": attempts + 1}}


def whoami(*, destination: Path, progress: Progress) -> dict:
    """Tell the process that ran it."""
    return {"rows_in": 0, "rows_out": 0, "losses": {}, "facts": {"process": os.getpid()}}


def die(*, destination: Path, progress: Progress) -> None:
    """Be killed, as by the kernel when memory is short."""
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os.kill(os.getpid(), 9)


def sleep(*, destination: Path, progress: Progress) -> None:
    """Never end."""
    (destination / "pid").write_text(str(os.getpid()))
    progress(0, None)
    time.sleep(600)


def hoard(*, destination: Path, progress: Progress) -> None:
    """Take more memory than allowed."""
    _ = bytearray(4 << 30)


def refuse(*, destination: Path, progress: Progress) -> None:
    """Refuse the input in words for the user."""
    raise StoreError("the dump x.zst ends at byte 7; get it again")


def fill_disk(*, destination: Path, progress: Progress) -> None:
    """Find the disk full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(destination / "big"))


def stumble(*, destination: Path, progress: Progress) -> None:
    """Have a bug."""
    _ = 1 / 0


def tell_address(*, address: str, destination: Path, progress: Progress) -> None:
    """Fail with the address in the message, as libraries do."""
    print(f"asking {address}", file=sys.stderr)
    raise ValueError(f"{address} is out of order")
