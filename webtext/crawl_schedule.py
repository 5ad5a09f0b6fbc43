"""Which link is next in a live crawl: hosts take turns, so that no slow one holds up the others.

A host that was asked goes to the back of a heap by the time from which it may be asked again;
whoever has time takes the first host that is ready, and a host not yet asked where none is. The
hosts with most links are begun first: their queues are what the crawl ends with. The frontier is
held as arrays (24 bytes a link and host); the heap holds the hosts that wait, which are about as
many as requests fit into one delay.
"""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable

import numpy as np

from webtext.crawl_frontier import Frontier


class HostSchedule:
    """Hands out rows of the frontier, one of a host at a time."""

    def __init__(self, frontier: Frontier, free_at: Callable[[str], float]) -> None:
        """Queue the open links; `free_at` gives when a host may be asked, in seconds since 1970."""
        self._frontier = frontier
        self._free_at = free_at
        self._rows, starts = frontier.rows_by_host()
        self._next, self._ends = starts[:-1].copy(), starts[1:]
        sizes = self._ends - self._next
        self._queue_of = np.zeros(len(frontier), dtype=np.int32)
        self._queue_of[self._rows] = np.repeat(np.arange(sizes.size, dtype=np.int32), sizes)
        self._fresh = np.argsort(-sizes, kind="stable")
        self._begun = 0
        self._waiting: list[tuple[float, int]] = []
        self._busy = 0
        self._changed = asyncio.Event()

    async def take(self) -> int | None:
        """The row of a link whose host is ready now, waiting for one; None when all are done.

        `finish` or `postpone` must follow for each row taken.
        """
        while True:
            queue = self._ready_queue()
            if queue is not None:
                self._busy += 1
                return int(self._rows[self._next[queue]])
            if not self._waiting and not self._busy:
                self._changed.set()
                return None
            self._changed.clear()
            wait_s = self._waiting[0][0] - time.time() if self._waiting else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def finish(self, row: int) -> None:
        """The link is done: its host's next may come when the host is ready."""
        queue = int(self._queue_of[row])
        self._next[queue] += 1
        self._release(queue)

    def postpone(self, row: int) -> None:
        """The link is to be taken again when its host is ready."""
        self._release(int(self._queue_of[row]))

    def queue(self) -> tuple[int, float]:
        """Hosts that wait for their turn, and the seconds that the first has been ready."""
        overdue_s = time.time() - self._waiting[0][0] if self._waiting else 0.0
        return len(self._waiting) + len(self._fresh) - self._begun, max(0.0, overdue_s)

    def _ready_queue(self) -> int | None:
        now = time.time()
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[1]
        while self._begun < len(self._fresh):
            queue = int(self._fresh[self._begun])
            self._begun += 1
            free_at = self._free_at(self._host(queue))
            if free_at <= now:
                return queue
            heapq.heappush(self._waiting, (free_at, queue))
        return None

    def _release(self, queue: int) -> None:
        self._busy -= 1
        if self._next[queue] < self._ends[queue]:
            heapq.heappush(self._waiting, (self._free_at(self._host(queue)), queue))
        self._changed.set()

    def _host(self, queue: int) -> str:
        return self._frontier.host(int(self._rows[self._next[queue]]))
