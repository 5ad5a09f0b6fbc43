"""Garbage and lineage: what reaches what."""

import os
from pathlib import Path

from infra.files import write_atomic
from infra.garbage import find_garbage, remove
from infra.lineage import upstream
from infra.manifest import InputRecord
from infra.runs import Use, new_run, read_runs, write_run
from infra.store import Store
from tests.infra.test_store import made


def recorded(
    store: Store, labels: list[str], state: str = "finished", flow: str = "pipeline"
) -> str:
    run = new_run(flow, "demo", os.getpid())
    run.state = state
    run.uses = [Use(artifact=label, how="made", seconds=1.0) for label in labels]
    write_run(store.root, run)
    return run.run_id


def test_what_no_kept_run_reaches_is_garbage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    links = made(store)
    old = made(store, "shards", {"old": 1}, [links.as_input("links")])
    new = made(store, "shards", {"new": 1}, [links.as_input("links")])
    older_run = recorded(store, [old.label])
    # Run ids hold the second; the random ending decides within one.
    newer = new_run("pipeline", "demo", os.getpid())
    newer.run_id = "9" + newer.run_id[1:]
    newer.state = "finished"
    newer.uses = [Use(artifact=new.label, how="made", seconds=1.0)]
    write_run(tmp_path, newer)
    garbage = {piece.path.name for piece in find_garbage(store, 1)}
    assert garbage == {old.path.name, f"{older_run}.json"}
    assert find_garbage(store, 2) == []
    for piece in find_garbage(store, 1):
        remove(piece)
    assert not old.path.exists()
    assert new.is_finished
    assert links.is_finished
    assert [run.run_id for run in read_runs(tmp_path)] == [newer.run_id]


def test_unfinished_work_is_garbage_only_without_a_live_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.artifact("links", 1, "demo", {}, [])
    with store.writing(artifact, "run-1"):
        (artifact.work / "part").write_text("x")
        assert find_garbage(store, 1) == []
    [piece] = find_garbage(store, 1)
    assert "unfinished" in piece.reason


def test_an_older_runs_estimate_and_report_go_with_its_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(2):
        run = new_run("corpus", "demo", 1)
        run.run_id, run.state = f"2026112{number}-000000-abcdef", "finished"
        write_run(tmp_path, run)
        write_atomic(tmp_path / "plans" / f"{run.run_id}.json", b"{}")
        write_atomic(tmp_path / "reports" / f"{run.run_id}.html", b"")
    write_atomic(tmp_path / "reports" / "trace-0123.html", b"")
    garbage = find_garbage(store, keep_runs=1)
    names = [str(piece.path.relative_to(tmp_path)) for piece in garbage]
    assert names == [
        *(f"{kind}/20261120-000000-abcdef.json" for kind in ("runs", "plans")),
        "reports/20261120-000000-abcdef.html",
        "reports/trace-0123.html",
    ]
    for piece in garbage:
        remove(piece)
    assert [path.name for path in (tmp_path / "plans").iterdir()] == ["20261121-000000-abcdef.json"]


def test_a_running_run_keeps_what_it_uses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    links = made(store)
    recorded(store, [links.label], state="running")
    assert find_garbage(store, 0) == []


def test_lineage_is_the_tree_of_the_manifests(tmp_path: Path) -> None:
    store = Store(tmp_path)
    dump = InputRecord(role="dump", kind="file", name="RS.zst", fingerprint="d" * 64, bytes=1)
    links = made(store, inputs=[dump])
    captures = made(store, "captures", inputs=[links.as_input("links")])
    documents = made(
        store,
        "documents",
        inputs=[captures.as_input("captures"), links.as_input("links")],
    )
    node = upstream(store, documents)
    assert [parent.name for parent in node.parents] == [captures.label, links.label]
    assert node.parents[0].parents[0].parents[0].name == "RS.zst"
    value = node.as_dict(with_maker=False)
    assert value["made_from"][1]["role"] == "links"
    assert "run_id" not in value
    remove_folder = captures.path
    for path in sorted(remove_folder.rglob("*"), reverse=True):
        path.unlink()
    assert upstream(store, documents).parents[0].kind == "missing"


def test_an_index_goes_with_its_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    links = made(store)
    recorded(store, [links.label])
    kept = tmp_path / "index" / f"links-{links.fingerprint[:12]}"
    stale = tmp_path / "index" / "links-0123456789ab"
    for folder in (kept, stale):
        write_atomic(folder / "keys.npy", b"x")
    [piece] = find_garbage(store, 1)
    assert piece.path == stale
    remove(piece)
    assert kept.is_dir()
    assert not stale.exists()
