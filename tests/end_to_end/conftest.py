"""Runs the `webtext` command as a user does: a real process, real servers, a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.server import TemporaryServer
from infra.manifest import Manifest

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny.toml"
TIMEOUT_S = 300
STAGES = [
    "demo-web",
    "submissions",
    "links",
    "captures",
    "pages",
    "documents",
    "signatures",
    "duplicates",
    "corpus",
    "dataset",
    "fidelity",
    "shards",
    "model",
    "demo-benchmarks",
    "bias",
    "benchmark-ngrams",
    "ngram-filter",
    "ngram-hits",
    "overlap",
    "clean-scores",
    "card",
]
"""The folders of the store that a run of the demo makes one artifact in, in its order."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


def environment(api_url: str | None) -> dict[str, str]:
    """The process's environment, with Prefect's API where one is shared."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return keep | ({"PREFECT_API_URL": api_url} if api_url else {})


def command(*arguments: object) -> list[str]:
    """The command line of `webtext`."""
    return [sys.executable, "-m", "flows.cli", *map(str, arguments)]


def webtext(*arguments: object, api_url: str | None = None, cwd: Path = ROOT) -> Ended:
    """Run `webtext` to its end."""
    began = time.monotonic()
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=cwd,
        env=environment(api_url) | {"PYTHONPATH": str(ROOT)},
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def manifests(store: Path) -> dict[str, Manifest]:
    """Every finished artifact's manifest by its label."""
    return {
        f"{path.parent.parent.name}/{path.parent.name}": Manifest.read(path.parent)
        for path in sorted(store.glob("*/*/manifest.json"))
    }


def digests(store: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of every file of every finished artifact, by label and path."""
    return {
        label: {file.path: file.sha256 for file in manifest.files}
        for label, manifest in manifests(store).items()
    }


def last_run(store: Path) -> dict[str, object]:
    """The newest run record."""
    record: dict[str, object] = json.loads(max((store / "runs").glob("*.json")).read_text())
    return record


@pytest.fixture(scope="session")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all runs of the session, as several users of one server have."""
    before = {name: os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_HOME")}
    server = TemporaryServer(tmp_path_factory.mktemp("prefect"), schedules=False)
    server.begin()
    server.wait()
    url = os.environ["PREFECT_API_URL"]
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    yield url
    server.close()


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A store with one undisturbed run of the tiny demo, not to be changed."""
    store = tmp_path_factory.mktemp("tiny") / "runs"
    ended = webtext("run", "--profile", TINY, "--store", store)
    assert ended.code == 0, ended.err
    return store, ended


@pytest.fixture
def copied_store(tiny_store: tuple[Path, Ended], tmp_path: Path) -> Path:
    """A copy of the tiny run's store to change."""
    import shutil

    store = tmp_path / "runs"
    shutil.copytree(tiny_store[0], store, ignore=shutil.ignore_patterns("prefect"))
    return store
