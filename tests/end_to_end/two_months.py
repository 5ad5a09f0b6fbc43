"""The demo's web as two months: its dump parted in two, with some links posted in both."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from tests.end_to_end.conftest import TINY
from webtext.counts import silent
from webtext.demo_web import DemoWebConfig, build_demo_web

LATER_S = 31 * 86_400
"""What lies between a post of the first month and the same link's in the second."""


@dataclass(frozen=True)
class TwoMonths:
    """Dumps of two months, and the pages of both."""

    first: Path
    second: Path
    pages: Path
    both: int
    """Links that were posted in both."""


def build_two_months(folder: Path) -> TwoMonths:
    """Write `RS_2017-09.jsonl`, `RS_2017-10.jsonl` and a WARC file; the same bytes each time."""
    settings = tomllib.loads(TINY.read_text())["demo_web"]
    web = folder / "web"
    web.mkdir(parents=True)
    build_demo_web(destination=web, config=DemoWebConfig(**settings), progress=silent)
    (dump,) = (web / "submissions").iterdir()
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with zstandard.open(dump, "rt", encoding="utf-8", errors="replace", dctx=reader) as lines:
        rows = [row for line in lines if isinstance(row := _row(line), dict)]
    september, october, both = _part(rows)
    (pages,) = (web / "web").iterdir()
    return TwoMonths(
        _write(folder / "RS_2017-09.jsonl", september),
        _write(folder / "RS_2017-10.jsonl", october),
        pages,
        both,
    )


def _row(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # broken on purpose
        return None


def _part(rows: list[dict[str, Any]]) -> tuple[list[Any], list[Any], int]:
    """Links by turns to the first and the second month; each tenth of the first is posted again."""
    months: tuple[list[dict[str, Any]], ...] = ([], [])
    month_of: dict[str, int] = {}
    again = 0
    for row in rows:
        address = str(row.get("url")).replace("https://", "http://")
        place = month_of.setdefault(address, len(month_of) % 2)
        months[place].append(row)
        if place == 0 and len(months[0]) % 10 == 1 and row.get("score", 0) >= 3:
            later = {**row, "id": f"z{again}", "created_utc": int(row["created_utc"]) + LATER_S}
            months[1].append(later)
            again += 1
    return *months, again


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
