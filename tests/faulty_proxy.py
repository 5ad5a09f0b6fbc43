"""A proxy in front of an S3 server that does what object storage does on its bad days.

Every request is forwarded, or answered wrongly as a plan says, and every fault is counted:

    refused     503 SlowDown, not forwarded
    dropped     the connection is closed without an answer, not forwarded
    lost        forwarded, and the connection closed without an answer: the write is done
    truncated   the answer's head, half its body, the end
    stalled     half the body, then nothing until the client gives up
    dripping    the body in small pieces, slow but steady
    stale       the listing as it was when it was first asked for
    heedless    forwarded without its conditions (If-None-Match, If-Match)
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Plan = Callable[[str, str], str | None]
"""The fault of a request, by its method and path; None forwards it."""

_HOP = {"connection", "keep-alive", "transfer-encoding"}
_STALL_S = 30.0


def at_random(seed: int, **shares: float) -> Plan:
    """Each fault in its share of the requests that it can befall."""
    dice, lock = random.Random(seed), threading.Lock()

    def plan(method: str, path: str) -> str | None:
        with lock:
            thrown = dice.random()
        for fault, share in shares.items():
            if thrown < share:
                return fault
            thrown -= share
        return None

    return plan


class Proxy:
    """The proxy, and what it did."""

    def __init__(self, upstream: str, plan: Plan) -> None:
        self.plan = plan
        self.faults: Counter[str] = Counter()
        self.forwarded: Counter[str] = Counter()
        self._upstream = urlsplit(upstream).netloc
        self._listings: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy.serve(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(ConnectionError):
            self._serve(request)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        fault = self.plan(request.command, request.path)
        listing = request.command == "GET" and "list-type=2" in request.path
        if fault == "stale" and not listing:
            fault = None
        if fault in ("truncated", "stalled", "dripping") and request.command == "HEAD":
            fault = "dropped"
        if fault is not None:
            with self._lock:
                self.faults[fault] += 1
        if fault == "refused":
            self._refuse(request)
            return
        if fault == "dropped":
            request.close_connection = True
            return
        with self._lock:
            self.forwarded[request.command] += 1
        answer = self._forward(request, body, heedless=fault == "heedless")
        if listing:
            with self._lock:
                first = self._listings.setdefault(request.path, answer)
            answer = first if fault == "stale" else answer
        if fault == "lost":
            request.close_connection = True
            return
        self._answer(request, answer, fault)

    def _forward(
        self, request: BaseHTTPRequestHandler, body: bytes, *, heedless: bool
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP
            and not (heedless and name.lower() in ("if-none-match", "if-match"))
        }
        there = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            there.request(request.command, request.path, body, headers)
            answer = there.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            there.close()

    def _answer(
        self,
        request: BaseHTTPRequestHandler,
        answer: tuple[int, list[tuple[str, str]], bytes],
        fault: str | None,
    ) -> None:
        status, headers, body = answer
        request.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of HEAD: of a body that does not come
            elif name.lower() not in _HOP:
                request.send_header(name, value)
        request.send_header("Content-Length", length)
        request.end_headers()
        if fault in ("truncated", "stalled"):
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            if fault == "stalled":
                self._ended.wait(_STALL_S)
            request.close_connection = True
        elif fault == "dripping":
            for start in range(0, len(body), max(1, len(body) // 5)):
                request.wfile.write(body[start : start + max(1, len(body) // 5)])
                request.wfile.flush()
                time.sleep(0.02)
        elif request.command != "HEAD":
            request.wfile.write(body)

    def _refuse(self, request: BaseHTTPRequestHandler) -> None:
        body = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
        request.send_response_only(503)
        request.send_header("Content-Type", "application/xml")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


@contextlib.contextmanager
def faulty(upstream: str, plan: Plan) -> Iterator[Proxy]:
    """A proxy in front of `upstream`, ended with the block."""
    with Proxy(upstream, plan) as proxy:
        yield proxy
