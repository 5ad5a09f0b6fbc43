"""A fast server of generated pages on loopback, for the crawl's benches: `python -m … PAGES`.

`GET /page/N` gives page N modulo the number of pages, with N in a comment at its end so that no two
bodies are equal; `/robots.txt` allows all pages, all else is a 404. It listens on all of
127.0.0.0/8, so that 127.0.0.2, 127.0.0.3, ... are as many hosts. The answers are bytes made once; a
connection is a protocol object and no task.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator

WORDS = (  # noqa: SIM905
    "the of and to in a is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were all her she there would their we him been has when who "
    "more no if out so said what up its about into than them can only other new some could time "
    "corpus language model token archive capture crawl partition gateway page document karma"
).split()


def make_page(seed: int, low: int = 150_000, high: int = 240_000) -> bytes:
    """A page of `low` to `high` bytes that compresses about as real pages do, to a quarter."""
    rng = random.Random(seed)
    size = rng.randint(low, high)
    parts = [f"<html><head><title>Page {seed}</title></head><body>"]
    length = 0
    while length < size:
        words = " ".join(rng.choices(WORDS, k=60))
        part = f'<div class="post" id="p{rng.getrandbits(40):x}"><p>{words}</p></div>\n'
        length += len(part)
        parts.append(part)
    return "".join([*parts, "</body></html>"]).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, answers: dict[bytes, bytes], pages: list[bytes]) -> None:
        self._answers, self._pages = answers, pages
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            target = self._waiting[:end].split(b" ", 2)[1]
            self._waiting = self._waiting[end + 4 :]
            self._transport.write(self._answer(target))

    def _answer(self, target: bytes) -> bytes:
        if target.startswith(b"/page/"):
            number = int(target[6:])
            return self._pages[number % len(self._pages)] + b"<!-- %08d -->" % number
        return self._answers.get(target, _answer(b"404 Not Found", b"text/plain", b"no"))


def _answer(status: bytes, kind: bytes, body: bytes, more: int = 0) -> bytes:
    """A response whose body is `body` and `more` further bytes."""
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (status, kind, len(body) + more) + body


async def _serve(pages: list[bytes]) -> None:
    answers = {
        b"/robots.txt": _answer(b"200 OK", b"text/plain", b"User-agent: *\nDisallow: /private\n")
    }
    whole = [_answer(b"200 OK", b"text/html; charset=utf-8", page, more=17) for page in pages]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answers, whole), "0.0.0.0", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def page_server(pages: int, low: int = 150_000, high: int = 240_000) -> Iterator[int]:
    """A server in another process; yields its port."""
    command = [sys.executable, "-m", "tests.bench.page_server", str(pages), str(low), str(high)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


if __name__ == "__main__":
    count, low, high = map(int, sys.argv[1:])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve([make_page(seed, low, high) for seed in range(count)]))
