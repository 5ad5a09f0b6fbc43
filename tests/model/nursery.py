"""Trainers as forks of one process that has DeepSpeed imported: a start takes 0.3 s, not 5.

Everything after the imports is the real thing: `model.train.main` in a process of its own, which a
test may kill. Reads a number of ranks and a spec's path from standard input; answers with the
process id of each rank, and then with their exit statuses (negative: the signal).
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.config import TrainSpec
from model.launch import free_port
from model.trace import read_steps
from tests.model.trainings import write_spec


class Nursery:
    """Starts trainers one after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, spec: TrainSpec) -> int:
        """Start a trainer; its process id."""
        (child,) = self.start_ranks(spec, 1)
        return child

    def start_ranks(self, spec: TrainSpec, ranks: int) -> list[int]:
        """Start a trainer of several ranks, as a launcher would; their process ids."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{ranks} {write_spec(spec)}\n")
        self._server.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit status of the trainer that was started last."""
        (status,) = self.wait_ranks()
        return status

    def wait_ranks(self) -> list[int]:
        """The exit status of each rank."""
        return self._answer()

    def run(self, spec: TrainSpec, ranks: int = 1) -> int:
        """Train to the end; the exit status that all ranks share."""
        self.start_ranks(spec, ranks)
        (status,) = set(self.wait_ranks())
        return status

    def _answer(self) -> list[int]:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if line.startswith("nursery "):
                return [int(word) for word in line.split()[1:]]
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

    for line in sys.stdin:
        ranks, path = line.split()
        children = _fork_ranks(int(ranks), path)
        _say(children)
        _say([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


def _fork_ranks(ranks: int, path: str) -> list[int]:
    from model.train import main

    port = str(free_port())
    children = []
    for rank in range(ranks):
        child = os.fork()
        if not child:
            if ranks > 1:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            status = 1  # what an exception gives; forks must not return into the server
            try:
                status = main(["--spec", path])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    return children


def _say(numbers: list[int]) -> None:
    sys.stdout.write(f"nursery {' '.join(map(str, numbers))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
