"""What `webtext doctor` finds in a store: can it be written, is there room, is anything left?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.finding import Finding, error, note, ok
from infra.call import GIB
from infra.disk import free_bytes
from infra.errors import StoreError
from infra.lease import read_holder
from infra.runs import read_runs
from infra.store import WORK_NAME, Store
from infra.turns import MOST_DEATHS, deaths

_AREA = "store"


def check_store(root: Path, floor_gib: float) -> Iterator[Finding]:
    """Findings about the store's folder."""
    there = root.is_dir()
    if there:
        try:
            Store(root).prepare()
        except StoreError as problem:
            yield error(_AREA, str(problem), "mend its permissions, or give another with --store")
            return
        yield ok(_AREA, f"{root} can be written")
    else:
        yield ok(_AREA, f"{root} is not there yet; the first run makes it")
    yield _room(root, floor_gib)
    if there:
        yield from _leftovers(root)


def _room(root: Path, floor_gib: float) -> Finding:
    free = free_bytes(root.resolve()) / GIB
    told = f"{free:,.1f} GiB free"
    if free < floor_gib:
        mend = "free some space (`webtext gc` lists what no run uses), or give another disk"
        return error(_AREA, f"{told}, less than runtime.disk_floor_gib ({floor_gib:g})", mend)
    return ok(_AREA, told)


def _leftovers(root: Path) -> Iterator[Finding]:
    store = Store(root)
    unfinished = [folder for folder in store.folders() if (folder / WORK_NAME).is_dir()]
    live: list[str] = []
    stale: list[str] = []
    for folder in unfinished:
        holder = read_holder(folder / WORK_NAME)
        if holder is not None:
            (live if holder.is_live() else stale).append(f"{folder.parent.name}/{folder.name}")
    if live:
        yield ok(_AREA, f"being made now: {', '.join(live)}")
    waiting = [f"{f.parent.name}/{f.name}" for f in unfinished]
    waiting = [label for label in waiting if label not in live]
    if waiting:
        mend = "the command that began it goes on with it; `webtext gc --delete` drops it"
        yield note(_AREA, f"unfinished work: {', '.join(waiting)}", mend)
    if stale:
        mend = "nothing: the next run takes them over"
        yield note(_AREA, f"leases of processes that are gone: {', '.join(stale)}", mend)
    dead = [run.run_id for run in read_runs(root) if run.state == "running" and not run.is_live()]
    if dead:
        shown = ", ".join(dead[-3:])
        yield note(_AREA, f"{len(dead)} runs died without a word, last {shown}", "see logs/RUN_ID")
    for kind, count in deaths(root).items():
        if count >= MOST_DEATHS:
            told = f"the last {count} scheduled {kind} runs died; the next one refuses to begin"
            yield note(_AREA, told, "look at runtime.memory_gib and runtime.workers")
