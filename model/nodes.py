"""The other machines of a training: when one goes, the rest end with a message instead of a hang.

The first rank of each further machine holds a connection to rank 0, over which both sides say that
they live, once a second. A closed connection, or silence for ten seconds (a machine that lost its
power or its network closes nothing), means that the other machine is gone. A machine that ends in
order says so first. The machines share the work folder, and are checked for that at the start.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from model.engine import from_first_rank
from model.errors import SettingsError

SILENCE_S = 10.0
_BEAT_S = 1.0
_CONNECT_S = 30.0
_BEAT, _END = b".", b"!"

Lost = Callable[[str], None]
"""Told, in words, which machine is gone."""


class Connection:
    """One of the two ends between rank 0's machine and another."""

    def __init__(self, channel: socket.socket, peer: str, lost: Lost) -> None:
        self._channel, self._peer, self._lost = channel, peer, lost
        self._over = threading.Event()
        channel.settimeout(SILENCE_S)
        for work in (self._speak, self._listen):
            threading.Thread(target=work, daemon=True, name=f"node {peer}").start()

    def close(self) -> None:
        """End in order: the other side hears of it."""
        self._over.set()
        with suppress(OSError):
            self._channel.sendall(_END)
        self._channel.close()

    def _speak(self) -> None:
        while not self._over.wait(_BEAT_S):
            try:
                self._channel.sendall(_BEAT)
            except OSError:
                return  # the listener finds out

    def _listen(self) -> None:
        why = "closed its connection"
        try:
            while heard := self._channel.recv(64):
                if _END in heard or self._over.is_set():
                    return
        except TimeoutError:
            why = f"was silent for {SILENCE_S:.0f} s"
        except OSError:
            pass
        if not self._over.is_set():
            self._lost(f"{self._peer} {why}")


@contextmanager
def connected_nodes(rank: int, hosts: list[str], lost: Lost) -> Iterator[None]:
    """Watch the other machines inside the block; every rank calls it.

    Args:
        rank: this one.
        hosts: the name of each rank's machine.
        lost: called at most once, from a thread, when one is gone.
    """
    firsts = {host: hosts.index(host) for host in hosts}
    others = [host for host in firsts if host != hosts[0]]
    if not others:
        yield
        return
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", 0))) if rank == 0 else None
        port, word = from_first_rank(server and (server.getsockname()[1], uuid.uuid4().hex))
        once = _Once(lost)
        if server is not None:
            for _ in others:
                channel, host = _welcome(server, word)
                stack.callback(Connection(channel, _describe(host, hosts), once).close)
        elif rank == firsts[hosts[rank]]:
            address = (os.environ["MASTER_ADDR"], port)
            channel = socket.create_connection(address, timeout=_CONNECT_S)
            channel.sendall(f"{word} {hosts[rank]}\n".encode())
            stack.callback(Connection(channel, _describe(hosts[0], hosts), once).close)
        yield


class _Once:
    """Passes on the first call alone."""

    def __init__(self, act: Lost) -> None:
        self._act, self._lock, self._done = act, threading.Lock(), False

    def __call__(self, message: str) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
        self._act(message)


def _welcome(server: socket.socket, word: str) -> tuple[socket.socket, str]:
    """The next connection that knows the word, and whose it is."""
    server.settimeout(_CONNECT_S)
    deadline = time.monotonic() + _CONNECT_S
    while time.monotonic() < deadline:
        channel, _ = server.accept()
        channel.settimeout(_CONNECT_S)
        line = b""
        with suppress(OSError):
            while not line.endswith(b"\n") and len(line) < 1024 and (byte := channel.recv(1)):
                line += byte
        said, _, host = line.decode("utf-8", "replace").strip().partition(" ")
        if said == word:
            return channel, host
        channel.close()  # a stranger
    raise TimeoutError("a machine of the training did not connect to rank 0")


def _describe(host: str, hosts: list[str]) -> str:
    ranks = [str(number) for number, other in enumerate(hosts) if other == host]
    return f"the machine {host} (rank{'s' if len(ranks) > 1 else ''} {', '.join(ranks)})"


def check_shared(work: Path, rank: int) -> None:
    """See that every machine has rank 0's work folder; every rank calls it.

    Raises:
        SettingsError: this one has another.
    """
    word = work / "shared-by"
    if rank == 0:
        word.write_text(uuid.uuid4().hex)
    expected = from_first_rank(rank == 0 and word.read_text())
    deadline = time.monotonic() + SILENCE_S  # network file systems show new files a little late
    while time.monotonic() < deadline:
        with suppress(OSError):
            if word.read_text() == expected:
                return
        time.sleep(0.1)
    raise SettingsError(
        f"{socket.gethostname()} does not see rank 0's work folder under {work}: the machines of a "
        "training must share it (NFS, Lustre, a volume that many pods mount)"
    )
