"""Servers for tests of deployments: PostgreSQL as Debian packages it, Prefect's server on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.children import log_tail
from tests.end_to_end.conftest import ROOT

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def postgres_programs() -> Path:
    """The folder with initdb and pg_ctl; skips where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = str(found[-1]) if found else shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(program).resolve().parent


def unprivileged() -> dict[str, Any]:
    """What makes a process that root starts one of nobody's: PostgreSQL refuses root."""
    return {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A private PostgreSQL cluster on loopback; gives the address that Prefect takes."""
    programs, data, log = postgres_programs(), folder / "data", folder / "postgres.log"
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        for parent in folder.parents:  # nobody must reach it
            if parent.owner() == "root" and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "prefect", "-A", "trust"]
    made = subprocess.run(command, capture_output=True, text=True, **unprivileged(), cwd="/")
    assert made.returncode == 0, made.stderr
    port = free_port()
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
    quick = ["-c", "fsync=off", "-c", "max_connections=200"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *options, *quick],
            stdout=output, stderr=output, cwd="/", start_new_session=True, **unprivileged(),
        )  # fmt: skip
    try:
        wait_for(lambda: is_open(port) or None, 60, log)
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # "fast" shutdown
        server.wait(60)


@contextlib.contextmanager
def started(
    argv: list[str], log: Path, env: dict[str, str], cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a session of its own, ended with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=output, cwd=cwd, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def worker(env: dict[str, str], log: Path) -> contextlib.AbstractContextManager[Any]:
    """A worker of the pool `webtext`, as a user starts it."""
    command = ["-m", "prefect", "worker", "start", "--pool", "webtext", "--type", "process"]
    return started([sys.executable, *command], log, env)


def descendants(process: int) -> list[int]:
    """A process and all below it, the deepest last."""
    found, waiting = [], [process]
    while waiting:
        parent = waiting.pop(0)
        found.append(parent)
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    waiting.append(int(path.parent.name))
    return found


def processes_of(text: str) -> list[str]:
    """Command lines of all processes that name `text`, this one and ended ones apart."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line and int(path.parent.name) != os.getpid():
                lines.append(line)
    return lines


def prefect(*arguments: str, env: dict[str, str]) -> str:
    """Run Prefect's own command line."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        capture_output=True, text=True, timeout=180, cwd=ROOT, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def api(url: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """Ask Prefect's API."""
    request = urllib.request.Request(
        url + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    for attempt in range(5):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
            return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            # A busy machine's database may be late.
            if error.code < 500 or attempt == 4:
                raise AssertionError(f"{path}: {error.read()!r}") from error
            time.sleep(3)
    raise AssertionError


def run_deployment(url: str, label: str, name: str, parameters: dict[str, Any]) -> str:
    """Start a run of a deployment by the API; gives its id."""
    flow, _, deployment = label.partition("/")
    found = api(url, f"/deployments/name/{flow}/{deployment}")
    body = {"name": name, "parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(api(url, f"/deployments/{found['id']}/create_flow_run", body)["id"])


def wait_until_ended(url: str, run: str, log: Path, timeout_s: float = 300) -> dict[str, Any]:
    """Wait for a flow run's end; gives its state."""

    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = api(url, f"/flow_runs/{run}")["state"]
        return state if state["type"] in ENDED else None

    found: dict[str, Any] = wait_for(ended, timeout_s, log)
    return found


def wait_for(what: Any, timeout_s: float, log: Path | None = None) -> Any:
    """Wait until `what` gives something."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = what()
        if found is not None:
            return found
        assert time.monotonic() < deadline, log_tail(log) if log else "it took too long"
        time.sleep(0.5)


def is_open(port: int) -> bool:
    """Whether something listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
