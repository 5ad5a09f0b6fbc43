"""The store in object storage: one writer, whole copies, parts that other machines find."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import infra.shared_lease
from infra.call import PartRecord
from infra.copies import clean_copies, copied_artifacts, is_sealed
from infra.errors import CorruptArtifact, LeaseHeld, LeaseLost, StoreError
from infra.lease import Holder, new_holder
from infra.needs import moved, needs_of
from infra.objects import Objects
from infra.parts import describe_file
from infra.place import folder_of, is_address, open_store, plain_address
from infra.runs import new_run
from infra.shared_lease import SharedLease, shared_lease
from infra.shared_store import SharedStore
from infra.store import Artifact
from tests.s3_server import BUCKET, KEYS, S3

pytest.importorskip("obstore")

Machine = Callable[[str], SharedStore]


@pytest.fixture
def machine(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Gives one address's store as the machine of a name has it: with copies of its own."""
    address = f"s3://{BUCKET}/store-{os.urandom(3).hex()}"
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": s3.url}).items():
        monkeypatch.setenv(name, value)

    def open_(name: str) -> SharedStore:
        store = SharedStore(tmp_path / name, Objects(address))
        store.prepare()
        return store

    return open_


def artifact_of(store: SharedStore, stage: str = "links", **config: int) -> Artifact:
    return store.artifact(stage, 1, "here", dict(config), [])


def make_part(store: SharedStore, artifact: Artifact, part: str, text: str) -> PartRecord:
    scratch = artifact.work / part
    path = Path("table") / f"{part}.txt"
    (scratch / path).parent.mkdir(parents=True, exist_ok=True)
    (scratch / path).write_text(text)
    record = PartRecord(
        files=(describe_file(scratch, path),),
        counts={"rows_out": len(text)},
        seconds=1.0,
        cpu_seconds=1.0,
    )
    store.publish_part(artifact.path, part, record)
    return record


def finish(store: SharedStore, artifact: Artifact, parts: list[str], **more: object) -> None:
    records = store.finished_parts(artifact, parts)
    store.finish(
        artifact,
        files=[file for part in parts for file in records[part].files],
        counts={},
        partitions=[records[part].counts for part in parts],
        measurements={},
        run_id="r",
        prefect_flow_run_id=None,
        started_at="2026-01-01T00:00:00+00:00",
        **more,
    )


def make_whole(store: SharedStore, stage: str = "links", **config: int) -> Artifact:
    artifact = artifact_of(store, stage, **config)
    with store.writing(artifact, "r"):
        for number in range(3):
            make_part(store, artifact, f"part-{number:05d}", f"{stage} {number} {config}")
        finish(store, artifact, [f"part-{number:05d}" for number in range(3)])
    return artifact


def test_another_machine_finds_what_one_has_made(machine: Machine) -> None:
    made = make_whole(machine("a"))
    other = machine("b")
    there = artifact_of(other)
    assert there.path != made.path
    assert not there.is_finished
    assert other.is_finished(there)
    assert [path.name for path in there.path.iterdir()] == ["manifest.json"], "files wait"
    other.bring(there.path, lambda path: "00001" in path)
    assert [path.name for path in (there.path / "table").iterdir()] == ["part-00001.txt"]
    assert other.find("links").fingerprint == made.fingerprint
    assert other.objects.keys(f"{made.label}/.work") == []
    assert other.check_stored(other.bring(there.path)) == []


def test_a_machine_goes_on_from_the_parts_of_another(machine: Machine) -> None:
    first, second = machine("a"), machine("b")
    artifact = artifact_of(first)
    with first.writing(artifact, "r1"):
        made = make_part(first, artifact, "part-00000", "zero")
    again = artifact_of(second)
    with second.writing(again, "r2"):
        parts = ["part-00000", "part-00001"]
        assert second.finished_parts(again, parts) == {"part-00000": made}
        make_part(second, again, "part-00001", "one")
        finish(second, again, parts)
    assert [file.path for file in again.manifest().files] == [
        "table/part-00000.txt",
        "table/part-00001.txt",
    ]
    assert (second.bring(again.path) / "table/part-00000.txt").read_text() == "zero"


def test_an_upload_without_its_record_is_no_part(machine: Machine) -> None:
    first = machine("a")
    artifact = artifact_of(first)
    first.objects.put(f"{artifact.label}/table/part-00000.txt", b"half of a pa")
    assert machine("b").finished_parts(artifact, ["part-00000"]) == {}


@pytest.mark.parametrize("harm", ["torn", "changed", "gone"])
def test_a_copy_that_is_not_whole_is_fetched_again(machine: Machine, harm: str) -> None:
    make_whole(machine("a"))
    there = machine("b")
    artifact = there.find("links")
    path = there.bring(artifact.path) / "table/part-00001.txt"
    whole = path.read_bytes()
    if harm == "torn":
        path.write_bytes(whole[:-1])
    elif harm == "changed":
        path.write_bytes(whole[:-1] + b"?")
    else:
        path.unlink()
    machine("b").bring(artifact.path)
    assert path.read_bytes() == whole
    assert all(is_sealed(artifact.path / file.path, file) for file in artifact.manifest().files)


