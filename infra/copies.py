"""Copies of a shared store's files on this machine: when one is believed, and how room is made.

A file is fetched aside, compared with its manifest's size and SHA-256, and renamed. It then gets a
time of modification that stands for that hash: whoever writes to it since, or leaves half of it,
changes the time; the copy is then hashed again before it is used, and fetched again if it differs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

from infra.canonical import file_sha256
from infra.errors import StoreError
from infra.files import folder_bytes
from infra.manifest import MANIFEST_NAME, FileRecord
from infra.store import NOT_STAGES

ASIDE = ".fetching"
"""Where files are fetched to."""
_IN_USE = ".in-use"


def hold_copies(root: Path) -> int:
    """Keep the copies from being removed for room while the descriptor that it gives is open."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / _IN_USE, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def seal_file(path: Path, sha256: str) -> None:
    """Give a file that was compared with its hash the time that says so."""
    os.utime(path, ns=(time.time_ns(), _seal(sha256)))


def is_sealed(path: Path, record: FileRecord) -> bool:
    """Whether the file was compared with this hash, and not written to since."""
    try:
        state = path.stat()
    except OSError:
        return False
    return state.st_size == record.bytes and state.st_mtime_ns == _seal(record.sha256)


def is_whole(path: Path, record: FileRecord) -> bool:
    """Whether a file that may have been written to is still the one of this hash."""
    if not path.is_file() or path.stat().st_size != record.bytes:
        return False
    if file_sha256(path) != record.sha256:
        return False
    seal_file(path, record.sha256)
    return True


def _seal(sha256: str) -> int:
    """A time between 2001 and 2010 in nanoseconds, which no file that is written now has."""
    return (1_000_000_000 + int(sha256[:7], 16)) * 1_000_000_000 + int(sha256[7:14], 16)


def clean_copies(root: Path, keep_bytes: int) -> int:
    """Remove this machine's copies, the longest unused first, until so many bytes are left.

    Gives the bytes that went. What is unfinished stays: a run goes on from it.

    Raises:
        StoreError: a run or command uses them.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / _IN_USE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"a run or command uses the copies in {root}; wait for it") from error
        shutil.rmtree(root / ASIDE, ignore_errors=True)
        sizes = copied_artifacts(root)
        total, removed = sum(sizes.values()), 0
        for folder in sorted(sizes, key=lambda folder: (folder / MANIFEST_NAME).stat().st_mtime):
            if total - removed <= keep_bytes:
                break
            removed += sizes[folder]
            (folder / MANIFEST_NAME).unlink()
            shutil.rmtree(folder)
        return removed


def copied_artifacts(root: Path) -> dict[Path, int]:
    """The folders of finished artifacts here, by stage and name, and the bytes in each."""
    found = sorted(root.glob(f"*/*/{MANIFEST_NAME}"))
    return {
        path.parent: folder_bytes(path.parent)
        for path in found
        if path.parts[-3] not in NOT_STAGES and not path.parts[-3].startswith(".")
    }
