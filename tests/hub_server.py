"""A hub on loopback: the part of the hub's HTTP API that reading and writing a data set needs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the hub holds, and what it was asked."""

    files: dict[str, bytes]
    token: str | None = None
    """Wanted of whoever reads; a writer always needs `write-token`."""
    lie_about: str | None = None
    """A file whose content is not what the listing says."""
    asked: list[str] = field(default_factory=list)
    pushed: dict[str, bytes] = field(default_factory=dict)
    created: list[dict] = field(default_factory=list)
    address: str = ""


@contextmanager
def hub_running(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` until the block ends."""

    class Handler(_Handler):
        data = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    data: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.data.asked.append(path)
        if self.data.token and self.headers.get("Authorization") != f"Bearer {self.data.token}":
            self._answer(401, {"error": "Invalid credentials"})
        elif path.startswith("/api/datasets/o/d/revision/"):
            siblings = [{"rfilename": name} for name in self.data.files]
            self._answer(200, {"id": "o/d", "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/api/datasets/o/d/tree/{COMMIT}"):
            self._answer(200, [self._entry(name) for name in self.data.files])
        elif path.startswith(f"/datasets/o/d/resolve/{COMMIT}/"):
            self._send_file(path.removeprefix(f"/datasets/o/d/resolve/{COMMIT}/"))
        else:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        self.data.asked.append(path)
        if self.headers.get("Authorization") != "Bearer write-token":
            self._answer(403, {"error": "this token may not write"})
        elif path == "/api/repos/create":
            self.data.created.append(json.loads(body))
            self._answer(200, {"url": f"{self.data.address}/datasets/me/corpus", "id": "1"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif path.endswith("/commit/main"):
            self._commit(body)
        else:
            self._answer(404, {"error": "unknown"})

    def _commit(self, body: bytes) -> None:
        for line in body.splitlines():
            operation = json.loads(line)
            if operation["key"] == "file":
                value = operation["value"]
                self.data.pushed[value["path"]] = base64.b64decode(value["content"])
        url = f"{self.data.address}/datasets/me/corpus/commit/{COMMIT}"
        self._answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _entry(self, name: str) -> dict:
        content = self.data.files[name]
        digest = hashlib.sha256(content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": "a" * 40}
        return entry | {"lfs": {"oid": digest, "size": len(content), "pointerSize": 1}}

    def _send_file(self, name: str) -> None:
        content = self.data.files[name]
        etag = hashlib.sha256(content).hexdigest()
        if name == self.data.lie_about:
            content = bytes(len(content))
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        self._send(200, content, {**headers, "Content-Type": "application/octet-stream"})

    def _answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(status, json.dumps(value).encode(), {**kind, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
