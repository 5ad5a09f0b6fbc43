"""Trainers as forks of one process that has DeepSpeed imported: a start takes 0.3 s, not 5.

Everything after the imports is the real thing: `model.train.main` in a process of its own, which a
test may kill. Reads paths of specs from standard input; answers each with the child's process id,
and then with its exit status (negative: the signal).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.config import TrainSpec
from model.trace import read_steps
from tests.model.trainings import write_spec


class Nursery:
    """Starts trainers one after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, spec: TrainSpec) -> int:
        """Start a trainer; its process id."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{write_spec(spec)}\n")
        self._server.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit status of the trainer that was started last."""
        return self._answer()

    def run(self, spec: TrainSpec) -> int:
        """Train to the end."""
        self.start(spec)
        return self.wait()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if line.startswith("nursery "):
                return int(line.split()[1])
        raise AssertionError("the nursery died")


@contextmanager
def open_nursery(log: Path) -> Iterator[Nursery]:
    """A nursery whose trainers write their messages to `log`."""
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    with log.open("w") as messages:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.model.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        try:
            yield Nursery(server)
        finally:
            server.kill()
            server.communicate()


def wait_for_step(spec: TrainSpec, step: int, *, timeout_s: float = 60) -> None:
    """Return once the trainer's metrics show `step`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        lines = read_steps(spec.work / "metrics.jsonl")
        if lines and lines[-1]["step"] >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached in {timeout_s} s")


def _serve() -> None:
    import torch._dynamo  # noqa: F401  an optimizer imports it when it is made

    import model.trainer  # noqa: F401  the imports that take seconds
    from model.train import main

    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(main(["--spec", line.strip()]))
        sys.stdout.write(f"nursery {child}\n")
        sys.stdout.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"nursery {status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
