"""What `webtext doctor` finds out about the Prefect server that runs would use."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.finding import Finding, error, note, ok
from infra.secrets import mask

_AREA = "server"
_ANSWER_S = 10.0
_LARGE_BYTES = 2 << 30


def check_server(store: Path) -> Iterator[Finding]:
    """Findings about the server at PREFECT_API_URL, or about the store's own database."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield ok(_AREA, "PREFECT_API_URL is not set: each run starts a server of its own")
        yield from _own_database(store / "prefect" / "prefect.db")
        return
    shown = mask(url)
    try:
        _ask(url, "/health")
    except (OSError, ValueError) as problem:
        mend = "start it (`prefect server start`, `make up`), or unset PREFECT_API_URL"
        yield error(_AREA, f"no server answers at {shown} ({problem})", mend)
        return
    yield ok(_AREA, f"{shown} answers")
    yield _version(url)
    yield _database(url)


def _own_database(path: Path) -> Iterator[Finding]:
    if path.is_file() and path.stat().st_size > _LARGE_BYTES:
        told = f"{path} has {path.stat().st_size / 2**30:.1f} GiB"
        yield note(_AREA, told, "webtext retention --delete removes old flow runs")


def _version(url: str) -> Finding:
    mine = version("prefect")
    try:
        theirs = str(_ask(url, "/admin/version"))
    except (OSError, ValueError) as problem:
        return note(_AREA, f"its version is not told ({problem})")
    if theirs.split(".")[:2] != mine.split(".")[:2]:
        mend = "run the same version of Prefect on both sides (constraints.txt pins it)"
        return error(_AREA, f"it runs Prefect {theirs}, this machine has {mine}", mend)
    return ok(_AREA, f"Prefect {theirs}")


def _database(url: str) -> Finding:
    try:
        _ask(url, "/ready")
    except (OSError, ValueError) as problem:
        mend = "see the server's log; is its database running?"
        return error(_AREA, f"its database does not answer ({problem})", mend)
    kind = "answers"
    try:
        settings = _ask(url, "/admin/settings")
        kind = _kind(settings)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if kind == "SQLite":
        mend = "for several machines use PostgreSQL: docs/deployments.md"
        return note(_AREA, "its database is SQLite, good for one machine", mend)
    return ok(_AREA, f"its database {kind}" if kind == "answers" else f"its database is {kind}")


def _kind(settings: Any) -> str:
    database = settings["server"]["database"]
    text = f"{database.get('connection_url') or ''} {database.get('driver') or ''}"
    if "postgres" in text:
        return "PostgreSQL"
    return "answers" if text.strip().startswith("*") else "SQLite"


def _ask(url: str, path: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is no http address")
    request = urllib.request.Request(url.rstrip("/") + path)  # noqa: S310  it is checked
    if key := os.environ.get("PREFECT_API_KEY"):
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310
        return json.load(answer)
