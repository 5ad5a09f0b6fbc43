"""What a flow costs beyond its work: time, memory, rows and requests, up to 5,000 partitions.

Parts that sleep stand for work, so the work itself takes no processor from what is measured:

1. a stage of a minute, in parts of two seconds: wall time beyond parts × seconds ÷ workers;
2. a stage of 5,000 parts that do nothing: peak memory of the flow and of Prefect's server,
   seconds, rows of the database and requests for each part.

Everything is as in `webtext run`: a flow, a server of its own, child processes, the store.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOAL_PERCENT = 5.0
FLOW_MB = 400.0
SERVER_MB = 400.0
MOST_ROWS = 25.0
"""Rows of Prefect's database for a part, all tables together."""
PARTS = 5000
_WORK_S, _PART_S, _WORKERS = 60.0, 2.0, 4
_EVERY_S = 0.2


def run() -> dict[str, Any]:
    """Run both stages in one flow run each, and print what they cost."""
    with tempfile.TemporaryDirectory() as folder:
        parts = int(_WORK_S / _PART_S * _WORKERS)
        coarse = _measure(Path(folder) / "coarse", parts, _PART_S)
    with tempfile.TemporaryDirectory() as folder:
        fine = _measure(Path(folder) / "fine", PARTS, 0.0)
    overhead = 100 * (coarse["seconds"] - _WORK_S) / _WORK_S
    print(f"{'':34}{'a minute of work':>18}{f'{PARTS:,} parts':>14}")
    rows = (
        ("parts", "parts", "{:,.0f}"),
        ("wall seconds of the stage", "seconds", "{:,.1f}"),
        ("flow's processor seconds a part", "cpu", "{:.4f}"),
        ("server's processor seconds a part", "server_cpu", "{:.4f}"),
        ("flow's peak memory, MB", "flow_mb", "{:,.0f}"),
        ("server's peak memory, MB", "server_mb", "{:,.0f}"),
        ("database, MB", "database_mb", "{:,.1f}"),
        ("database rows a part", "rows", "{:,.1f}"),
        ("API requests a part", "requests", "{:,.2f}"),
    )
    for title, name, form in rows:
        print(f"{title:34}{form.format(coarse[name]):>18}{form.format(fine[name]):>14}")
    print(f"overhead beyond the work: {overhead:.1f} %   goal {GOAL_PERCENT:.0f}")
    within = fine["flow_mb"] <= FLOW_MB and fine["server_mb"] <= SERVER_MB
    return {
        "name": "flow_overhead",
        "measured": round(overhead, 2),
        "goal": GOAL_PERCENT,
        "unit": "% of a minute of work, in parts of 2 s",
        "reached": overhead <= GOAL_PERCENT and within and fine["rows"] <= MOST_ROWS,
    }


def _measure(store: Path, parts: int, seconds: float) -> dict[str, float]:
    """Run a flow of one stage in a process of its own, and give what it cost."""
    import json
    import subprocess

    command = [sys.executable, "-m", "tests.bench.flow_overhead", str(store), f"{parts}"]
    done = subprocess.run([*command, f"{seconds}"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _flow_process(store: Path, parts: int, seconds: float) -> dict[str, float]:
    from flows.server import prefect_api

    home = store / "prefect"
    with prefect_api(home) as server:
        assert server is not None
        server.begin()
        from prefect import flow

        from flows.profile import load_profile
        from flows.session import session
        from flows.stages import Stage
        from flows.work import THREADS, make, partitions

        server.wait()
        runtime = {"store": str(store), "workers": _WORKERS}
        profile = load_profile("demo").model_copy(
            update={"runtime": load_profile("demo").runtime.model_copy(update=runtime)}
        )
        stage = Stage("sleep", "tests.bench.sleep_part:sleep_part", "rows", "rows")

        @flow(name="overhead", persist_result=False, task_runner=THREADS)
        def overhead() -> float:
            with session("overhead", profile) as run:
                began = time.monotonic()
                make(run, stage, {}, {}, partitions(parts), {"seconds": seconds})
                return time.monotonic() - began

        assert server._process is not None
        with _counted() as requests, _watched(server._process.pid) as watched:
            before = time.process_time()
            took = overhead()
            cpu = time.process_time() - before
        time.sleep(5)  # what is under way to the database arrives
        rows = _rows(home / "prefect.db")
        size = sum(path.stat().st_size for path in home.glob("prefect.db*"))
    return {
        "parts": parts,
        "seconds": took,
        "cpu": cpu / parts,
        "server_cpu": watched["server_cpu"] / parts,
        "flow_mb": watched["flow"],
        "server_mb": watched["server"],
        "database_mb": size / 1e6,
        "rows": rows / parts,
        "requests": sum(requests.values()) / parts,
    }


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Requests that the flow's process sends to Prefect's API."""
    import httpx

    found: Counter[str] = Counter()
    plain, waiting = httpx.Client.send, httpx.AsyncClient.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        found[request.method] += 1
        return plain(self, request, **options)

    async def send_later(self: Any, request: Any, **options: Any) -> Any:
        found[request.method] += 1
        return await waiting(self, request, **options)

    httpx.Client.send, httpx.AsyncClient.send = send, send_later  # type: ignore[method-assign]
    try:
        yield found
    finally:
        httpx.Client.send, httpx.AsyncClient.send = plain, waiting  # type: ignore[method-assign]


@contextmanager
def _watched(server: int) -> Iterator[dict[str, float]]:
    """Peaks of resident memory in MB, and the server's processor seconds."""
    found = {"flow": 0.0, "server": 0.0, "server_cpu": 0.0}
    ended = threading.Event()
    before = _cpu(server)

    def watch() -> None:
        while not ended.wait(_EVERY_S):
            for name, process in (("flow", os.getpid()), ("server", server)):
                found[name] = max(found[name], _resident_mb(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()
        found["server_cpu"] = _cpu(server) - before


def _resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rows(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        counts = [
            connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names
        ]
    return int(sum(counts))


if __name__ == "__main__":
    import json

    print(json.dumps(_flow_process(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
