"""Checkpoints in object storage: a real S3 API on loopback, and a training that goes on from it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.config import TrainSpec
from model.copies import Remote, copied_checkpoints
from model.errors import CheckpointError
from model.launch import EXIT_MISTAKE, EXIT_STOPPED
from model.trace import read_steps
from tests.model.nursery import Nursery, wait_for_step
from tests.model.trainings import files_of, make_spec, run, start

pytest.importorskip("obstore", reason="needs the packages of the extra s3")
pytest.importorskip("moto", reason="needs moto's server")

KEYS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "unused",
    "AWS_REGION": "us-east-1",
}


@contextlib.contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                ask = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
                urllib.request.urlopen(ask, timeout=5).close()
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for name, value in (*KEYS.items(), ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")):
            monkeypatch.setenv(name, value)
        yield server.pid
    finally:
        server.kill()
        server.wait()


def copying(folder: Path, name: str, url: str, **changes: int) -> TrainSpec:
    spec = make_spec(folder, name, **changes)
    settings = spec.checkpoints.model_copy(update={"copy_to": url})
    return spec.model_copy(update={"checkpoints": settings})


@pytest.mark.slow
def test_a_training_goes_on_from_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch) as server:
        url = "s3://bucket/trainings/one"
        calm = copying(tmp_path, "calm", "s3://bucket/trainings/calm")
        assert run(calm)[0] == 0
        remote = Remote("s3://bucket/trainings/calm")
        assert copied_checkpoints(remote)[-1] == "step-00000020" == remote.read("latest")
        assert "step-00000006" in copied_checkpoints(remote)  # the milestone
        assert len(copied_checkpoints(remote)) <= 3

        lost = copying(tmp_path, "lost", url)
        child = start(lost)
        wait_for_step(lost, 9)
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=60)
        assert child.returncode in (0, EXIT_STOPPED), output
        remote = Remote(url)
        newest = remote.read("latest")
        assert int(newest.removeprefix("step-")) >= 8
        # The machine is gone; on another, a copy that was cut short lies beside the whole one.
        shutil.rmtree(lost.work.parent)
        bad = tmp_path / "half"
        bad.write_bytes(b"half a file")
        remote.upload(bad, "step-00000099/state-00000.safetensors")
        again = copying(tmp_path, "again", url)
        code, output = run(again)
        assert code == 0, output
        assert f"going on from the copy {url}/{newest}" in output
        assert files_of(again.destination) == files_of(calm.destination)

        # A copy with a flipped bit is passed over for the one before it.
        shutil.rmtree(again.work.parent)
        newest = remote.read("latest")
        name = f"{newest}/state-00000.safetensors"
        remote.download(name, tmp_path / "state")
        content = bytearray((tmp_path / "state").read_bytes())
        content[-1] ^= 1
        (tmp_path / "state").write_bytes(content)
        remote.upload(tmp_path / "state", name)
        code, output = run(again)
        assert code == 0, output
        assert f"the copy {url}/{newest} cannot be used" in output
        assert "going on from the copy" in output
        assert files_of(again.destination) == files_of(calm.destination)

        # Storage that hangs does not hold a stop up.
        os.kill(server, signal.SIGSTOP)
        try:
            blocked = copying(tmp_path, "blocked", "s3://bucket/blocked", steps=3000)
            child = start(blocked)
            time.sleep(8)  # it looks for copies to begin from
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=10)
            assert child.returncode == EXIT_STOPPED
        finally:
            os.kill(server, signal.SIGCONT)


def test_copies_are_whole_and_change_nothing(tmp_path: Path, nursery: Nursery) -> None:
    """A folder stands for storage."""
    url = f"file://{tmp_path}/far"
    calm = make_spec(tmp_path, "calm")
    assert nursery.run(calm) == 0
    spec = copying(tmp_path, "copied", url)
    assert nursery.run(spec) == 0
    assert files_of(spec.destination) == files_of(calm.destination)
    assert (tmp_path / "far" / "latest").read_text() == "step-00000020"
    assert not list((spec.work / "copying").iterdir())
    copy = files_of(tmp_path / "far" / "step-00000020")
    there = files_of(spec.work / "checkpoints" / "step-00000020")
    assert {name: copy[name] for name in there} == there
    assert len(read_steps(tmp_path / "far" / "step-00000020" / "logs" / "losses.jsonl")) == 20


@pytest.mark.slow
def test_storage_that_fails_costs_the_copy_alone(tmp_path: Path, nursery: Nursery) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "step-00000004").touch()  # no folder can be made there
    spec = copying(tmp_path, "run", f"file://{far}")
    assert nursery.run(spec) == 0
    assert (far / "latest").read_text() == "step-00000020"
    assert (far / "step-00000004").is_file()
    # There may be copies that cannot be read: nothing is trained anew unasked.
    again = copying(tmp_path, "unreachable", f"file://{far}/step-00000004/below")
    assert nursery.run(again) == EXIT_MISTAKE


def test_an_address_that_nothing_opens() -> None:
    with pytest.raises(CheckpointError, match="nonsense://there cannot be opened"):
        Remote("nonsense://there")
