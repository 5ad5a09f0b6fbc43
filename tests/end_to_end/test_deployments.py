"""Deployments: infra/prefect.yaml with a real server and a process worker, and `webtext serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.children import log_tail
from infra.store import Store
from tests.end_to_end.conftest import ROOT, TINY, command, digests, environment

TIMEOUT_S = 240


@contextmanager
def started(argv: list[str], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=output, cwd=ROOT, env=env, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def prefect(*arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def api(url: str, path: str, body: dict) -> list[dict]:
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict] = json.load(answer)
    return found


def wait_until_completed(url: str, name: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        runs = api(url, "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        state = runs[0]["state"]["type"] if runs else None
        if state == "COMPLETED":
            return
        assert state not in ("FAILED", "CRASHED", "CANCELLED"), log_tail(log)
        assert time.monotonic() < deadline, (state, log_tail(log))
        time.sleep(0.5)


def tiny_parameters(store: Path, tmp_path: Path) -> str:
    profile = tmp_path / "deployed.toml"
    profile.write_text(TINY.read_text() + f'store = "{store}"\n')
    return json.dumps({"profile": str(profile)})


@pytest.mark.slow
def test_deploy_all_and_a_process_worker_run_the_pipeline(
    tiny_store, shared_api: str, tmp_path: Path
) -> None:
    env = environment(shared_api) | {"PREFECT_HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1"}
    store, log = tmp_path / "runs", tmp_path / "worker.log"
    prefect("work-pool", "create", "webtext", "--type", "process", env=env)
    told = prefect(
        "--no-prompt", "deploy", "--prefect-file", "infra/prefect.yaml", "--all", env=env
    )
    assert "pipeline/monthly" in told
    [deployment] = api(shared_api, "/deployments/filter", {})
    assert deployment["schedules"][0]["schedule"]["cron"] == "0 3 2 * *"
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "webtext"]
    with started([*worker, "--type", "process"], log, env):
        prefect(
            "deployment", "run", "pipeline/monthly", "--flow-run-name", "by-hand",
            "--params", tiny_parameters(store, tmp_path), env=env,
        )  # fmt: skip
        wait_until_completed(shared_api, "by-hand", log)
    assert digests(store) == digests(tiny_store[0])
    card = Store(store).find("card").manifest()
    assert card.maker.prefect_flow_run_id is not None
    shown = api(shared_api, "/artifacts/filter", {})
    assert {"funnel", "loss-curve", "scores"} <= {artifact["key"] for artifact in shown}


@pytest.mark.slow
def test_serve_runs_what_its_schedule_says(tiny_store, tmp_path: Path) -> None:
    """A schedule of every minute fires; the server, its pages and the runner are one command."""
    store, log = tmp_path / "runs", tmp_path / "serve.log"
    serve = command("serve", "--profile", TINY, "--store", store, "--cron", "* * * * *")
    with started(serve, log, environment(None)) as serving:
        deadline = time.monotonic() + TIMEOUT_S
        while not list(store.glob("card/*/manifest.json")):
            assert serving.poll() is None, log_tail(log)
            assert time.monotonic() < deadline, log_tail(log)
            time.sleep(0.5)
        serving.send_signal(signal.SIGINT)
        assert serving.wait(30) in (0, 130)
    assert digests(store) == digests(tiny_store[0])