def test_a_copy_that_was_only_touched_is_not_fetched_again(machine: Machine) -> None:
    store = machine("a")
    artifact = make_whole(store)
    os.utime(artifact.path / "table/part-00001.txt")
    before = store.objects.requests["bytes_down"]
    store.bring(artifact.path)
    assert store.objects.requests["bytes_down"] == before


def test_what_object_storage_lost_or_changed_is_told(machine: Machine) -> None:
    store = machine("a")
    artifact = make_whole(store)
    store.objects.delete([f"{artifact.label}/table/part-00002.txt"])
    store.objects.put(f"{artifact.label}/table/part-00001.txt", b"links 1 {!")
    other = machine("b")
    with pytest.raises(CorruptArtifact, match="its manifest"):
        other.bring(other.find("links").path)
    problems = store.check_stored(artifact.path)
    assert ["part-00001.txt has other bytes" in problems[0], len(problems)] == [True, 2]
    assert "part-00002.txt is missing" in problems[1]


def test_one_of_two_writers_wins_and_the_other_is_told_who(machine: Machine) -> None:
    first, second = machine("a"), machine("b")
    artifact, again = artifact_of(first), artifact_of(second)
    with first.writing(artifact, "run-one"):
        held = pytest.raises(LeaseHeld, match="run run-one .* is making s3://")
        with held, second.writing(again, "run-two"):
            raise AssertionError("two writers")
        holder = second.live_holder(again)
        assert holder is not None
        assert holder.run_id == "run-one"
    assert second.live_holder(again) is None
    with second.writing(again, "run-two"):
        pass


