"""`webtext overlap` killed with SIGKILL in the middle of its scans ends as if never disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from infra.parts import describe_file
from infra.store import Store
from tests.end_to_end.conftest import ROOT, TINY, command, digests, environment, webtext
from tests.eval.overlap_corpus import write_corpus, write_lambada

PARTITIONS, DOCUMENTS, WORDS = 4, 60, 20_000
SCANS = ("ngram-filter", "ngram-hits")


def write_store(root: Path) -> Path:
    """A store with a corpus that takes a while to scan, and benchmarks that it partly holds."""
    drawn = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(5_000)])
    partitions = [
        [" ".join(drawn.choice(words, WORDS)) for _ in range(DOCUMENTS)] for _ in range(PARTITIONS)
    ]
    seen = [" ".join(texts[-1].split()[100:130]) for texts in partitions]
    write_lambada(root / "benchmarks", [*seen, "a passage of which nothing at all was ever read"])
    store = Store(root / "store")
    store.prepare()
    corpus = store.artifact("corpus", 1, "large", {}, [])
    with store.writing(corpus, "test"):
        write_corpus(corpus.path, partitions)
        paths = [path.relative_to(corpus.path) for path in sorted(corpus.path.glob("train/*"))]
        store.finish(
            corpus,
            files=[describe_file(corpus.path, path) for path in paths],
            counts={},
            partitions=[],
            measurements={},
            run_id="test",
            prefect_flow_run_id=None,
            started_at="2026-11-01T00:00:00+00:00",
        )
    return root


def overlap(root: Path) -> list[str]:
    return command(
        "overlap", "corpus", "--profile", TINY, "--store", root / "store", "--workers", 1,
        "--benchmarks", root / "benchmarks", "--json",
    )  # fmt: skip


def kill_in_scan(root: Path, stage: str, api_url: str) -> dict[str, int]:
    """Kill a run that has one partition of a stage behind it and is reading the next."""
    store = root / "store"
    run = subprocess.Popen(
        overlap(root), cwd=ROOT, env=environment(api_url) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not (
            list(store.glob(f"{stage}/*/.work/part-00001.json"))
            and list(store.glob(f"{stage}/*/.work/part-00002/"))
        ):
            assert run.poll() is None, f"it ended before it scanned for {stage}"
            assert time.monotonic() < deadline, f"no sign of {stage}"
            time.sleep(0.002)
        assert not list(store.glob(f"{stage}/*/manifest.json"))
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    return written(store, stage)


def written(store: Path, stage: str) -> dict[str, int]:
    """When each file of a stage's artifact was written, those of finished parts alone."""
    return {
        path.relative_to(store).as_posix(): path.stat().st_mtime_ns
        for path in store.glob(f"{stage}/*/*/part-*")
        if ".work" not in path.parts
    }


@pytest.mark.slow
def test_a_kill_in_a_scan_changes_no_byte(tmp_path: Path, shared_api: str) -> None:
    roots = [write_store(tmp_path / name) for name in ("killed", "undisturbed")]
    before = {stage: kill_in_scan(roots[0], stage, shared_api) for stage in SCANS}
    for root in roots:
        done = webtext(*overlap(root)[3:], api_url=shared_api)
        assert done.code == 0, done.err
    killed, undisturbed = (digests(root / "store") for root in roots)
    assert {label.split("/")[0] for label in killed} >= {*SCANS, "overlap"}
    assert killed == undisturbed
    for stage in SCANS:
        after = written(roots[0] / "store", stage)
        assert 2 <= len(before[stage]) < len(after)
        # What was done before the kill was not done again.
        assert {path: after[path] for path in before[stage]} == before[stage]
    assert not list((roots[0] / "store").glob("*/*/.work"))
