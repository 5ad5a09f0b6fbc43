"""The store's list of removals, which every run in it obeys.

STORE/removals.jsonl    a removal a line, appended to by `webtext remove`, never rewritten
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from infra.store import REMOVALS_NAME
from webtext.removals import Removal, read_removals


def listed_removals(root: Path) -> list[Removal]:
    """The store's list. Raises SourceError where it was damaged."""
    path = root / REMOVALS_NAME
    return read_removals(path) if path.is_file() else []


def append_removals(root: Path, removals: Sequence[Removal]) -> None:
    """Add to the store's list what is not on it yet."""
    with (root / REMOVALS_NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = {(one.url, one.domain) for one in listed_removals(root)}
        for removal in removals:
            if (removal.url, removal.domain) not in known:
                known.add((removal.url, removal.domain))
                file.write(removal.model_dump_json(exclude_none=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