def test_of_many_at_once_one_wins(machine: Machine) -> None:
    stores = [machine(str(number)) for number in range(6)]
    won: list[str] = []
    ended, start = threading.Event(), threading.Barrier(len(stores))

    def contend(number: int) -> None:
        store = stores[number]
        start.wait()
        try:
            with store.writing(artifact_of(store), f"run-{number}"):
                won.append(f"run-{number}")
                ended.wait(5)
        except LeaseHeld:
            if len(won) == 1:
                ended.set()

    threads = [threading.Thread(target=contend, args=(n,)) for n in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def elsewhere(run: str, process: int = 1) -> Holder:
    return new_holder(run).model_copy(update={"host": "elsewhere", "process": process})


def test_a_lease_of_another_machine_lapses_and_its_holder_writes_no_more(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("a")
    artifact = artifact_of(store)
    key = f"{artifact.label}/.work/lease.json"
    holder = elsewhere("old")
    etag = store.objects.put_if(key, holder.model_dump_json().encode(), None)
    old = SharedLease(store.objects, key, holder, etag)
    with pytest.raises(LeaseHeld, match="run old"), store.writing(artifact, "new"):
        raise AssertionError("it is fresh")
    old.renew()
    old.check()
    monkeypatch.setattr(infra.shared_lease, "LAPSE_S", 0.0)
    time.sleep(1.1)  # object storage tells times by the second
    with shared_lease(store.objects, key, "new"):
        monkeypatch.setattr(infra.shared_lease, "LAPSE_S", 60.0)
        old.renew()
        with pytest.raises(LeaseLost, match="another run took it"):
            old.check()
        old.release()
        assert store.live_holder(artifact).run_id == "new", "the loser leaves it alone"


def test_a_dead_process_of_this_machine_holds_nothing(machine: Machine) -> None:
    store = machine("a")
    artifact = artifact_of(store)
    gone = new_holder("gone").model_copy(update={"process": 2**22 - 1, "process_start": "1"})
    key = f"{artifact.label}/.work/lease.json"
    store.objects.put(key, gone.model_dump_json().encode())
    with store.writing(artifact, "new"):
        assert store.live_holder(artifact).run_id == "new"


def test_a_part_is_lent_inside_object_storage(machine: Machine) -> None:
    store = machine("a")
    old = artifact_of(store, months=1)
    with store.writing(old, "r"):
        made = make_part(store, old, "part-00000", "zero")
        finish(store, old, ["part-00000"], part_keys={"part-00000": "k0"})
    other = machine("b")
    new = artifact_of(other, months=2)
    with other.writing(new, "r"):
        assert other.lend_parts(new, {"part-00000": "k0", "part-00001": "k1"}) == 1
        found = other.finished_parts(new, ["part-00000", "part-00001"])
    assert found["part-00000"].files == made.files
    assert other.objects.get(f"{new.label}/table/part-00000.txt").content == b"zero"
    assert other.objects.requests["bytes_down"] == 0


def test_run_records_and_removed_artifacts_are_seen_everywhere(machine: Machine) -> None:
    first, second = machine("a"), machine("b")
    artifact = make_whole(first)
    run = new_run("corpus", "tiny", os.getpid())
    run.state = "finished"
    first.record_run(run)
    assert [r.run_id for r in second.runs()] == [run.run_id]
    assert second.runs()[0].requests["requests"] > 10
    assert [f.name for f in second.folders()] == [artifact.path.name]
    first.discard(artifact.path)
    second._refreshed_at = None
    assert second.folders() == []
    assert first.objects.keys(artifact.label) == []


def test_a_list_that_two_machines_change_at_once_loses_nothing(machine: Machine) -> None:
    first, second = machine("a"), machine("b")
    with first.changing("removals.jsonl"):
        (first.root / "removals.jsonl").write_text("one\n")
    told = pytest.raises(StoreError, match="was changed meanwhile")
    with told, second.changing("removals.jsonl"), first.changing("removals.jsonl"):
        for store, line in ((first, "two\n"), (second, "three\n")):
            with (store.root / "removals.jsonl").open("a") as file:
                file.write(line)
    assert (machine("c").root / "removals.jsonl").read_text() == "one\ntwo\n"


def test_copies_make_room_oldest_first_and_never_under_a_run(machine: Machine) -> None:
    store = machine("a")
    old, new = make_whole(store, months=1), make_whole(store, months=2)
    os.utime(old.path / "manifest.json", (1, 1))
    unfinished = artifact_of(store, months=3)
    with store.writing(unfinished, "r"):
        make_part(store, unfinished, "part-00000", "zero")
    store.hold()
    with pytest.raises(StoreError, match="uses the copies"):
        clean_copies(store.root, 0)
    os.close(store._in_use)
    sizes = copied_artifacts(store.root)
    assert clean_copies(store.root, sum(sizes.values()) - 1) == sizes[old.path]
    assert list(copied_artifacts(store.root)) == [new.path]
    assert (unfinished.path / "table/part-00000.txt").is_file()
    assert (machine("a").bring(old.path) / "table/part-00000.txt").is_file()


def test_a_part_needs_its_own_partition_or_everything(tmp_path: Path) -> None:
    root = tmp_path
    label = "links/tiny-0123456789ab"
    card = {"captures": f"{root}/captures/tiny-0123456789ab", "scores/x": f"{root}/{label}"}
    arguments = {
        "links": f"{root}/{label}",
        "dump": f"{root}/{label}/submissions/RS.zst",
        "artifacts": card,
        "politeness": f"{root}/crawl-hosts.bin",
        "store": str(root),
        "elsewhere": "/links/tiny-0123456789ab",
    }
    own = needs_of(root, arguments, "part-00007", local=True)
    links = own.files[0]
    assert links.wants("links/part-00007.parquet")
    assert not links.wants("links/part-00008.parquet")
    assert links.wants("planted.json")
    assert [need.path for need in own.files] == [None, "submissions/RS.zst", None]
    assert own.with_lineage
    everything = needs_of(root, arguments, "part-00007", local=False, reads=("scores/*", "dump"))
    assert everything.files[0].manifest_alone
    by_role = {need.label: need for need in everything.files if need.path is None}
    assert not by_role["captures/tiny-0123456789ab"].wants("captures/part-00001.parquet")
    assert everything.files[1].wants("submissions/RS.zst")
    assert not everything.files[1].wants("submissions/RS.zst.other")
    there = moved(arguments, root, Path("/elsewhere"))
    assert there["dump"] == f"/elsewhere/{label}/submissions/RS.zst"
    assert there["artifacts"]["captures"] == "/elsewhere/captures/tiny-0123456789ab"
    assert (there["store"], there["elsewhere"]) == ("/elsewhere", "/links/tiny-0123456789ab")


def test_a_place_is_a_folder_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBTEXT_CACHE", str(tmp_path))
    assert folder_of("runs") == Path("runs")
    assert folder_of("s3://b/p/").parent == tmp_path
    assert folder_of("s3://b/p/") == folder_of("s3://b/p")
    assert folder_of("s3://b/p") != folder_of("s3://b/q")
    assert is_address("gs://b")
    assert not is_address(Path("s3:/b"))
    with pytest.raises(StoreError, match="holds credentials") as told:
        plain_address("s3://key:planted-secret@bucket/x")
    assert "planted-secret" not in str(told.value)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store("gopher://b/p")


def test_an_outside_file_goes_to_other_machines_once(machine: Machine, tmp_path: Path) -> None:
    store, other = machine("a"), machine("b")
    dump = tmp_path / "RS_2017-10.zst"
    dump.write_bytes(b"submissions")
    given = {"dump": str(dump), "lists": [str(dump)], "name": "RS_2017-10.zst", "gone": "/no/file"}
    arguments = store.with_sources(given)
    assert (arguments["name"], arguments["gone"]) == (given["name"], given["gone"])
    sent = store.objects.requests["bytes_up"]
    assert store.with_sources(given) == arguments
    assert machine("a").with_sources(given) == arguments
    assert store.objects.requests["bytes_up"] == sent == len(b"submissions")
    needs = needs_of(store.root, arguments, "dump-00000", local=False)
    other.bring_needs(needs)
    there = moved(arguments, store.root, other.root)
    assert Path(there["dump"]).read_bytes() == b"submissions"
    assert Path(there["dump"]).name == dump.name
