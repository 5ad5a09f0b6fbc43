"""The artifact store: identity, finishing, verification, finding, leases."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.canonical import canonical_json, fingerprint
from infra.errors import CorruptArtifact, LeaseHeld, StoreError
from infra.lease import lease, read_holder
from infra.manifest import MANIFEST_NAME, InputRecord
from infra.parts import describe_file
from infra.store import Artifact, Store, require_sizes, verify_artifact

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def made(
    store: Store,
    stage: str = "links",
    config: dict | None = None,
    inputs: list[InputRecord] | None = None,
    content: str = "rows",
) -> Artifact:
    artifact = store.artifact(stage, 1, "demo", config or {}, inputs or [])
    with store.writing(artifact, "run-1"):
        (artifact.path / "table.txt").write_text(content)
        store.finish(
            artifact,
            files=[describe_file(artifact.path, Path("table.txt"))],
            counts={"rows_in": 2, "rows_out": 1, "losses": {"x": 1}, "facts": {}},
            partitions=[],
            measurements={"seconds": 1.0},
            run_id="run-1",
            prefect_flow_run_id=None,
            started_at="2026-01-01T00:00:00+00:00",
        )
    return artifact


@given(st.dictionaries(st.text(), JSON))
def test_fingerprints_ignore_the_order_of_keys_and_survive_json(value: dict) -> None:
    backwards = dict(reversed(list(value.items())))
    assert fingerprint(value) == fingerprint(backwards)
    assert fingerprint(value) == fingerprint(json.loads(canonical_json(value)))


def test_identity_is_stage_version_config_and_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = InputRecord(role="dump", kind="file", name="a.zst", fingerprint="f" * 64, bytes=3)
    base = store.artifact("links", 1, "demo", {"min_karma": 3}, [file])
    renamed = file.model_copy(update={"name": "elsewhere/b.zst"})
    assert store.artifact("links", 1, "demo", {"min_karma": 3}, [renamed]).path == base.path
    others = [
        store.artifact("links", 2, "demo", {"min_karma": 3}, [file]),
        store.artifact("links", 1, "demo", {"min_karma": 4}, [file]),
        store.artifact("links", 1, "demo", {"min_karma": 3}, []),
        store.artifact(
            "links",
            1,
            "demo",
            {"min_karma": 3},
            [file.model_copy(update={"fingerprint": "0" * 64})],
        ),
        store.artifact(
            "links", 1, "demo", {"min_karma": 3}, [file.model_copy(update={"role": "replay"})]
        ),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_an_artifact_is_finished_by_its_manifest_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.artifact("links", 1, "demo", {}, [])
    with store.writing(artifact, "run-1"):
        assert not artifact.is_finished
        assert store.finished() == []
    artifact = made(store)
    assert artifact.is_finished
    assert not artifact.work.exists()
    assert [found.label for found in store.finished()] == [artifact.label]
    manifest = artifact.manifest()
    assert manifest.counts["losses"] == {"x": 1}
    assert manifest.maker.run_id == "run-1"
    assert manifest.fingerprint == artifact.fingerprint


@pytest.mark.parametrize("damage", ["missing", "longer", "changed", "stranger"])
def test_verify_names_every_file_that_is_not_as_it_was_made(tmp_path: Path, damage: str) -> None:
    artifact = made(Store(tmp_path))
    assert verify_artifact(artifact.path) == []
    table = artifact.path / "table.txt"
    if damage == "missing":
        table.unlink()
    elif damage == "longer":
        table.write_text("rows and more")
    elif damage == "changed":
        table.write_text("ROWS")
    else:
        table = artifact.path / "stranger.txt"
        table.write_text("?")
    [problem] = verify_artifact(artifact.path)
    assert str(table) in problem


def test_reuse_checks_sizes(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    require_sizes(artifact)
    (artifact.path / "table.txt").write_text("truncat")
    with pytest.raises(CorruptArtifact, match=r"table.txt has 7 bytes.*remove the folder"):
        require_sizes(artifact)


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    path = artifact.path / MANIFEST_NAME
    whole = path.read_text()
    path.write_text(whole.replace('"version": 1', '"version": 7'))
    with pytest.raises(CorruptArtifact, match="was changed"):
        artifact.manifest()
    path.write_text(whole[:-20])
    with pytest.raises(CorruptArtifact, match="cannot be read as a manifest"):
        artifact.manifest()


def test_find_understands_what_people_write(tmp_path: Path) -> None:
    store = Store(tmp_path)
    links, other = made(store), made(store, config={"a": 1})
    shards = made(store, "shards")
    for reference in (
        shards.label,
        "shards",
        shards.fingerprint,
        shards.fingerprint[:6],
        str(shards.path),
    ):
        assert store.find(reference).path == shards.path
    with pytest.raises(StoreError, match="may mean any of") as raised:
        store.find("links")
    assert links.label in str(raised.value)
    assert other.label in str(raised.value)
    with pytest.raises(StoreError, match="no finished artifact .* there are"):
        store.find("nothing")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(blocked / "store").prepare()


def test_one_live_writer_at_a_time(tmp_path: Path) -> None:
    work = tmp_path / ".work"
    with lease(work, "run-1"):
        with pytest.raises(LeaseHeld, match="run run-1"), lease(work, "run-2"):
            pass
        holder = read_holder(work)
        assert holder is not None
        assert holder.run_id == "run-1"
    assert read_holder(work) is None
    with lease(work, "run-2"):
        pass


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom infra.lease import lease\n"
        f"with lease(Path({str(tmp_path)!r}), 'dead'):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LeaseHeld), lease(tmp_path, "mine"):
        pass
    os.kill(holder.pid, 9)
    holder.wait()
    holder.stdout.close()
    began = time.monotonic()
    with lease(tmp_path, "mine"):
        assert time.monotonic() - began < 1


def test_a_lease_from_elsewhere_lapses_with_its_heartbeat(tmp_path: Path) -> None:
    with lease(tmp_path, "run-1"):
        held = json.loads((tmp_path / "lease.json").read_text())
    for age, free in ((0, False), (3600, True)):
        held.update(host="another-machine", beat_at=time.time() - age)
        (tmp_path / "lease.json").write_text(json.dumps(held))
        if free:
            with lease(tmp_path, "run-2"):
                pass
        else:
            with pytest.raises(LeaseHeld), lease(tmp_path, "run-2"):
                pass
