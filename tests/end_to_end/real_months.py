"""The tests' real dump of September 2017 parted by time into two months that share its pages."""

from __future__ import annotations

import json
from pathlib import Path

import zstandard


def part_by_time(dump: Path, folder: Path) -> list[Path]:
    """Write the older half of the rows as RS_2017-08.jsonl, the newer as RS_2017-09.jsonl.

    Lines that are no JSON go with the older half.
    """
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with zstandard.open(dump, "rb", dctx=reader) as file:
        lines = file.read().splitlines(keepends=True)
    times = [_time(line) for line in lines]
    known = sorted(time for time in times if time)
    middle = known[len(known) // 2]
    halves = [
        b"".join(line for line, time in zip(lines, times, strict=True) if (time >= middle) is late)
        for late in (False, True)
    ]
    paths = [folder / f"RS_2017-{month}.jsonl" for month in ("08", "09")]
    for path, half in zip(paths, halves, strict=True):
        path.write_bytes(half)
    return paths


def _time(line: bytes) -> int:
    try:
        return int(json.loads(line)["created_utc"])
    except (ValueError, KeyError, TypeError):
        return 0
