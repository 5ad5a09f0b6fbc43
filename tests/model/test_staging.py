"""Shards on a machine's own disk: whole, whatever happened to the copy; wrong sources are named."""

import hashlib
import json
from pathlib import Path

import pytest

from model.errors import ShardsError
from model.staging import stage_shards
from tests.model.nursery import Nursery
from tests.model.trainings import files_of, make_spec, write_shards


def seal(folder: Path, fingerprint: str = "f" * 64) -> Path:
    """A shards artifact of the store, with the manifest that the trainer reads."""
    files = [
        {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files_of(folder).items()
    ]
    record = {"fingerprint": fingerprint, "files": files}
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def test_a_copy_is_whole_and_copied_once(tmp_path: Path) -> None:
    source = seal(write_shards(tmp_path / "shards"))
    copy = stage_shards(source, tmp_path / "cache")
    assert copy.name == "f" * 64
    assert files_of(copy) == files_of(source)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.npy")}
    assert stage_shards(source, tmp_path / "cache") == copy
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.npy")} == before


@pytest.mark.parametrize("harm", ["torn", "flipped", "missing", "half-way"])
def test_a_copy_that_was_harmed_is_mended(tmp_path: Path, harm: str) -> None:
    source = seal(write_shards(tmp_path / "shards"))
    copy = stage_shards(source, tmp_path / "cache")
    path = copy / "train" / "shard-00002-000.npy"
    content = path.read_bytes()
    if harm == "torn":
        path.write_bytes(content[:-100])
    elif harm == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    if harm == "half-way":  # killed while it was copied
        path.with_name(f".{path.name}.partial").write_bytes(content[:50])
    assert stage_shards(source, tmp_path / "cache") == copy
    assert files_of(copy) == files_of(source)


def test_a_source_that_is_not_as_its_manifest_says(tmp_path: Path) -> None:
    source = seal(write_shards(tmp_path / "shards"))
    path = source / "train" / "shard-00002-000.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ShardsError, match=r"shard-00002-000.npy does not have the sha256"):
        stage_shards(source, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*shard-00002*"))


def test_only_artifacts_are_copied(tmp_path: Path) -> None:
    with pytest.raises(ShardsError, match="only a finished shards artifact"):
        stage_shards(write_shards(tmp_path / "shards"), tmp_path / "cache")


def test_a_training_on_a_copy(tmp_path: Path, nursery: Nursery) -> None:
    seal(write_shards(tmp_path / "shards"))
    calm = make_spec(tmp_path, "calm", steps=5)
    spec = make_spec(tmp_path, "staged", steps=5)
    spec = spec.model_copy(update={"shards_cache": tmp_path / "disk"})
    assert nursery.run(calm, 2) == nursery.run(spec, 2) == 0
    assert files_of(spec.destination) == files_of(calm.destination)
    assert (tmp_path / "disk" / ("f" * 64) / "train").is_dir()
