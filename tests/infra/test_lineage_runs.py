"""The inventory of a store: states, sizes and ages of what is there."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.files import folder_bytes, write_atomic
from infra.lineage_runs import take_inventory
from infra.runs import Use, new_run, write_run
from infra.store import Store
from tests.infra.test_store import made


def record(store: Store, run_id: str, state: str, *uses: tuple[str, str], process: int = 1) -> None:
    run = new_run("pipeline", "demo", process)
    run.run_id, run.state = run_id, state
    run.began_at = "2026-01-01T00:00:00+00:00"
    run.ended_at = None if state == "running" else "2026-01-01T00:01:30+00:00"
    run.uses = [Use(artifact=label, how=how, seconds=1.0) for label, how in uses]
    write_run(store.root, run)


def test_runs_and_artifacts_have_state_size_and_age(tmp_path: Path) -> None:
    store = Store(tmp_path)
    links = made(store)
    scores = made(store, "scores", {"benchmark": "ptb"})
    line = {"column": "ptb", "variant": "paper", "value": 3.0, "low": 1.0, "high": 5.0}
    write_atomic(scores.path / "scores.json", json.dumps([line]).encode())
    ruined = made(store, "pages")
    write_atomic(ruined.path / "manifest.json", b"{}")
    write_atomic(tmp_path / "captures" / "demo-0" / ".work" / "part", b"xx")
    record(store, "run-1", "finished", (links.label, "made"), (scores.label, "made"))
    record(store, "run-2", "failed", (links.label, "reused"))
    record(store, "run-3", "running", process=2**22 + 1)
    record(store, "run-4", "running", process=os.getpid())
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=1)
    found = take_inventory(store, now)
    by_run = {row.run: row for row in found.runs}
    assert list(by_run) == ["run-4", "run-3", "run-2", "run-1"]
    assert [row.state for row in found.runs] == ["running", "died", "failed", "finished"]
    first = by_run["run-1"]
    assert (first.age_s, first.seconds, first.made, first.reused) == (3600.0, 90.0, 2, 0)
    assert by_run["run-2"].bytes_made == 0
    assert by_run["run-4"].seconds is None
    by_label = {row.artifact: row for row in found.artifacts}
    assert first.bytes_made == sum(by_label[one.label].bytes for one in (links, scores))
    assert by_label[links.label].runs == 2
    assert by_label[links.label].state == "finished"
    assert by_label[ruined.label].state == "corrupt"
    assert by_label[ruined.label].bytes == folder_bytes(ruined.path)
    assert by_label["captures/demo-0"].state == "unfinished"
    assert by_label["captures/demo-0"].bytes == 2
    [score] = by_label[scores.label].scores
    assert (score.column, score.value, score.model) == ("ptb", 3.0, "a model from outside")
    assert [row.run for row in take_inventory(store, now, 2).runs] == ["run-4", "run-3"]
