"""The replay gateway of a run: WARC files served on loopback while the crawl reads them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.session import Session
from infra.children import log_tail
from infra.errors import InfraError


@contextlib.contextmanager
def replaying(session: Session, archives: Sequence[Path], *, needed: bool) -> Iterator[str | None]:
    """Serve the archives by `webtext replay` in a process of its own; gives its address.

    None where there is nothing to serve or nobody to read it.
    """
    if not archives or not needed:
        yield None
        return
    log = session.store.root / "logs" / session.run.run_id / "replay.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    serve = [sys.executable, "-m", "flows.cli", "replay", "--port", "0"]
    guard = [sys.executable, "-m", "infra.orphans", str(os.getpid()), "--"]
    command = [*guard, *serve, *map(str, archives)]
    with log.open("wb") as errors, session.children.started(command, errors=errors) as gateway:
        assert gateway.stdout is not None
        words = gateway.stdout.readline().decode().split()
        if not words or words[0] != "ready":
            raise InfraError(f"the replay gateway did not start:\n{log_tail(log)}")
        yield words[1]
