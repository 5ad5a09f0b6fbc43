"""One writer for an artifact: a lease with a heartbeat, kept in the store beside the work.

A lease names its holder (host, process, start) and is renewed every few seconds. On the same
machine a dead holder is seen at once; elsewhere the lease lapses when its heartbeat stops. Taking
one is guarded by a lock file, so of two runs one wins.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from infra.environment import boot, host
from infra.errors import LeaseHeld
from infra.files import write_atomic
from infra.orphans import is_alive, started_at

HEARTBEAT_S = 5.0
LAPSE_S = 60.0
LEASE_NAME = "lease.json"


class Holder(BaseModel):
    """Who holds a lease."""

    token: str
    run_id: str
    host: str
    boot: str | None = None
    """What tells machines, and containers on them, of the same name apart."""
    process: int
    process_start: str | None
    beat_at: float
    """Seconds since 1970 at the last heartbeat."""

    def is_live(self) -> bool:
        """Whether the holder can still be writing."""
        if self.is_of_this_machine():
            return is_alive(self.process) and started_at(self.process) == self.process_start
        return time.time() - self.beat_at < LAPSE_S

    def is_of_this_machine(self) -> bool:
        """Whether its process would be seen from here."""
        return self.host == host() and self.boot in (None, boot())


def new_holder(run_id: str) -> Holder:
    """This process as a holder."""
    return Holder(
        token=uuid.uuid4().hex,
        run_id=run_id,
        host=host(),
        boot=boot(),
        process=os.getpid(),
        process_start=started_at(os.getpid()),
        beat_at=time.time(),
    )


def read_holder(work: Path) -> Holder | None:
    """The holder named in the work folder's lease, live or not."""
    try:
        return Holder.model_validate(json.loads((work / LEASE_NAME).read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


@contextlib.contextmanager
def lease(work: Path, run_id: str) -> Iterator[None]:
    """Hold the lease on the work folder while the block runs.

    Raises:
        LeaseHeld: another live process holds it; the message names it.
    """
    holder = new_holder(run_id)
    _take(work, holder)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(work, holder, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        _release(work, holder)


def _take(work: Path, holder: Holder) -> None:
    work.mkdir(parents=True, exist_ok=True)
    with _locked(work):
        current = read_holder(work)
        if current is not None and current.is_live():
            raise LeaseHeld(
                f"run {current.run_id} (process {current.process} on {current.host}) is making "
                f"{work.parent}; wait for it, or stop it first"
            )
        _write(work, holder)


def _beat(work: Path, holder: Holder, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        holder = holder.model_copy(update={"beat_at": time.time()})
        # A folder that is gone, or a full disk, is for the stage itself to report.
        with contextlib.suppress(OSError):
            _write(work, holder)


def _release(work: Path, holder: Holder) -> None:
    current = read_holder(work)
    if current is not None and current.token == holder.token:
        (work / LEASE_NAME).unlink(missing_ok=True)


def _write(work: Path, holder: Holder) -> None:
    write_atomic(work / LEASE_NAME, holder.model_dump_json().encode())


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    with (work / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
