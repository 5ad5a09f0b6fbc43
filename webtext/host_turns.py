"""Politeness that outlives a process: who may send a request to a host, and when.

A host gets one request at a time, and from the end of one to the start of the next a delay passes.
That holds within a crawl, between the crawls of several partitions on one machine (a redirect may
lead to a host that another partition owns), and over a kill: the time from which a host is free
again lies in a file that all of them share.

The file is an array of `SLOTS` little-endian float64, seconds since 1970, sparse and 8 MiB long. A
host's place is its hash. Two hosts in one place wait for each other and do no harm. While a request
runs, its place is locked (POSIX record lock), and the kernel releases the lock with the process.
Several machines do not see each other's file: there, a partition's own hosts are its alone, and
only redirects to hosts of other partitions may meet.
"""

import asyncio
import fcntl
import mmap
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

SLOTS = 2**20
"""Places in the file: with 100 hosts busy, two share one once in 200 times."""

MAX_HOLD_S = 3_600.0
"""Longest that a host is left alone. A later time in the file is no time that was written there, or
the clock was set back since: it is not believed, so that neither stops a crawl for ever."""

_POLL_S = 0.05
"""How often a place that another process holds is tried again."""
_MAX_IDLE_GATES = 10_000
_TIME = struct.Struct("<d")


@dataclass(slots=True)
class _Gate:
    """A place as this process sees it."""

    delay_s: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class HostTurns:
    """Lets one request at a time through to each host. Close it when done."""

    def __init__(self, path: Path, delay_s: float) -> None:
        """Open or make the shared file; `delay_s` is the least delay for every host."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.truncate(self._file, SLOTS * _TIME.size)
        # Mapped, so that looking costs no system call; what is written outlives the process.
        self._times = mmap.mmap(self._file, SLOTS * _TIME.size)
        self._delay_s = delay_s
        self._gates: dict[int, _Gate] = {}

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait for the turn of `host`, and hold it."""
        slot = _slot_of(host)
        gate = self._gate(slot)
        gate.users += 1
        try:
            async with gate.turn:
                await self._lock(slot)
                try:
                    while (wait_s := self._free_at(slot) - time.time()) > 0:
                        await asyncio.sleep(wait_s)
                    # Also before the request: should we be killed in it, the delay is kept.
                    self._keep_free_until(slot, time.time() + gate.delay_s)
                    yield
                finally:
                    self._keep_free_until(slot, time.time() + gate.delay_s)
                    fcntl.lockf(self._file, fcntl.LOCK_UN, _TIME.size, slot * _TIME.size)
        finally:
            gate.users -= 1

    def free_at(self, host: str) -> float:
        """From when on `host` may be asked, in seconds since 1970; in the past if it is free."""
        return self._free_at(_slot_of(host))

    def hold(self, host: str, seconds: float) -> None:
        """Let nobody through to `host` for `seconds`."""
        self._keep_free_until(_slot_of(host), time.time() + seconds)

    def slow_down(self, host: str, seconds: float) -> None:
        """Raise the delay of `host` to `seconds`."""
        gate = self._gate(_slot_of(host))
        gate.delay_s = max(gate.delay_s, seconds)

    def close(self) -> None:
        """Close the file; what it says stays."""
        self._times.close()
        os.close(self._file)

    def _gate(self, slot: int) -> _Gate:
        gate = self._gates.get(slot)
        if gate is None:
            if len(self._gates) >= _MAX_IDLE_GATES:
                self._gates = {key: kept for key, kept in self._gates.items() if kept.users}
            gate = self._gates[slot] = _Gate(self._delay_s)
        return gate

    async def _lock(self, slot: int) -> None:
        while True:
            try:
                operation = fcntl.LOCK_EX | fcntl.LOCK_NB
                fcntl.lockf(self._file, operation, _TIME.size, slot * _TIME.size)
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)
            else:
                return

    def _free_at(self, slot: int) -> float:
        (free_at,) = _TIME.unpack_from(self._times, slot * _TIME.size)
        # Written so that what is not a number counts as free, too.
        return float(free_at) if 0.0 < free_at <= time.time() + MAX_HOLD_S else 0.0

    def _keep_free_until(self, slot: int, when: float) -> None:
        when = min(when, time.time() + MAX_HOLD_S)
        if when > self._free_at(slot):
            _TIME.pack_into(self._times, slot * _TIME.size, when)


@lru_cache(maxsize=65_536)
def _slot_of(host: str) -> int:
    return int.from_bytes(blake2b(host.encode(), digest_size=8).digest()) % SLOTS
