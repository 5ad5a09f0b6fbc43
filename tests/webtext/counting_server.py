"""A site of many hosts in a process of its own, that remembers who asked for what, and when.

Hosts are loopback addresses (127.0.0.2, 127.0.0.3, ...) on one port. Every request is a line of the
log: host, path, time of arrival and of the answer's end, and how many were being served to the
host. Run as `python -m tests.webtext.counting_server HOSTS PORT LOG`; it
prints its port, which is a free one for 0.
"""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

BUSY = "/busy"
"""The first request for a path that begins so is answered by 503 and a Retry-After."""
RESERVED = "/reserved"
"""Pages below it are reserved by the site's tdmrep.json."""

PLAIN = "text/plain"
FILES = {
    "/robots.txt": (PLAIN, b"User-agent: *\nDisallow: /private\n"),
    "/.well-known/tdmrep.json": (PLAIN, b'[{"location": "/reserved", "tdm-reservation": 1}]'),
}


def host_address(number: int) -> str:
    return f"127.0.0.{number + 2}"


class CountingServer:
    def __init__(self, log: Path) -> None:
        self._log = log.open("a", buffering=1)
        self._at_once: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                arrived = time.time()
                path = request.split(b" ", 2)[1].decode()
                self._at_once[host] += 1
                writer.write(self._response(host, path))
                await asyncio.sleep(0.002)
                await writer.drain()
                most = self._at_once[host]
                self._at_once[host] -= 1
                self._log.write(f"{host} {path} {arrived!r} {time.time()!r} {most}\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    def _response(self, host: str, path: str) -> bytes:
        self._seen[host + path] += 1
        status, extra = "200 OK", ""
        kind, body = FILES.get(path, ("text/html", f"<html><p>{path}</p></html>".encode() * 200))
        if path.startswith("/missing"):
            status = "404 Not Found"
        elif path.startswith("/moved"):
            status, extra = "302 Found", f"Location: {path.replace('moved', 'target')}\r\n"
        elif path.startswith(BUSY) and self._seen[host + path] == 1:
            status, extra = "503 Busy", "Retry-After: 1\r\n"
        elif path.startswith("/noai"):
            extra = "X-Robots-Tag: noai\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}"
        return head.encode() + b"\r\n\r\n" + body


async def serve(hosts: int, port: int, log: Path) -> None:
    counting = CountingServer(log)
    first = await asyncio.start_server(counting.answer, host_address(0), port)
    port = first.sockets[0].getsockname()[1]
    for number in range(1, hosts):
        await asyncio.start_server(counting.answer, host_address(number), port)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
