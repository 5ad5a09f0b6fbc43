"""A replay server: WARC files served in the raw-replay form of the Wayback Machine and pywb.

`GET /{timestamp}id_/{url}` answers with the capture of that address nearest in time: its status and
body as they were, its header fields under `X-Archive-Orig-…`, its time in `Memento-Datetime`. A
redirect's `Location` leads back into the gateway. What is not archived is a 404 that says so in
`X-Gateway-Error: not-archived`, so that it cannot be taken for an archived 404 (which has a
`Memento-Datetime`).

Only an index is held in memory (36 bytes a record); records are read as they are asked for.
"""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import format_datetime
from pathlib import Path

from aiohttp import web
from multidict import CIMultiDict

from webtext.crawl_urls import join_url
from webtext.errors import SourceError
from webtext.warc import (
    Response,
    clean_name,
    clean_value,
    pad_timestamp,
    timestamp_of,
)
from webtext.warc_index import Place, WarcIndex, read_place

NOT_ARCHIVED = "not-archived"
"""Value of `X-Gateway-Error` where there is no capture."""

_REQUEST = re.compile(r"/([0-9]{1,14})(?:id_|if_|)/(.+)", re.DOTALL)
_INLINE_BYTES = 256 * 1024
"""Records up to this size in the file are read at once; a thread costs more than it saves."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ReplayGateway:
    """Answers replay requests from an index; `observe` is told the path of every request."""

    def __init__(self, index: WarcIndex, observe: Callable[[str], None] | None = None) -> None:
        self._index = index
        self._observe = observe
        self.address = ""
        """`http://host:port`, once the server listens."""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """The response to one HTTP request."""
        target = request.raw_path
        if self._observe is not None:
            self._observe(target)
        match = _REQUEST.fullmatch(target)
        if request.method not in {"GET", "HEAD"} or match is None:
            return _refusal(400, "bad-request", "Ask for GET /{timestamp}id_/{url}.")
        timestamp, url = pad_timestamp(match[1]), match[2]
        place = self._index.find(url, timestamp)
        if place is None:
            return _refusal(404, NOT_ARCHIVED, "This address is not in the archive.")
        try:
            response = await _read(self._index, place, url)
        except SourceError as error:
            return _refusal(502, "damaged-record", str(error))
        if response is None:
            return _refusal(404, NOT_ARCHIVED, "This address is not in the archive.")
        return _replay(response)


@contextlib.asynccontextmanager
async def serve_archive(
    warcs: Sequence[Path],
    host: str = "127.0.0.1",
    port: int = 0,
    observe: Callable[[str], None] | None = None,
) -> AsyncIterator[ReplayGateway]:
    """Serve WARC files while the context lasts; port 0 takes a free one, see `address`."""
    index = await asyncio.to_thread(WarcIndex.build, warcs)
    gateway = ReplayGateway(index, observe)
    server = web.Server(gateway.answer, max_line_size=32768, max_field_size=32768)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        gateway.address = f"http://{shown}:{bound[1]}"
        yield gateway
    finally:
        await runner.cleanup()


def run_gateway(warcs: Sequence[Path], host: str = "127.0.0.1", port: int = 8090) -> None:
    """Serve WARC files until SIGINT or SIGTERM.

    Writes one line to standard output when it listens: `ready http://127.0.0.1:8090 RECORDS`.
    """
    asyncio.run(_serve_until_stopped(warcs, host, port))


async def _serve_until_stopped(warcs: Sequence[Path], host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with serve_archive(warcs, host, port) as gateway:
        sys.stdout.write(f"ready {gateway.address} {len(gateway._index)}\n")
        sys.stdout.flush()
        await stopped.wait()


async def _read(index: WarcIndex, place: Place, url: str) -> Response | None:
    if place[2] <= _INLINE_BYTES:
        return read_place(index, place, url)
    return await asyncio.to_thread(read_place, index, place, url)


def _replay(response: Response) -> web.Response:
    """The archived response, its own fields under `X-Archive-Orig-`."""
    if response.status < 200:
        return _refusal(502, "damaged-record", f"archived status {response.status}")
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in response.headers:
        headers.add(f"X-Archive-Orig-{clean_name(name)}", clean_value(value))
    headers["Memento-Datetime"] = format_datetime(response.date, usegmt=True)
    headers["Content-Type"] = clean_value(response.header("content-type") or "") or "text/plain"
    coding = response.header("content-encoding")
    if coding is not None:
        headers["Content-Encoding"] = clean_value(coding)
    location = response.header("location")
    if response.status in _REDIRECTS and location is not None:
        with contextlib.suppress(ValueError):
            target = join_url(response.url, location)
            headers["Location"] = f"/{timestamp_of(response.date):014d}id_/{target}"
    reason = clean_value(response.reason) or None
    return web.Response(
        status=response.status, reason=reason, headers=headers, body=response.payload
    )


def _refusal(status: int, error: str, message: str) -> web.Response:
    return web.Response(status=status, headers={"X-Gateway-Error": error}, text=f"{message}\n")
