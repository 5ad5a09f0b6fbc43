"""The work of a part that takes its time and nothing else, for `tests.bench.flow_overhead`."""

import time
from pathlib import Path
from typing import Any


def sleep_part(
    *, partition: int, seconds: float, config: dict[str, Any], destination: Path, progress: Any
) -> dict[str, Any]:
    """Sleep, and write a line."""
    time.sleep(seconds)
    progress(1, 1)
    (destination / f"part-{partition:05d}.txt").write_text(f"{partition} {config}\n")
    return {"rows_in": 1, "rows_out": 1, "losses": {}, "facts": {}}
