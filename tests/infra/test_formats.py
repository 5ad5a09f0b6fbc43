"""Manifests and records of other versions of the project: said so, and left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import CorruptArtifact, OtherFormat
from infra.garbage import find_garbage
from infra.manifest import MANIFEST_NAME, Manifest
from infra.part_keys import find_donors
from infra.runs import read_runs
from infra.store import Artifact, Store
from tests.infra.test_garbage import recorded
from tests.infra.test_store import made


def rewritten(artifact: Artifact, **changes: object) -> Path:
    path = artifact.path / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    ("number", "told"), [(2, "a newer.*or upgrade this one"), (0, "an older.*Use that version")]
)
def test_another_format_is_told_and_nothing_removed(tmp_path: Path, number: int, told: str) -> None:
    store = Store(tmp_path)
    artifact = made(store)
    path = rewritten(artifact, format=number, something_new=1)
    with pytest.raises(OtherFormat, match=told) as refused:
        Manifest.read(artifact.path)
    assert "remove" not in str(refused.value)
    assert find_garbage(store, 1) == []
    assert find_donors(path.parent.parent, ["key"]) == {}


def test_a_manifest_that_is_none_is_garbage_as_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rewritten(made(store), name=7)
    assert [piece.reason for piece in find_garbage(store, 1)] == ["its manifest cannot be read"]
    with pytest.raises(CorruptArtifact, match="remove the folder"):
        Manifest.read(store.folders()[0])


def test_a_manifest_without_packages_in_its_identity_reads_and_writes_as_ever(
    tmp_path: Path,
) -> None:
    artifact = made(Store(tmp_path))
    text = (artifact.path / MANIFEST_NAME).read_text()
    assert "packages" not in json.loads(text)["identity"]
    assert Manifest.read(artifact.path).identity.packages == {}


def test_a_newer_runs_record_still_keeps_what_it_uses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = made(store)
    path = tmp_path / "runs" / f"{recorded(store, [artifact.label])}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "something_new": 1}))
    assert len(read_runs(tmp_path)) == 1
    assert find_garbage(store, 1) == []
