"""Kills and stops in the middle of each stage: the same command then gives the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.lease import read_holder
from tests.end_to_end.conftest import (
    ROOT,
    STAGES,
    TINY,
    Ended,
    command,
    digests,
    environment,
    last_run,
    manifests,
    webtext,
)

_AFTER_SCORES = STAGES.index("bias")
ALL_STAGES = (*STAGES[:_AFTER_SCORES], "scores", *STAGES[_AFTER_SCORES:])


@contextmanager
def running(store: Path, api_url: str, *options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A run of the tiny demo that goes on while the block watches it."""
    run = subprocess.Popen(
        command("run", "--profile", TINY, "--store", store, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(api_url),
        start_new_session=True,
    )
    try:
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        run.wait()
        assert run.stderr is not None
        run.stderr.close()


def wait_for(condition, run: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, f"the run ended before {what}: {run.stderr.read().decode()}"
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.005)


def is_at_work(store: Path, stage: str) -> bool:
    """Whether some artifact of the stage has something in its scratch and no manifest."""
    return any(
        any(path.is_dir() for path in work.iterdir())
        for work in store.glob(f"{stage}/*/.work")
        if not (work.parent / "manifest.json").exists()
    )


def processes_of(store: Path) -> list[str]:
    """Command lines and working files of live processes that know the store."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(store) in line and str(os.getpid()) != process.name:
            found.append(line)
    return found


@pytest.fixture
def undisturbed(tiny_store: tuple[Path, Ended]) -> dict[str, dict[str, str]]:
    return digests(tiny_store[0])


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(("captures", "model"), id="some", marks=pytest.mark.slow),
        pytest.param(ALL_STAGES, id="every", marks=pytest.mark.slow),
    ],
)
def test_a_kill_in_a_stage_changes_no_byte(
    stages: tuple[str, ...], undisturbed: dict[str, dict[str, str]], shared_api: str, tmp_path: Path
) -> None:
    """One store, killed with SIGKILL in the middle of stage after stage, then run to its end."""
    store = tmp_path / "runs"
    for stage in stages:
        with running(store, shared_api) as run:
            wait_for(lambda at=stage: is_at_work(store, at), run, f"work on {stage}")
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        assert stage not in {label.split("/")[0] for label in manifests(store)} or stage == "scores"
    deadline = time.monotonic() + 10
    while processes_of(store):
        assert time.monotonic() < deadline, processes_of(store)
        time.sleep(0.1)
    left = webtext("verify", "--store", store)
    assert left.code == 0, left.err
    assert "unfinished" in left.err
    done = webtext("run", "--profile", TINY, "--store", store, api_url=shared_api)
    assert done.code == 0, done.err
    assert digests(store) == undisturbed
    checked = webtext("verify", "--store", store)
    assert checked.code == 0, checked.err
    assert "joins     shards/" in checked.err
    assert not list(store.glob("*/*/.work"))


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_stop_leaves_nothing_running_and_says_how_to_go_on(
    undisturbed: dict[str, dict[str, str]], shared_api: str, tmp_path: Path, number: int
) -> None:
    store = tmp_path / "runs"
    with running(store, shared_api, "--set", "train.steps=2000") as run:
        metrics = "model/*/.work/training/metrics.jsonl"
        wait_for(lambda: any(p.stat().st_size for p in store.glob(metrics)), run, "a step")
        run.send_signal(number)
        assert run.stderr is not None
        told = run.stderr.read().decode()
        assert run.wait(60) == 130, told
    assert "Give the same command again" in told
    assert "Traceback" not in told
    assert processes_of(store) == []
    assert last_run(store)["state"] == "stopped"
    [work] = store.glob("model/*/.work")
    assert read_holder(work) is None
    # What was finished is whole, and training left a checkpoint to go on from.
    finished = digests(store)
    assert finished.items() <= undisturbed.items()
    assert list(work.glob("training/checkpoints/*"))


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(
    undisturbed: dict[str, dict[str, str]], shared_api: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    with running(store, shared_api) as first, running(store, shared_api) as second:
        for run in (first, second):
            assert run.stderr is not None
            told = run.stderr.read().decode()
            assert run.wait(300) == 0, told
    assert digests(store) == undisturbed
    assert webtext("verify", "--store", store).code == 0
