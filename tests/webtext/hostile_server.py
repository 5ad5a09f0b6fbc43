"""Servers that misbehave, each on a loopback address of its own: raw sockets, so anything is said.

A `Case` is a name, what its server does, and the outcome and words that the crawl must find for it.
The table is in `hostile_cases`.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.webtext.small_web import thread_serving

Writer = asyncio.StreamWriter
Behaviour = Callable[[Writer], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
PAGE = b"<html><p>a page</p></html>"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One behaviour and what must become of a link to it."""

    name: str
    page: Behaviour | Mapping[str, Behaviour]
    """What is done for every path, or by path; a path that is not named is not found."""
    outcome: str
    detail: str | None = None
    """What the capture's detail must contain; None: it must have none."""
    robots: Behaviour | None = None
    """None: the site has no robots.txt."""
    path: str = "page"
    tls: str | None = None
    """The name of a certificate, `plain` for a server on the https port that speaks none."""
    alone: bool = False
    """Crawled by itself, with bounds on memory and time of its own."""


@dataclass
class HostileServer:
    """Serves one case, and remembers what it was sent."""

    case: Case
    requests: list[bytes] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)

    @property
    def url(self) -> str:
        """The address of the case's link."""
        scheme = "http" if self.case.tls is None else "https"
        return f"{scheme}://{self.address[0]}:{self.address[1]}/{self.case.path}"

    async def answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        """Serve one connection for one request."""
        try:
            if self.case.tls == "plain":
                await self._behaviour("/page")(writer)
                return
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            await self._behaviour(request.split(b" ", 2)[1].decode())(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                writer.close()

    def _behaviour(self, path: str) -> Behaviour:
        missing = whole(b"", b"HTTP/1.1 404 No\r\nConnection: close\r\n")
        if path == "/robots.txt":
            return self.case.robots or missing
        if callable(self.case.page):
            return self.case.page
        return self.case.page.get(path.split("?")[0], missing)


@contextlib.contextmanager
def hostile_web(
    cases: tuple[Case, ...], certificates: Mapping[str, ssl.SSLContext]
) -> Iterator[dict[str, HostileServer]]:
    """All the servers, by the names of their cases, in a thread; each has an address 127.1.x.y."""
    servers = {case.name: HostileServer(case) for case in cases}

    async def serve(ready: "Future[str]", stop: asyncio.Event) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        listening: list[Any] = []
        for number, server in enumerate(servers.values()):
            host = f"127.1.{number // 250}.{number % 250 + 1}"
            tls = certificates.get(server.case.tls or "")
            listening.append(await asyncio.start_server(server.answer, host, 0, ssl=tls))
            server.address = (host, listening[-1].sockets[0].getsockname()[1])
        ready.set_result("")
        await stop.wait()
        for one in listening:
            one.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    with thread_serving(serve):
        yield servers


def says(*parts: bytes) -> Behaviour:
    """Send these bytes and close."""

    async def behave(writer: Writer) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return behave


def whole(body: bytes, head: bytes = OK) -> Behaviour:
    """A response with the right length."""
    return says(head, b"Content-Length: %d\r\n\r\n" % len(body), body)


def repeats(head: bytes, part: bytes, pause_s: float = 0.0) -> Behaviour:
    """Begin, and then say the same for ever."""

    async def behave(writer: Writer) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def stalls(*parts: bytes) -> Behaviour:
    """Send these bytes and say no more, the connection open."""

    async def behave(writer: Writer) -> None:
        await says(*parts)(writer)
        await asyncio.sleep(60)

    return behave


def redirects(location: bytes, *fields: bytes) -> Behaviour:
    """Send the client on."""
    more = b"".join(fields)
    return says(
        b"HTTP/1.1 302 Found\r\nLocation: ", location, b"\r\n", more, b"Content-Length: 0\r\n\r\n"
    )


def aborts(*parts: bytes) -> Behaviour:
    """Send these bytes and reset the connection."""

    async def behave(writer: Writer) -> None:
        await says(*parts)(writer)
        writer.transport.abort()

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One behaviour after another, the last one for ever."""
    left = list(behaviours)

    async def behave(writer: Writer) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return behave
