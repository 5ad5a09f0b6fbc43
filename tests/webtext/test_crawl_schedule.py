"""The order of a live crawl: every row once, a host once at a time, no slow host in the way."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webtext.crawl_frontier import Frontier
from webtext.crawl_schedule import HostSchedule


def make_frontier(path: Path, hosts: list[str]) -> Frontier:
    table = pa.table(
        {
            "link_id": [number.to_bytes(16, "big") for number in range(len(hosts))],
            "url": [f"http://{host}/{number}" for number, host in enumerate(hosts)],
            "host": hosts,
            "first_created_utc": [0] * len(hosts),
        }
    )
    pq.write_table(table, path)
    return Frontier(path)


class Hosts:
    """When each host may be asked, and how often it is being asked."""

    def __init__(self, delays_s: dict[str, float]) -> None:
        self.delays_s = delays_s
        self.times: dict[str, float] = {}
        self.busy: Counter[str] = Counter()

    def free_at(self, host: str) -> float:
        return self.times.get(host, 0.0)

    async def ask(self, host: str) -> None:
        assert time.time() >= self.free_at(host), "taken before its host was ready"
        self.busy[host] += 1
        assert self.busy[host] == 1, "two of a host at once"
        await asyncio.sleep(0)
        self.busy[host] -= 1
        self.times[host] = time.time() + self.delays_s.get(host, 0.0)


async def work_through(
    frontier: Frontier, hosts: Hosts, workers: int, put_off: set[int]
) -> list[int]:
    schedule = HostSchedule(frontier, hosts.free_at)
    done: list[int] = []

    async def work() -> None:
        while (row := await schedule.take()) is not None:
            await hosts.ask(frontier.host(row))
            if row in put_off:
                put_off.discard(row)
                schedule.postpone(row)
            else:
                done.append(row)
                schedule.finish(row)

    async with asyncio.timeout(20):
        await asyncio.gather(*(work() for _ in range(workers)))
    return done


@settings(max_examples=60, deadline=None)
@given(
    hosts=st.lists(st.sampled_from("abcdefgh"), max_size=40),
    done=st.sets(st.integers(0, 39)),
    put_off=st.sets(st.integers(0, 39)),
    workers=st.integers(1, 9),
    delays_s=st.dictionaries(
        st.sampled_from("abcdefgh"), st.sampled_from([0.0, 0.001]), max_size=8
    ),
)
def test_every_open_row_comes_once_and_a_host_once_at_a_time(
    tmp_path_factory: pytest.TempPathFactory,
    hosts: list[str],
    done: set[int],
    put_off: set[int],
    workers: int,
    delays_s: dict[str, float],
) -> None:
    frontier = make_frontier(tmp_path_factory.mktemp("links") / "links.parquet", hosts)
    for row in done & set(range(len(hosts))):
        frontier.mark_done(row)
    found = asyncio.run(work_through(frontier, Hosts(delays_s), workers, put_off))
    assert sorted(found) == sorted(set(range(len(hosts))) - done)


def test_slow_hosts_do_not_hold_up_the_others(tmp_path: Path) -> None:
    slow = [f"slow{number}" for number in range(50)]
    hosts = [host for host in slow for _ in range(3)] + [f"fast{n}" for n in range(200)]
    frontier = make_frontier(tmp_path / "links.parquet", hosts)
    delays = Hosts(dict.fromkeys(slow, 0.4))
    delays.times = dict.fromkeys(slow[:25], time.time() + 0.4)  # held since before
    done = asyncio.run(work_through(frontier, delays, 2, set()))
    assert sorted(done) == list(range(350))
    # The first of 25 hosts, then all of the fast ones, while every slow host waits.
    assert {int(row) for row in done[:225]} >= set(range(150, 350))


def test_the_host_with_most_links_is_begun_first(tmp_path: Path) -> None:
    frontier = make_frontier(tmp_path / "links.parquet", ["a", "b", "b", "b", "c", "c"])

    async def take() -> list[str]:
        schedule = HostSchedule(frontier, lambda _: 0.0)
        rows = [await schedule.take() for _ in range(3)]
        return [frontier.host(row) for row in rows if row is not None]

    assert asyncio.run(take()) == ["b", "c", "a"]


def test_a_million_links_of_a_million_hosts_take_little_memory(tmp_path: Path) -> None:
    links = 1_000_000
    path = tmp_path / "links.parquet"
    numbers = np.arange(links)
    hosts = pa.array(np.char.add("h", numbers.astype("U7")))
    keys = np.zeros((links, 16), dtype=np.uint8)
    table = pa.table(
        {
            "link_id": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), links, [None, pa.py_buffer(keys.tobytes())]
            ),
            "url": hosts,
            "host": hosts,
            "first_created_utc": numbers,
        }
    )
    pq.write_table(table, path)
    del table, hosts, keys
    frontier = Frontier(path)
    before = resident_bytes()

    async def take() -> int:
        schedule = HostSchedule(frontier, lambda _: 0.0)
        assert await schedule.take() is not None
        return resident_bytes()

    assert asyncio.run(take()) - before < 150_000_000  # measured: 55 MB


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
