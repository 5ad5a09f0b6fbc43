"""Politeness towards a host: over tasks, processes, kills, damage to the file, and its limits."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from webtext.host_turns import MAX_HOLD_S, SLOTS, HostTurns

HOST = "a.example"

WORKER = """
import asyncio, os, sys, time
from pathlib import Path
from webtext.host_turns import HostTurns

async def work():
    turns = HostTurns(Path(sys.argv[1]), float(sys.argv[2]))
    for _ in range(int(sys.argv[3])):
        async with turns.turn("a.example"):
            start = time.time()
            await asyncio.sleep(float(sys.argv[4]))
            print(start, time.time(), flush=True)
    turns.close()

asyncio.run(work())
"""


def start_worker(path: Path, delay_s: float, turns: int, busy_s: float) -> subprocess.Popen[str]:
    arguments = [str(path), str(delay_s), str(turns), str(busy_s)]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True
    )


def spans_of(*workers: subprocess.Popen[str]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for worker in workers:
        output, _ = worker.communicate(timeout=30)
        for line in output.splitlines():
            start, end = map(float, line.split())
            spans.append((start, end))
    return sorted(spans)


def gaps(spans: list[tuple[float, float]]) -> list[float]:
    return [later[0] - earlier[1] for earlier, later in pairwise(spans)]


def test_processes_take_turns_at_a_host_with_the_delay_between(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path / "hosts.bin", 0.05, 5, 0.02) for _ in range(3)]
    spans = spans_of(*workers)
    assert len(spans) == 15
    assert min(gaps(spans)) >= 0.049, gaps(spans)


def test_the_delay_is_kept_over_a_kill_and_the_host_is_not_locked_by_it(tmp_path: Path) -> None:
    path = tmp_path / "hosts.bin"
    killed = start_worker(path, 0.5, 5, 60.0)
    turns = HostTurns(path, 0.5)
    deadline = time.monotonic() + 20
    while turns.free_at(HOST) == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    asked_at = turns.free_at(HOST) - 0.5
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert asked_at > 0

    async def ask() -> float:
        async with turns.turn(HOST):
            return time.time()

    waited_s = asyncio.run(ask()) - asked_at
    turns.close()
    assert 0.499 <= waited_s < 5


def test_one_host_one_request_and_others_beside_it(tmp_path: Path) -> None:
    busy = {"a": 0, "b": 0}
    most = {"a": 0, "b": 0, "both": 0}

    async def ask(turns: HostTurns, host: str) -> None:
        async with turns.turn(host):
            busy[host] += 1
            most[host] = max(most[host], busy[host])
            most["both"] = max(most["both"], sum(busy.values()))
            await asyncio.sleep(0.01)
            busy[host] -= 1

    async def work() -> None:
        turns = HostTurns(tmp_path / "hosts.bin", 0.0)
        await asyncio.gather(*(ask(turns, host) for host in "ab" * 5))
        turns.close()

    asyncio.run(work())
    assert most == {"a": 1, "b": 1, "both": 2}


@pytest.mark.parametrize("how", ["hold", "slow_down"])
def test_a_host_that_asks_for_more_gets_it(tmp_path: Path, how: str) -> None:
    async def work() -> float:
        turns = HostTurns(tmp_path / "hosts.bin", 0.0)
        getattr(turns, how)(HOST, 0.2)
        started = time.time()
        for _ in range(2):
            async with turns.turn(HOST):
                pass
        turns.close()
        return time.time() - started

    assert 0.19 <= asyncio.run(work()) < 5


def test_a_hold_is_seen_by_whoever_waits_already(tmp_path: Path) -> None:
    async def work() -> float:
        turns = HostTurns(tmp_path / "hosts.bin", 0.1)

        async def ask() -> float:
            async with turns.turn(HOST):
                return time.time()

        started = await ask()
        waiting = asyncio.ensure_future(ask())
        await asyncio.sleep(0.02)
        turns.hold(HOST, 0.3)
        try:
            return await waiting - started
        finally:
            turns.close()

    assert asyncio.run(work()) >= 0.319


def test_an_error_or_a_cancelled_task_frees_the_host(tmp_path: Path) -> None:
    async def work() -> None:
        turns = HostTurns(tmp_path / "hosts.bin", 0.0)
        with pytest.raises(ValueError, match="page"):
            async with turns.turn(HOST):
                raise ValueError("page")
        task = asyncio.ensure_future(turns.turn(HOST).__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5), turns.turn(HOST):
            pass
        turns.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "written",
    [float("nan"), float("inf"), -float("inf"), 1e300, -5.0, time.time() + 10 * MAX_HOLD_S],
)
def test_a_damaged_file_or_a_clock_set_back_stops_nobody(tmp_path: Path, written: float) -> None:
    path = tmp_path / "hosts.bin"
    path.write_bytes(struct.pack("<d", written) * SLOTS)

    async def work() -> None:
        turns = HostTurns(path, 0.05)
        for _ in range(2):
            async with asyncio.timeout(5), turns.turn(HOST):
                pass
        assert time.time() < turns.free_at(HOST) <= time.time() + 0.05
        turns.close()

    asyncio.run(work())


def test_memory_is_bounded_whatever_the_number_of_hosts(tmp_path: Path) -> None:
    async def work() -> int:
        turns = HostTurns(tmp_path / "hosts.bin", 0.0)
        for number in range(25_000):
            async with turns.turn(f"h{number}.example"):
                pass
        turns.close()
        return len(turns._gates)

    assert asyncio.run(work()) <= 10_000
    assert (tmp_path / "hosts.bin").stat().st_size == SLOTS * 8
