"""A small archived web for tests: WARC files, link tables, and a gateway in a thread."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from webtext.gateway import serve_archive
from webtext.tables import LINKS, part_name, write_rows
from webtext.warc import response_member

DAY = datetime(2017, 9, 1, tzinfo=UTC)
HTML = (("Content-Type", "text/html; charset=utf-8"),)


def page(text: str) -> bytes:
    return f"<html><title>{text}</title><p>{text}</p></html>".encode()


def record(
    url: str,
    payload: bytes = page("hello"),
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = HTML,
    date: datetime = DAY,
) -> bytes:
    return response_member(
        url=url,
        date=date,
        status=status,
        reason="Reason",
        headers=headers,
        payload=payload,
        identity=url.encode(),
    ).compressed


def redirect(url: str, location: str, status: int = 302) -> bytes:
    return record(url, b"", status=status, headers=(("Location", location),))


def write_archive(path: Path, records: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(records))
    return path


def link_id(url: str) -> bytes:
    return hashlib.blake2b(url.encode(), digest_size=16).digest()


def write_links(folder: Path, urls: Iterable[str], created: int = 1504224000) -> Path:
    """A links artifact of partition 0."""
    rows = [
        {
            "link_id": link_id(url),
            "url": url,
            "host": (urlsplit(url).hostname or ""),
            "domain": ".".join((urlsplit(url).hostname or "").split(".")[-2:]),
            "karma": 3,
            "first_created_utc": created,
            "submissions": [],
        }
        for url in urls
    ]
    rows.sort(key=lambda row: row["link_id"])
    write_rows(folder / "links" / part_name(0), LINKS, rows)
    return folder


def read_captures(destination: Path) -> dict[bytes, dict[str, Any]]:
    table = pq.read_table(destination / "captures" / part_name(0))
    return {row["link_id"]: row for row in table.to_pylist()}


def file_digests(destination: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(destination)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(destination.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def gateway_running(*warcs: Path, observe: Callable[[str], None] | None = None) -> Iterator[str]:
    """The address of a gateway that serves `warcs` from another thread."""

    async def serve(ready: "Future[str]", stop: asyncio.Event) -> None:
        async with serve_archive(warcs, observe=observe) as gateway:
            ready.set_result(gateway.address)
            await stop.wait()

    with thread_serving(serve) as address:
        yield address


@contextlib.contextmanager
def thread_serving(
    serve: Callable[["Future[str]", asyncio.Event], Coroutine[Any, Any, None]],
) -> Iterator[str]:
    """Run a server coroutine on an event loop of its own; yields the address it reports."""
    ready: Future[str] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def work() -> None:
        try:
            loop.run_until_complete(serve(ready, stop))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ready.result(10)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
