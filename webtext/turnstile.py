"""Politeness: who may send a request to a host, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


class Turnstile:
    """Lets one request at a time through to each key, with a delay from end to start."""

    def __init__(self, delay_s: float, at_once: int = 1) -> None:
        self._delay_s = delay_s
        self._at_once = at_once
        self._gates: dict[str, _Gate] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn of `key`, and hold it."""
        gate = self._gate(key)
        gate.users += 1
        try:
            async with gate.slots:
                await asyncio.sleep(max(0.0, gate.free_at - _now()))
                gate.free_at = max(gate.free_at, _now()) + gate.delay_s * (self._at_once > 1)
                try:
                    yield
                finally:
                    if self._at_once == 1:
                        gate.free_at = max(gate.free_at, _now() + gate.delay_s)
        finally:
            gate.users -= 1

    def hold(self, key: str, seconds: float) -> None:
        """Let nobody through to `key` for `seconds`."""
        gate = self._gate(key)
        gate.free_at = max(gate.free_at, _now() + seconds)

    def slow_down(self, key: str, seconds: float) -> None:
        """Raise the delay of `key` to `seconds`."""
        gate = self._gate(key)
        gate.delay_s = max(gate.delay_s, seconds)

    def _gate(self, key: str) -> "_Gate":
        gate = self._gates.get(key)
        if gate is None:
            if len(self._gates) >= 10_000:
                self._drop_idle()
            gate = self._gates[key] = _Gate(asyncio.Semaphore(self._at_once), self._delay_s)
        return gate

    def _drop_idle(self) -> None:
        """Forget the hosts that nobody waits for and whose delay is over."""
        now = _now()
        idle = [k for k, gate in self._gates.items() if not gate.users and gate.free_at <= now]
        for key in idle:
            del self._gates[key]


@dataclass(slots=True)
class _Gate:
    slots: asyncio.Semaphore
    delay_s: float
    free_at: float = 0.0
    users: int = 0


def _now() -> float:
    return asyncio.get_running_loop().time()
