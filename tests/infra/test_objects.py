"""Requests to object storage: tried again, checked, on conditions; on a real S3 API server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.errors import CorruptArtifact, StoreError, StoreUnreachable
from infra.objects import BLOCK_BYTES, Objects
from tests.faulty_proxy import Plan, Proxy, faulty
from tests.s3_server import BUCKET, KEYS, S3

pytest.importorskip("obstore")


@pytest.fixture
def through(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Plan], tuple]]:
    """Opens the store through a proxy with a plan of faults."""
    opened: list = []

    def open_(plan: Plan, timeout_s: float = 0.5) -> tuple[Objects, Proxy]:
        proxy = faulty(s3.url, plan)
        opened.append(proxy)
        running = proxy.__enter__()
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": running.url}).items():
            monkeypatch.setenv(name, value)
        return Objects(f"s3://{BUCKET}/objects-{os.urandom(3).hex()}", timeout_s), running

    yield open_
    for proxy in opened:
        proxy.__exit__(None, None, None)


def once(fault: str, method: str, times: int = 1) -> Plan:
    """The fault at the first requests of a method."""
    left = [times]

    def plan(asked: str, _path: str) -> str | None:
        if asked == method and left[0]:
            left[0] -= 1
            return fault
        return None

    return plan


def write(path: Path, size: int) -> str:
    content = os.urandom(1 << 16) * (size // (1 << 16)) + os.urandom(size % (1 << 16))
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("fault", ["refused", "dropped", "truncated", "stalled"])
def test_a_faulty_read_is_tried_again_and_counted(through, tmp_path: Path, fault: str) -> None:
    objects, proxy = through(once(fault, "GET", times=2))
    digest = write(tmp_path / "file", 300_000)
    objects.upload(tmp_path / "file", "a/file", digest)
    objects.download("a/file", 300_000, digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()
    assert proxy.faults[fault] == 2
    assert objects.requests["retries"] == 2


@pytest.mark.parametrize("fault", ["refused", "dropped", "lost"])
def test_a_faulty_write_is_tried_again(through, tmp_path: Path, fault: str) -> None:
    objects, proxy = through(once(fault, "PUT"))
    objects.put("a/note", b"text")
    assert objects.get("a/note").content == b"text"
    assert (proxy.faults[fault], objects.requests["retries"]) == (1, 1)


def test_a_large_file_goes_in_parts_and_comes_in_ranges(through, tmp_path: Path) -> None:
    size = 2 * BLOCK_BYTES + 12345
    objects, proxy = through(once("refused", "PUT"))
    digest = write(tmp_path / "file", size)
    objects.upload(tmp_path / "file", "a/file", digest)
    proxy.plan = once("truncated", "GET")
    objects.download("a/file", size, digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()
    assert objects.requests["retries"] == 1, "one range was read again, not the file"
    assert objects.difference(tmp_path / "file", "a/file") is None
    assert proxy.faults == {"refused": 1, "truncated": 1}


def test_what_has_other_bytes_is_refused(through, tmp_path: Path) -> None:
    objects, _proxy = through(lambda *_: None)
    digest = write(tmp_path / "file", 1000)
    objects.upload(tmp_path / "file", "a/file", digest)
    objects.put("a/file", b"\0" * 1000)
    with pytest.raises(CorruptArtifact, match=r"a/file has other bytes than its manifest says"):
        objects.download("a/file", 1000, digest, tmp_path / "copy")
    assert "other bytes" in objects.difference(tmp_path / "file", "a/file")
    with pytest.raises(CorruptArtifact, match="is missing"):
        objects.download("a/other", 1000, digest, tmp_path / "copy")


def test_an_upload_that_storage_changed_is_not_believed(through, tmp_path: Path) -> None:
    """The tag says that it is another file: it is read back, and its bytes decide."""
    objects, _proxy = through(lambda *_: None)
    (tmp_path / "file").write_bytes(b"what was meant")
    wrong = hashlib.sha256(b"what is there").hexdigest()
    objects.upload(tmp_path / "file", "a", hashlib.sha256(b"what was meant").hexdigest())
    objects.put("a", b"what is there!")
    with pytest.raises(CorruptArtifact):
        objects._check_upload(tmp_path / "file", "a", wrong, BLOCK_BYTES)


def test_conditions_hold_and_a_lost_answer_is_recognised(through) -> None:
    objects, proxy = through(lambda *_: None)
    first = objects.put_if("lease", b"mine", None)
    assert first is not None
    assert objects.put_if("lease", b"theirs", None) is None
    assert objects.put_if("lease", b"theirs", '"0123"') is None
    proxy.plan = once("lost", "PUT")
    second = objects.put_if("lease", b"mine again", first)
    assert second is not None, "the write was done; its answer was lost"
    assert objects.get("lease", unless=second).is_same
    assert objects.put_if("lease", b"late", first) is None


def test_storage_that_ignores_conditions_is_named(through) -> None:
    objects, _proxy = through(lambda method, _path: "heedless" if method == "PUT" else None)
    with pytest.raises(StoreError, match="does not write under a condition"):
        objects.check_conditions(".probes/1")


def test_a_missing_bucket_and_a_silent_server_are_named(
    through, monkeypatch: pytest.MonkeyPatch
) -> None:
    through(lambda *_: None)
    with pytest.raises(StoreError, match="there is no bucket for s3://nobody/x"):
        Objects("s3://nobody/x").check_conditions("probe")
    monkeypatch.setattr("infra.objects._FIRST_PAUSE_S", 0.01)
    objects, proxy = through(lambda *_: "refused")
    with pytest.raises(StoreUnreachable, match="after 8 tries"):
        objects.get("a")
    assert proxy.faults["refused"] == 8


def test_keys_are_listed_by_folder(through) -> None:
    objects, _proxy = through(lambda *_: None)
    for key in ("links/a/x", "links/b/x", "runs/1.json"):
        objects.put(key, b"")
    assert objects.folders("") == ["links", "runs"]
    assert objects.folders("links") == ["a", "b"]
    objects.copy("links/a/x", "links/c/x")
    objects.delete(["links/a/x", "links/never"])
    assert objects.keys("links") == ["links/b/x", "links/c/x"]
