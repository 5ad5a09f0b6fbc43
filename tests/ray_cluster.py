"""A real Ray cluster on loopback: nodes that are processes, each with copies of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.s3_server import free_port

_START_S = 400
_OBJECTS_BYTES = 80_000_000
_PATIENCE = {"RAY_raylet_start_wait_time_s": str(_START_S)}
"""A busy machine starts its processes slowly."""


@dataclass
class Cluster:
    """The head and further nodes."""

    address: str
    folder: Path
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def cache(self, number: int) -> Path:
        """Where a node keeps its copies."""
        return self.folder / f"node-{number}"

    def kill(self, number: int) -> None:
        """End a node and all its workers at once, as a machine that loses its power."""
        _kill_all_below(self.nodes[number].pid)
        self.nodes[number].wait()


@contextlib.contextmanager
def ray_cluster(folder: Path, environment: dict[str, str], nodes: int = 2) -> Iterator[Cluster]:
    """A cluster of nodes with one processor each; skips where Ray is not installed."""
    pytest.importorskip("ray")
    pytest.importorskip("prefect_ray")
    port = free_port()
    cluster = Cluster(f"127.0.0.1:{port}", folder)
    # Ray's sockets want a short path.
    temporary = Path(f"/tmp/ray-{os.getpid()}")
    try:
        for number in range(nodes):
            where = ["--address", cluster.address] if number else ["--head", "--port", str(port)]
            head = [] if number else ["--include-dashboard=false", "--temp-dir", str(temporary)]
            log = folder / f"ray-{number}.log"
            with log.open("wb") as output:
                node = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "ray.scripts.scripts", "start", *where, *head),
                        *("--num-cpus", "1", "--object-store-memory", str(_OBJECTS_BYTES)),
                        *("--block", "--disable-usage-stats"),
                    ],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment | _PATIENCE | {"WEBTEXT_CACHE": str(cluster.cache(number))},
                )
            cluster.nodes.append(node)
            _wait(log, node)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            _kill_all_below(node.pid)
            node.wait()
        subprocess.run(["rm", "-rf", str(temporary)], check=True)


def _wait(log: Path, node: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while b"Ray runtime started" not in log.read_bytes():
        assert node.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _kill_all_below(process: int) -> None:
    """Kill a process and what it started, directly or not, wherever it went."""
    found = [process]
    for parent in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    for each in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
