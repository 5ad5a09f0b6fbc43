"""What `webtext report` takes of a corpus that is twenty times as large: memory, time, page.

Two synthetic stores (`tests.bench.lineage_store`), of 50,000 and of a million documents; each
report is written by a process of its own. The page of the large one must stay below 2 MB. Writing
the stores takes a few minutes and 0.8 GB; `python -m tests.bench.report_scale FOLDER` keeps them in
a folder, or uses those that are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra.environment import utc_now
from infra.runs import Use, new_run, read_runs, write_run
from infra.store import Store
from tests.bench.lineage_store import Shape, write_store

SHAPES = {
    "small": Shape(domains=834, partitions=8, dumps=4, steps=60_000, sequences_per_step=512),
    "large": Shape(domains=16_667, partitions=128, dumps=4, steps=60_000, sequences_per_step=512),
}
GOAL_BYTES = 2_000_000

_CHILD = """
import json, sys, time
from pathlib import Path
began = time.monotonic()
from flows.report import write_report
from infra.store import Store
from tests.bench.memory import peak_mb
path = write_report(Store(Path(sys.argv[1])))
print(json.dumps({"seconds": time.monotonic() - began, "mb": peak_mb(),
                  "bytes": path.stat().st_size}))
"""


def run(folder: Path | None = None) -> dict[str, object]:
    """Measure both, in a folder that is kept where one is given."""
    if folder is not None:
        return _measure(folder)
    with tempfile.TemporaryDirectory(prefix="webtext-report-scale-") as scratch:
        return _measure(Path(scratch))


def _measure(folder: Path) -> dict[str, object]:
    told = {}
    print(f"{'store':8} {'documents':>10} {'seconds':>8} {'memory MB':>10} {'page kB':>8}")
    for name, shape in SHAPES.items():
        root = folder / name
        if not root.is_dir():
            write_store(root, shape)
        with_run(Store(root))
        told[name] = found = _report(root)
        documents = shape.links * 2 // 5
        print(
            f"{name:8} {documents:10,} {found['seconds']:8.1f} {found['mb']:10.0f} "
            f"{found['bytes'] / 1e3:8.0f}"
        )
    size = told["large"]["bytes"]
    return {
        "name": "report_scale",
        "measured": size,
        "goal": GOAL_BYTES,
        "unit": "bytes of a report of a million documents",
        "reached": size < GOAL_BYTES,
        **told,
    }


def with_run(store: Store) -> None:
    """Write a record of a run that made a store's corpus, where there is none.

    Its model and scores are stand-ins that a lookup needs; a report reads real ones.
    """
    if read_runs(store.root):
        return
    run = new_run("pipeline", "synthetic", 1)
    run.state, run.ended_at = "finished", utc_now()
    made = [one for one in store.finished() if one.stage not in ("model", "scores")]
    run.uses = [Use(artifact=one.label, how="made", seconds=1.0) for one in made]
    write_run(store.root, run)


def _report(root: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(root)], capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
