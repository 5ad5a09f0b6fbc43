"""Turns on a store: who waits, who is skipped, and what too many deaths do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.errors import StoreError
from infra.turns import MOST_DEATHS, TurnTaken, deaths, turn


def test_the_second_waits_or_is_skipped(tmp_path: Path) -> None:
    order: list[str] = []
    told = threading.Event()

    def second() -> None:
        with turn(tmp_path, "build", "two", "wait", lambda _why: told.set()):
            order.append("two")

    with turn(tmp_path, "build", "one", "wait"):
        with pytest.raises(TurnTaken, match="run one"), turn(tmp_path, "build", "x", "skip"):
            raise AssertionError
        with turn(tmp_path, "score", "beside", "skip"):
            order.append("beside")
        waiter = threading.Thread(target=second)
        waiter.start()
        assert told.wait(10)
        order.append("one")
    waiter.join(20)
    assert order == ["beside", "one", "two"]
    assert deaths(tmp_path) == {}


def die_in_turn(store: Path) -> None:
    program = (
        "import os, sys, signal; from pathlib import Path; from infra.turns import turn\n"
        "with turn(Path(sys.argv[1]), 'build', 'x', 'skip'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(store)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr


def test_a_dead_run_leaves_its_turn_and_a_mark(tmp_path: Path) -> None:
    for count in range(1, MOST_DEATHS + 1):
        die_in_turn(tmp_path)
        assert deaths(tmp_path) == {"build": count}
    refused = pytest.raises(StoreError, match="3 build runs .* died without a word")
    with refused, turn(tmp_path, "build", "four", "wait"):
        raise AssertionError
    with turn(tmp_path, "build", "five", "wait"):  # the one after it tries again
        assert json.loads((tmp_path / ".turns" / "deaths.json").read_text()) == {"build": 1}
    assert deaths(tmp_path) == {}


def test_an_error_is_no_death(tmp_path: Path) -> None:
    for _ in range(MOST_DEATHS + 1):
        with pytest.raises(KeyError), turn(tmp_path, "build", "x", "wait"):
            raise KeyError
    assert deaths(tmp_path) == {}
