"""Artifacts taken over from another store: the equal one alone, and only while it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import CorruptArtifact
from infra.store import Artifact, Store, verify_artifact
from infra.taken import take_over
from tests.infra.test_store import made


def wanted(root: Path, config: dict) -> tuple[Store, Artifact]:
    store = Store(root)
    return store, store.artifact("captures", 1, "again", config, [])


def test_the_equal_one_is_taken_with_its_manifest(tmp_path: Path) -> None:
    there = Store(tmp_path / "there")
    other, one = made(there, "captures", {"a": 1}), made(there, "captures", {"a": 2})
    store, artifact = wanted(tmp_path / "here", {"a": 2})
    with store.writing(artifact, "run-2"):
        assert not take_over(artifact, [other.path])
        assert not artifact.is_finished
        assert take_over(artifact, [other.path, one.path])
    assert artifact.manifest() == one.manifest()
    assert verify_artifact(artifact.path) == []
    assert not artifact.work.exists()


def test_one_that_was_changed_is_refused(tmp_path: Path) -> None:
    one = made(Store(tmp_path / "there"), "captures", {"a": 2})
    (one.path / "table.txt").write_text("other")
    store, artifact = wanted(tmp_path / "here", {"a": 2})
    with (
        pytest.raises(CorruptArtifact, match="table.txt is not what its manifest says"),
        store.writing(artifact, "run-2"),
    ):
        take_over(artifact, [one.path])
    assert not artifact.is_finished
