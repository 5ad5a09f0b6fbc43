"""Secrets are planted where runs get them, and every file that the runs write is searched."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.end_to_end.conftest import ROOT, TINY, command, digests, environment

PASSWORD = "planted p@ss/word 7f3a"
PLANTED = {
    "GATEWAY_DOOR": PASSWORD,
    "AWS_SECRET_ACCESS_KEY": "planted-aws-61c0ffee",
    "WANDB_API_KEY": "planted-wandb-72c0ffee",
    "HF_TOKEN": "hf_planted83c0ffee",
}


@contextlib.contextmanager
def door(gateway: str) -> Iterator[tuple[str, list[int]]]:
    """A gateway behind a password; gives its host, and the statuses that it answered with."""
    wanted = "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    answered: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                return self.answer(401, [], b"")
            plain = {"Accept-Encoding": "identity"}
            request = urllib.request.Request(gateway + self.path, headers=plain)
            try:
                with opener.open(request, timeout=30) as found:
                    return self.answer(found.status, found.headers.items(), found.read())
            except urllib.error.HTTPError as error:
                return self.answer(error.code, error.headers.items(), error.read())

        def answer(self, status: int, headers: object, body: bytes) -> None:
            answered.append(status)
            self.send_response_only(status)
            for name, value in headers:  # type: ignore[attr-defined]
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    opener = urllib.request.build_opener(NoRedirects())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", answered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object) -> None:
        return None


@contextlib.contextmanager
def replay(archives: list[Path]) -> Iterator[str]:
    process = subprocess.Popen(
        command("replay", *archives, "--port", 0), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            yield process.stdout.readline().split()[1]
    finally:
        process.terminate()
        process.wait(30)


def found_in(folders: list[Path], extra: str = "") -> list[str]:
    """Where a planted secret stands, in any of its forms."""
    secrets = [*PLANTED.values(), *(quote(secret, safe="") for secret in PLANTED.values())]
    forms = {secret.encode() for secret in secrets}
    forms.add(base64.b64encode(f"reader:{PASSWORD}".encode()))
    places = [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]
    return places + ["output" for form in forms if form in extra.encode()]


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret(tiny_store, tmp_path: Path) -> None:
    """A crawl through a gateway with a password, a training, scores and a card; then a failure."""
    web = next((tiny_store[0] / "demo-web").iterdir())
    store, work = tmp_path / "runs", tmp_path / "work"
    work.mkdir()
    dumps = sorted((web / "submissions").iterdir())
    arguments = ["run", "--profile", TINY, "--store", store, "--submissions", *dumps, "--debug"]
    arguments += ["--log-json", work / "log.jsonl", "--metrics-file", work / "run.prom"]
    env = environment(None) | PLANTED | {"PYTHONPATH": str(ROOT), "TMPDIR": str(work)}
    with replay(sorted((web / "web").iterdir())) as gateway, door(gateway) as (host, answered):
        address = f"http://reader:${{GATEWAY_DOOR}}@{host}"
        done = run([*arguments, "--gateway", address], env)
        assert done.returncode == 0, done.stderr
        assert 401 not in answered
        assert len(answered) > 70
        # The archive's address is no part of what was fetched, and its password even less.
        mine, theirs = (
            {label.partition("/")[0]: files for label, files in digests(each).items()}
            for each in (store, tiny_store[0])
        )
        assert mine["shards"] == theirs["shards"]
    # The gateway is gone now: its address is in the error.
    changes = ("--set", "crawl.retries=0", "--set", "crawl.max_body_bytes=99999")
    failed = run([*arguments, "--gateway", address, *changes], env)
    assert failed.returncode == 1
    assert "gateway" in failed.stderr
    manifest = next(store.glob("captures/*/manifest.json")).read_text()
    assert "${GATEWAY_DOOR}" in manifest
    told = done.stdout + done.stderr + failed.stdout + failed.stderr
    assert found_in([store, work], told) == []
    assert found_in([make_leak(tmp_path)]) != []  # the search can find


def make_leak(folder: Path) -> Path:
    leak = folder / "leak"
    leak.mkdir()
    (leak / "log").write_text(f"http://reader:{quote(PASSWORD, safe='')}@host/")
    return leak


def run(arguments: list[object], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=600, cwd=ROOT, env=env
    )


@pytest.mark.slow
def test_a_prefect_block_holds_what_a_setting_refers_to(shared_api: str, tmp_path: Path) -> None:
    """The value reaches the child processes of a run, and nothing that it writes."""
    env = environment(shared_api)
    env |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}
    save = (
        "from prefect.blocks.system import Secret; import os;"
        "Secret(value=os.environ['VALUE']).save('gateway-door', overwrite=True)"
    )
    subprocess.run([sys.executable, "-c", save], env=env | {"VALUE": PASSWORD}, check=True)
    store = tmp_path / "runs"
    program = f"""
import os, sys
from flows.profile import load_profile
from flows.session import session
changes = ["runtime.store='{store}'", "runtime.secrets={{GATEWAY_DOOR='gateway-door'}}"]
with session("corpus", load_profile({str(TINY)!r}, changes)):
    sys.exit(os.environ["GATEWAY_DOOR"] != os.environ["WANTED"])
"""
    done = python(program, env | {"WANTED": PASSWORD})
    assert done.returncode == 0, done.stderr
    assert found_in([store]) == []
    assert os.environ.get("GATEWAY_DOOR") is None
    missing = program.replace("gateway-door", "no-such-block")
    done = python(missing, env)
    assert "Prefect has no secret block 'no-such-block' for GATEWAY_DOOR" in done.stderr


def python(program: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, env=env)
