"""The other ranks of a training: when one dies, the rest end with a message instead of a hang.

A rank that waits in a collective for a dead one waits for minutes (NCCL), or fails with words
about a connection (gloo). So each rank watches the processes of those on its own machine, and the
first one of each machine the other machines (`model.nodes`).
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist

from model.errors import ModelError
from model.launch import EXIT_PEER_DIED, Outcome, read_outcome, saved_step, write_outcome
from model.nodes import connected_nodes
from model.watch import birth, when_gone

_SETTLE_S = 2.0
"""How long after an error here the death of another rank may take to show."""


@dataclass
class Peers:
    """Who else is at work, and where to tell of a death."""

    work: Path
    ranks: dict[int, int]
    """Rank by process id, of the others on this machine."""
    births: dict[int, str]
    over: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another machine is gone, and that was told."""

    def dead(self) -> int | None:
        """The process id of one that is gone."""
        return next((pid for pid, born in self.births.items() if birth(pid) != born), None)

    def tell_of(self, pid: int) -> str:
        """Write down that a rank died, unless it or another left a word of its own."""
        return self.tell(f"rank {self.ranks[pid]} (process {pid}) died")

    def tell(self, what: str) -> str:
        """Write down what ended the training, unless somebody left a word before."""
        message = (
            f"{what}, so the others were ended; the same command goes on from step "
            f"{saved_step(self.work)}"
        )
        known = read_outcome(self.work)
        if known is None or known.state == "running":
            write_outcome(self.work, Outcome(state="broken", message=message))
            sys.stderr.write(f"training was broken off: {message}\n")
            sys.stderr.flush()
        return message

    def end_with_machine(self, what: str) -> None:
        """End this process because another machine is gone."""
        self.tell(what)
        self.lost.set()
        os._exit(EXIT_PEER_DIED)

    def leave(self, leave: Callable[[], None]) -> None:
        """Call `leave`, unless this process is asked to stop because another is gone."""
        gone = self.dead()
        if gone is not None:
            self.end_with(gone)
        leave()

    def end_with(self, pid: int) -> None:
        """End this process because another is gone."""
        self.tell_of(pid)
        os._exit(EXIT_PEER_DIED)


@contextmanager
def watching_peers(work: Path, rank: int, ranks: int) -> Iterator[Peers]:
    """Watch the other ranks of this machine; every rank calls it once the group is joined.

    An error inside the block while a rank is dead is taken for a consequence of that death.
    """
    mine = (socket.gethostname(), os.getpid(), birth(os.getpid()))
    everyone: list[Any] = [mine]
    if ranks > 1:
        everyone = [None] * ranks
        dist.all_gather_object(everyone, mine)
    others = {
        pid: (number, born)
        for number, (host, pid, born) in enumerate(everyone)
        if number != rank and host == mine[0]
    }
    births = {pid: born for pid, (_, born) in others.items()}
    peers = Peers(work, {pid: number for pid, (number, _) in others.items()}, births)
    if others:
        peers.over = when_gone(births, peers.end_with, name="peers")
    hosts = [host for host, _, _ in everyone]
    try:
        with connected_nodes(rank, hosts, peers.end_with_machine):
            yield peers
    except ModelError:
        raise  # of our own making
    except Exception:
        _end_if_one_died(peers)
        raise
    finally:
        peers.over.set()


def _end_if_one_died(peers: Peers) -> None:
    """Blame the rank or machine whose end broke a collective here, once it shows."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        gone = peers.dead()
        if gone is not None:
            peers.end_with(gone)
        time.sleep(0.05)
