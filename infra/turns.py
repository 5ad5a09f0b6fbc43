"""Turns: one scheduled run of a kind at a time on a store, whichever server or deployment sent it.

Artifacts have leases of their own, so two runs on one store never harm each other; turns keep them
from working side by side on one machine's cores, and say what happens to the second: it waits, or
it is skipped. A turn is a lease with a heartbeat, so that of a dead run is free again at once on
the same machine and after a minute elsewhere. A run that died without a word leaves a mark; after
three in a row the fourth refuses to begin, so that a schedule or an automation does not repeat for
ever what kills its machine.

    STORE/.turns/build/lease.json     who has the turn
    STORE/.turns/deaths.json          runs that began and did not end, in a row, by kind
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from infra.errors import LeaseHeld, StoreError
from infra.files import write_atomic
from infra.lease import lease

Collision = Literal["wait", "skip"]
MOST_DEATHS = 3
_FOLDER = ".turns"
_LOOK_EVERY_S = 1.0


class TurnTaken(LeaseHeld):
    """Another run has the turn, and this one is not to wait."""


@contextlib.contextmanager
def turn(
    store: Path,
    kind: str,
    run_id: str,
    collision: Collision,
    waiting: Callable[[str], None] = lambda _message: None,
) -> Iterator[None]:
    """Have the store's turn of this kind while the block runs.

    Args:
        store: the store's folder.
        kind: runs of one kind take turns, e.g. `build`.
        run_id: who wants it, for messages.
        collision: whether to wait for a run that has it, or to give up.
        waiting: told once that it is waited for.

    Raises:
        TurnTaken: another run has it, and `collision` is `skip`.
        StoreError: the last three runs that had it died.
    """
    with contextlib.ExitStack() as stack:
        _take(stack, store / _FOLDER / kind, run_id, collision, waiting)
        _count_death(store, kind)
        try:
            yield
        finally:
            _forget_deaths(store, kind)


def _take(
    stack: contextlib.ExitStack,
    folder: Path,
    run_id: str,
    collision: Collision,
    waiting: Callable[[str], None],
) -> None:
    told = False
    while True:
        try:
            stack.enter_context(lease(folder, run_id))
        except LeaseHeld as held:
            if collision == "skip":
                raise TurnTaken(str(held)) from held
            if not told:
                told = True
                waiting(str(held))
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _count_death(store: Path, kind: str) -> None:
    """Note that a run of the kind began; its orderly end takes the note away."""
    died = deaths(store)
    if died.get(kind, 0) >= MOST_DEATHS:
        _forget_deaths(store, kind)
        raise StoreError(
            f"the last {MOST_DEATHS} {kind} runs on {store} died without a word (killed, out of "
            "memory, or their machine lost); look at the logs and at runtime.memory_gib and "
            "runtime.workers. The next run will try again"
        )
    _write(store, {**died, kind: died.get(kind, 0) + 1})


def _forget_deaths(store: Path, kind: str) -> None:
    died = deaths(store)
    if died.pop(kind, None) is not None:
        _write(store, died)


def deaths(store: Path) -> dict[str, int]:
    """Runs in a row that began and have not ended, by kind; one that goes on now counts, too."""
    try:
        found: dict[str, int] = json.loads((store / _FOLDER / "deaths.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _write(store: Path, died: dict[str, int]) -> None:
    write_atomic(store / _FOLDER / "deaths.json", json.dumps(died, sort_keys=True).encode())
