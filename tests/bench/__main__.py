"""`python -m tests.bench NAME ...` (or `all`): measure figures beside their peers, in one run each.

A bench is a module here with `run() -> dict`: it prints a table and returns name, measured value,
goal, unit and whether the goal was reached. The last line printed for each is that dictionary as
JSON. One that cannot run here (no GPU, a peer or data that are not installed) says so with exit
code 3; with `all` it is passed over.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from tests.bench.unavailable import Unavailable

EXIT_UNAVAILABLE = 3


def names() -> list[str]:
    """The benches there are: modules of this folder with a `run` function."""
    found = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return [
        name for name in found if "def run(" in (Path(__file__).parent / f"{name}.py").read_text()
    ]


def measure(name: str) -> bool:
    """Run one bench and print its line of JSON; False where it cannot run here."""
    try:
        result = importlib.import_module(f"tests.bench.{name}").run()
    except (Unavailable, ImportError) as reason:
        print(f"{name} cannot be measured here: {reason}")
        return False
    print(json.dumps({key: result[key] for key in ("name", "measured", "goal", "unit", "reached")}))
    return True


def main(wanted: list[str]) -> int:
    """Run what is asked for."""
    known = names()
    if not wanted or set(wanted) - {*known, "all"}:
        print(f"usage: python -m tests.bench NAME ...\nNAME: all, {', '.join(known)}")
        return 2
    outcomes = [measure(name) for name in (known if "all" in wanted else wanted)]
    return 0 if all(outcomes) or "all" in wanted else EXIT_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
