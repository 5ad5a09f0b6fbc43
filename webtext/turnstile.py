"""How fast one archive is asked: so many requests at once, with a delay between their starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """Lets `at_once` requests through, one each `delay_s`."""

    def __init__(self, delay_s: float, at_once: int) -> None:
        self._delay_s = delay_s
        self._slots = asyncio.Semaphore(at_once)
        self._free_at = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it."""
        async with self._slots:
            now = asyncio.get_running_loop().time()
            start = max(self._free_at, now)
            self._free_at = start + self._delay_s
            if start > now:
                await asyncio.sleep(start - now)
            yield

    def hold(self, seconds: float) -> None:
        """Let nobody through for `seconds`."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now + seconds)
