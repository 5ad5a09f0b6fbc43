"""One writer for an artifact in object storage: a lease, which is an object written on conditions.

It is taken by a write that succeeds only where no lease is (If-None-Match), or where it is still
the version that was seen to have lapsed (If-Match); of two runs one wins. The holder renews it
every few seconds, each time under the condition that it is still the version it wrote. Ages are by
the storage's clock. On the machine of its process a dead holder is seen at once.

A holder that could not renew it for three quarters of the time after which others may take it gives
up by itself: `check` raises from then on, and nothing more is written.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

from pydantic import ValidationError

from infra.errors import InfraError, LeaseHeld, LeaseLost
from infra.lease import LAPSE_S, Holder, new_holder
from infra.objects import Found, Objects

HEARTBEAT_S = 10.0
_GIVE_UP = 0.75
_TAKES = 5


class SharedLease:
    """A lease that this process holds."""

    def __init__(self, objects: Objects, key: str, holder: Holder, etag: str | None) -> None:
        self._objects = objects
        self._key = key
        self._holder = holder
        self._etag = etag
        self._renewed_at = time.monotonic()
        self._lost = False

    def check(self) -> None:
        """Call before anything is written. Raises LeaseLost where another may write by now."""
        late = time.monotonic() - self._renewed_at > _GIVE_UP * LAPSE_S
        if self._lost or late:
            raise LeaseLost(
                f"the lease {self._objects.address}/{self._key} was lost: it could not be renewed "
                "in time, or another run took it; give the same command again to go on"
            )

    def renew(self) -> None:
        """Beat once; what goes wrong shows in `check`."""
        self._holder = self._holder.model_copy(update={"beat_at": time.time()})
        began = time.monotonic()
        try:
            etag = self._objects.put_if(self._key, _content(self._holder), self._etag)
        except InfraError:
            return  # the next beat may reach it
        if etag is None:
            self._lost = True
        else:
            self._etag, self._renewed_at = etag, began

    def release(self) -> None:
        """Remove it, if it is still held."""
        with contextlib.suppress(InfraError):
            holder = read_shared_holder(self._objects, self._key)
            if holder is not None and holder[0].token == self._holder.token:
                self._objects.delete([self._key])


@contextlib.contextmanager
def shared_lease(objects: Objects, key: str, run_id: str) -> Iterator[SharedLease]:
    """Hold the lease at `key` while the block runs.

    Raises:
        LeaseHeld: another run holds it; the message names it.
    """
    lease = _take(objects, key, new_holder(run_id))
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(lease, ended), daemon=True)
    beat.start()
    try:
        yield lease
    finally:
        ended.set()
        beat.join()
        lease.release()


def read_shared_holder(objects: Objects, key: str) -> tuple[Holder, Found] | None:
    """Who holds the lease at `key`, live or not."""
    found = objects.get(key)
    if found is None:
        return None
    try:
        return Holder.model_validate(json.loads(found.content)), found
    except (ValueError, ValidationError):
        return None


def is_live(objects: Objects, holder: Holder, found: Found) -> bool:
    """Whether the holder can still be writing."""
    if holder.is_of_this_machine():
        return holder.is_live()
    return objects.age_s(found) < LAPSE_S


def _take(objects: Objects, key: str, holder: Holder) -> SharedLease:
    for _ in range(_TAKES):
        etag = objects.put_if(key, _content(holder), None)
        if etag is not None:
            return SharedLease(objects, key, holder, etag)
        current = read_shared_holder(objects, key)
        if current is not None and is_live(objects, *current):
            raise LeaseHeld(_held(objects, key, current[0]))
        found = current[1] if current is not None else objects.get(key)
        if found is None:
            continue  # it was released meanwhile
        etag = objects.put_if(key, _content(holder), found.etag)
        if etag is not None:
            return SharedLease(objects, key, holder, etag)
    raise LeaseHeld(f"other runs contend for {objects.address}/{key}; wait for them")


def _beat(lease: SharedLease, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        lease.renew()


def _content(holder: Holder) -> bytes:
    return holder.model_dump_json().encode()


def _held(objects: Objects, key: str, holder: Holder) -> str:
    return (
        f"run {holder.run_id} (process {holder.process} on {holder.host}) is making "
        f"{objects.address}/{key.partition('/.work/')[0]}; wait for it, or stop it first"
    )
