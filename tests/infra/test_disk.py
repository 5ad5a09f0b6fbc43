"""The look at the disk before a stage, and the watch over it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infra.disk import free_bytes, require_room, watching
from infra.errors import DiskLow

TIB = 1 << 40


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "there" / "yet")
    assert free > 0
    require_room(tmp_path, "pages", 1000, "a guess", 1)
    require_room(tmp_path, "pages", 1000 * TIB, "a guess", 0)  # no floor, no look
    with pytest.raises(DiskLow, match=r"pages is not .* 1,024,000.00 GiB \(a guess\)") as told:
        require_room(tmp_path, "pages", 1000 * TIB, "a guess", 1 << 30)
    assert "webtext gc" in str(told.value)
    assert "--store" in str(told.value)
    with pytest.raises(DiskLow):
        require_room(tmp_path, "pages", 0, "a guess", free + TIB)


def test_the_watch_stops_once_below_the_floor(tmp_path: Path) -> None:
    told: list[str] = []
    stopped = threading.Event()

    def stop(why: str) -> None:
        told.append(why)
        stopped.set()

    with watching(tmp_path, 1, stop):
        pass
    with watching(tmp_path, 0, stop):
        pass
    assert not told
    with watching(tmp_path, free_bytes(tmp_path) + TIB, stop):
        assert stopped.wait(10)
    assert len(told) == 1
    assert "give the same command again" in told[0]
