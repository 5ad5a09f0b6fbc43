"""The store's list of removals, which every run in it obeys.

    STORE/removals.jsonl    a removal a line, appended to by `webtext remove`, never rewritten

A run makes a `removals` artifact of the list as it is then, and the pages that it names are left
out from there on. Only the partitions they are in are made anew (`infra.part_keys`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from flows import stages
from flows.session import Session
from flows.work import make, whole
from infra.manifest import InputRecord
from infra.sources import describe_source
from infra.store import Artifact
from webtext.removals import Removal, RemovalsConfig, read_removals

LIST_NAME = "removals.jsonl"


def removals_input(run: Session, links: Artifact | None = None) -> dict[str, Artifact]:
    """The `removals` artifact of a run under that role; nothing where nothing was ever removed.

    With `links`, what is removed by domain is resolved to links.

    Raises:
        SourceError: the list was damaged.
    """
    path = run.profile.inputs.removals or run.store.root / LIST_NAME
    if not path.is_file() or not path.stat().st_size:
        return {}
    inputs: dict[str, Artifact | Sequence[InputRecord]] = {
        "list": [describe_source(run.store.root, "list", path)]
    }
    if links is not None:
        inputs["links"] = links
    dealt = make(
        run,
        stages.REMOVALS,
        RemovalsConfig(partitions=run.profile.partitions),
        inputs,
        whole(),
        {"list_file": str(path)},
    )
    return {"removals": dealt}


def listed_removals(root: Path) -> list[Removal]:
    """The store's list. Raises SourceError where it was damaged."""
    path = root / LIST_NAME
    return read_removals(path) if path.is_file() else []


def append_removals(root: Path, removals: Sequence[Removal]) -> None:
    """Add to the store's list what is not on it yet."""
    with (root / LIST_NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = {(one.url, one.domain) for one in listed_removals(root)}
        for removal in removals:
            if (removal.url, removal.domain) not in known:
                known.add((removal.url, removal.domain))
                file.write(removal.model_dump_json(exclude_none=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
