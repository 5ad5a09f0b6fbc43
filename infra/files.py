"""Writes that a kill or a power cut cannot leave half done."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write aside, flush to the disk, rename: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    flush_folder(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; on another disk, or one without links, a copy of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def flush_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum((folder / path).stat().st_size for path in files_below(folder))


def files_below(folder: Path) -> list[Path]:
    """All files below `folder`, relative to it, in alphabetical order of their POSIX paths."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.as_posix())
