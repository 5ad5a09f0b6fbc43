"""An S3 API server (moto's) in a process of its own on loopback, with a bucket."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

BUCKET = "corpora"
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "planted-secret-7f3a"}


@dataclass(frozen=True)
class S3:
    """Where it listens."""

    url: str

    def environment(self, cache: object, endpoint: str | None = None) -> dict[str, str]:
        """What a process needs to use it, with a cache folder of its own."""
        return {**KEYS, "AWS_ENDPOINT_URL": endpoint or self.url, "WEBTEXT_CACHE": str(cache)}

    def make_bucket(self, name: str = BUCKET) -> None:
        ask = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(ask).close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """A server with an empty bucket, ended with the block; skips where moto is not installed."""
    pytest.importorskip("moto")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = S3(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{server.url}/moto-api/", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, "moto's server did not start"
                time.sleep(0.05)
        server.make_bucket()
        yield server
    finally:
        process.kill()
        process.wait()
