"""The report and the lineage as pages on loopback: `webtext report serve`.

    /                     runs, and a field to search or trace
    /report/RUN           the report of a run
    /trace?q=SUBJECT      what `webtext trace SUBJECT` shows
    /search?q=WORDS       documents whose text holds the words
    /text?q=LINK_ID       a document's text
    /capture?q=LINK_ID    a page as it was sent, as a file to keep

It only reads, and what it shows was written by strangers. So: it listens on 127.0.0.1 alone; a
request must name that address as its host, or another site's name could be pointed here (DNS
rebinding); nothing is allowed to other origins; requests that other sites' pages make are refused;
every value is escaped, and a page may load and run nothing but its own style and script, by their
hashes. Questions have a length, answers a number of rows, searches a time, and few are answered at
once.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePath
from socketserver import TCPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from flows import html
from flows.report import render_report
from flows.report_links import Links
from flows.report_search import MOST_CHARACTERS, Place, search_texts
from flows.report_source import report_source
from flows.report_trace import trace_page
from flows.trace import Desk, link_of
from infra.errors import StoreError
from infra.lineage_build import Library
from infra.store import Store

_LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"
_MOST_PATH_CHARACTERS = 4096
_MOST_QUESTION_CHARACTERS = 2000
_MOST_TEXT_CHARACTERS = 400_000
_LISTED_RUNS = 50
_LISTED_LINKS = 50
_AT_ONCE = 8
"""Requests answered at once; more of them wait."""
_WAIT_S = 20.0
_KEPT = 4
"""Reports and desks that are kept between requests."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refused(Exception):  # noqa: N818
    """A request that is not answered, with the status that says why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a request gets."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/html; charset=utf-8"
    file_name: str | None = None
    """Where it is a file to keep."""


@dataclass
class Pages:
    """Answers requests about one store."""

    store: Store
    _desks: OrderedDict[tuple[str | None, int], Desk] = field(default_factory=OrderedDict)
    _reports: OrderedDict[tuple[str, int], bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _searching: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, target: str) -> Answer:
        """The answer to a request's target.

        Raises:
            Refused: it asks for nothing that there is.
        """
        parts = urlsplit(target)
        given = parse_qs(parts.query, max_num_fields=8)
        question = given.get("q", [""])[0].strip()
        run = given.get("run", [""])[0].strip() or None
        _check(question, run)
        path = unquote(parts.path)
        if path == "/":
            return _page(self._front())
        if path.startswith("/report/"):
            return Answer(self._report(path.removeprefix("/report/")))
        routes: dict[str, Callable[[str, str | None], Answer]] = {
            "/trace": self._trace,
            "/text": self._text,
            "/capture": self._capture,
        }
        if path == "/search":
            return self._search(question, run, Place.read(given.get("from", [""])[0]))
        if path in routes:
            return routes[path](question, run) if question else _page(self._front())
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no page {path[:100]}.")

    def _front(self) -> str:
        runs = list(reversed(self._desk(None).library.runs))
        return html.render(
            "store.html.j2",
            served=True,
            store=str(self.store.root),
            runs=runs[:_LISTED_RUNS],
            more=max(len(runs) - _LISTED_RUNS, 0),
            q="",
        )

    def _report(self, reference: str) -> bytes:
        with self._lock:
            stamp = self._stamp()
            source = report_source(Library(self.store), reference or "latest")
            key = (source.run.run_id, stamp)
            if key not in self._reports:
                links = Links(served=True)
                self._reports[key] = render_report(source, links.trace).encode()
                _forget(self._reports)
            return self._reports[key]

    def _trace(self, question: str, run: str | None) -> Answer:
        links = Links(served=True, run=run)
        with self._lock:
            found = self._desk(run).ask(question, _LISTED_LINKS)
        return _page(trace_page(found, links))

    def _text(self, question: str, run: str | None) -> Answer:
        links = Links(served=True, run=run)
        with self._lock:
            desk = self._desk(run)
            found = link_of(desk.ask(question, 1), question)
            text = desk.text(found)
        return _page(
            html.render(
                "text.html.j2",
                served=True,
                title=found.link.url,
                href=links.trace(found.link.link_id),
                text=text[:_MOST_TEXT_CHARACTERS],
                left_out=max(len(text) - _MOST_TEXT_CHARACTERS, 0),
            )
        )

    def _capture(self, question: str, run: str | None) -> Answer:
        with self._lock:
            desk = self._desk(run)
            found = link_of(desk.ask(question, 1), question)
            body = desk.page(found)
        # Never as a page of this origin: it is a file, and nothing in it runs.
        name = f"{found.link.link_id}.bin"
        return Answer(body, content_type="application/octet-stream", file_name=name)

    def _search(self, question: str, run: str | None, start: Place) -> Answer:
        if not question:
            return _page(self._front())
        if len(question) > MOST_CHARACTERS:
            message = f"At most {MOST_CHARACTERS} characters can be looked for."
            return _page(_results(question, None, message), HTTPStatus.BAD_REQUEST)
        with self._lock:
            documents = self._desk(run).tracer().build.need("documents")
        if not self._searching.acquire(timeout=_WAIT_S):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Another search goes on; try again.")
        try:
            found = search_texts(documents, question, start)
        finally:
            self._searching.release()
        links = Links(served=True, run=run)
        going_on = {"q": question, "from": str(found.next), **({"run": run} if run else {})}
        shown = {
            **vars(found),
            "hits": [{**vars(hit), "href": links.trace(hit.link_id)} for hit in found.hits],
            "next_href": f"/search?{urlencode(going_on)}" if found.next else None,
        }
        return _page(_results(question, shown, ""))

    def _desk(self, run: str | None) -> Desk:
        """What answers about a build; made anew where a run has ended since."""
        key = (run, self._stamp())
        if key not in self._desks:
            self._desks[key] = Desk(self.store, run, lambda *_: None)
            _forget(self._desks)
        return self._desks[key]

    def _stamp(self) -> int:
        """Changes with every run of the store."""
        runs = self.store.root / "runs"
        return runs.stat().st_mtime_ns if runs.is_dir() else 0


class _Handler(BaseHTTPRequestHandler):
    server_version = "webtext"
    sys_version = ""
    timeout = 30
    pages: ClassVar[Pages]
    slots: ClassVar[threading.BoundedSemaphore]

    def do_GET(self) -> None:
        """Answer, within the number of requests that are answered at once."""
        if not self.slots.acquire(timeout=_WAIT_S):
            self._send(_message(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once."))
            return
        try:
            self._send(self._answer())
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        finally:
            self.slots.release()

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> Answer:
        try:
            self._admit()
            return self.pages.answer(self.path)
        except Refused as refused:
            return _message(refused.status, str(refused))
        except ValueError as error:
            return _message(HTTPStatus.BAD_REQUEST, f"The question cannot be read: {error}")
        except Exception as error:  # noqa: BLE001  a request must not end the server
            if type(error).__module__.endswith(".errors"):
                return _message(HTTPStatus.NOT_FOUND, str(error), _question(self.path))
            _LOG.exception("%s could not be answered", self.path[:200])
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, "This was not foreseen; see the log.")

    def _admit(self) -> None:
        """Refuse what comes under another name, from another site, or too long."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to loopback alone.")
        site, mode = (self.headers.get(f"Sec-Fetch-{name}", "") for name in ("Site", "Mode"))
        if site in ("cross-site", "same-site") and (mode != "navigate" or "?" in self.path):
            raise Refused(HTTPStatus.FORBIDDEN, "Other sites may not ask this server.")
        if len(self.path) > _MOST_PATH_CHARACTERS:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "The question is too long.")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        policy = f"{html.page_policy(served=True)}; frame-ancestors 'none'"
        if answer.file_name is not None:
            policy = "default-src 'none'; sandbox"
            self.send_header("Content-Disposition", f'attachment; filename="{answer.file_name}"')
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests go to the log alone."""
        _LOG.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]


def report_server(store: Store, port: int) -> ThreadingHTTPServer:
    """A server on loopback that listens; the caller runs and closes it. Port 0 takes a free one.

    Raises:
        StoreError: the port is taken.
    """
    names = {"pages": Pages(store), "slots": threading.BoundedSemaphore(_AT_ONCE)}
    handler = type("Handler", (_Handler,), names)
    try:
        return _Server((HOST, port), handler)
    except OSError as error:
        raise StoreError(
            f"nothing can listen on {HOST}:{port} ({error.strerror}); choose another --port"
        ) from error


def _check(question: str, run: str | None) -> None:
    if len(question) > _MOST_QUESTION_CHARACTERS or len(run or "") > _MOST_QUESTION_CHARACTERS:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "The question is too long.")
    for text in (question, run or ""):
        path = PurePath(text)
        # The command takes an artifact's path; here only what lies in the store is asked for.
        if "://" not in text and (path.is_absolute() or ".." in path.parts or "\0" in text):
            raise Refused(HTTPStatus.BAD_REQUEST, "Name an artifact by its label, not by a path.")


def _question(target: str) -> str:
    return parse_qs(urlsplit(target).query, max_num_fields=8).get("q", [""])[0].strip()


def _results(question: str, found: dict[str, object] | None, message: str) -> str:
    return html.render("search.html.j2", served=True, q=question, found=found, message=message)


def _message(status: HTTPStatus, text: str, question: str = "") -> Answer:
    can_search = 0 < len(question) <= MOST_CHARACTERS
    page = html.render(
        "message.html.j2",
        served=True,
        heading=status.phrase,
        message=text,
        q=question,
        search_href=f"/search?{urlencode({'q': question})}" if can_search else None,
    )
    return _page(page, status)


def _page(text: str, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(text.encode(), status)


def _forget(
    kept: OrderedDict[tuple[str | None, int], Desk] | OrderedDict[tuple[str, int], bytes],
) -> None:
    while len(kept) > _KEPT:
        kept.popitem(last=False)
