"""Parts are lent between artifacts exactly where all that they are made from is equal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.manifest import FileRecord, Identity, InputRecord
from infra.part_keys import find_donors, lend_part, part_keys
from infra.parts import describe_file
from infra.store import Artifact, Store

PARTS = ("part-00000", "part-00001", "part-00002")


def file(path: str, content: str) -> FileRecord:
    return FileRecord(path=path, bytes=1, sha256=content.ljust(64, "0"))


def identity(**changes: object) -> Identity:
    given = {"stage": "documents", "version": 1, "config": {"a": 1}, "inputs": (), **changes}
    return Identity.model_validate(given)


def table(*contents: str) -> list[FileRecord]:
    return [file(f"pages/part-{n:05d}.parquet", content) for n, content in enumerate(contents)]


def keys(files: dict, *, local: bool = True, **changes: object) -> dict[str, str]:
    return part_keys(identity(**changes), PARTS, files, {}, local=local)


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [part for part in before if before[part] != after[part]]


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), st.integers(0, 2))
def test_a_changed_partition_changes_its_own_key_alone(contents: list[str], place: int) -> None:
    other = [*contents]
    other[place] = "d"
    before, after = keys({"pages": table(*contents)}), keys({"pages": table(*other)})
    assert changed(before, after) == [PARTS[place]]


def test_what_every_part_reads_changes_every_key() -> None:
    shared = [file("duplicates/duplicates.parquet", "a")]
    before = keys({"pages": table("a", "b", "c"), "duplicates": shared})
    assert len(set(before.values())) == 3
    for other in (
        keys({"pages": table("a", "b", "c"), "duplicates": [file(shared[0].path, "b")]}),
        keys({"pages": table("a", "b", "c"), "duplicates": shared}, config={"a": 2}),
        keys({"pages": table("a", "b", "c"), "duplicates": shared}, version=2),
        keys({"pages": table("a", "b", "c"), "other": shared}),
    ):
        assert changed(before, other) == list(PARTS)


def test_a_stage_that_looks_across_changes_as_a_whole() -> None:
    before = keys({"pages": table("a", "b", "c")}, local=False)
    after = keys({"pages": table("a", "b", "d")}, local=False)
    assert changed(before, after) == list(PARTS)


def test_an_empty_table_in_an_optional_role_is_none() -> None:
    def of(**roles: list[FileRecord]) -> dict[str, str]:
        return part_keys(identity(), PARTS, roles, {}, local=True, optional=("removals",))

    empty = [one.model_copy(update={"rows": 0}) for one in table("e", "e", "e")]
    filled = [*empty[:2], empty[2].model_copy(update={"rows": 1, "sha256": "f" * 64})]
    before = of(pages=table("a", "b", "c"))
    assert before == of(pages=table("a", "b", "c"), removals=empty)
    assert changed(before, of(pages=table("a", "b", "c"), removals=filled)) == [PARTS[2]]
    assert before != of(pages=table("a", "b", "c"), other=empty)


def test_shards_and_records_belong_to_their_partition() -> None:
    def files(content: str) -> dict:
        names = ("train/shard-00001-000.npy", "train/shard-00001-001.npy")
        return {"corpus": [file(names[0], "a"), file(names[1], content), file("x.json", "a")]}

    assert changed(keys(files("a")), keys(files("b"))) == ["part-00001"]


def test_a_dump_of_its_own_is_nobody_elses_matter() -> None:
    def of(*dumps: str) -> dict[str, str]:
        records = [
            InputRecord(role="dump", kind="file", name=name, fingerprint=name.ljust(64, "0"))
            for name in dumps
        ]
        lists = InputRecord(role="blocked", kind="file", name="x", fingerprint="f" * 64)
        parts = [f"dump-{number:05d}" for number in range(len(dumps))]
        own = {part: [record] for part, record in zip(parts, records, strict=True)}
        made_of = identity(inputs=(*records, lists))
        return part_keys(made_of, parts, {}, own, local=False)

    before, after = of("a", "b"), of("a", "c", "d")
    assert before["dump-00000"] == after["dump-00000"]
    assert before["dump-00001"] != after["dump-00001"]


def make(store: Store, config: dict, keys: dict[str, str], contents: dict[str, str]) -> Artifact:
    artifact = store.artifact("documents", 1, "demo", config, [])
    with store.writing(artifact, "run"):
        for name, content in contents.items():
            path = artifact.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        counts = {"rows_in": 1, "rows_out": 1, "losses": {}, "facts": {}}
        store.finish(
            artifact,
            files=[describe_file(artifact.path, Path(name)) for name in contents],
            counts=counts,
            partitions=[counts | {"facts": {"number": n}} for n in range(len(keys))],
            measurements={},
            part_keys=keys,
            run_id="run",
            prefect_flow_run_id=None,
            started_at="2026-01-01T00:00:00Z",
        )
    return artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def test_files_and_counts_are_lent(store: Store, tmp_path: Path) -> None:
    contents = {"rejected/part-00000.csv": "a", "t/part-00001.csv": "b", "u/part-00001.csv": "c"}
    donor = make(store, {}, {"part-00000": "k0", "part-00001": "k1"}, contents)
    found = find_donors(donor.path.parent, ["k1", "k9"])
    assert list(found) == ["k1"]
    record = lend_part(found["k1"], tmp_path / "scratch")
    assert sorted(file.path for file in record.files) == ["t/part-00001.csv", "u/part-00001.csv"]
    assert record.counts["facts"] == {"number": 1}
    assert (tmp_path / "scratch/u/part-00001.csv").read_text() == "c"
    assert (tmp_path / "scratch/u/part-00001.csv").samefile(donor.path / "u/part-00001.csv")


def test_a_donor_that_lost_a_file_lends_nothing(store: Store) -> None:
    donor = make(store, {}, {"part-00000": "k0", "part-00001": "k1"}, {"t/part-00001.csv": "b"})
    (donor.path / "t/part-00001.csv").write_text("longer than before")
    assert find_donors(donor.path.parent, ["k1"]) == {}


def test_files_of_no_part_lend_nothing(store: Store) -> None:
    contents = {"t/part-00001.csv": "b", "summary.json": "{}"}
    donor = make(store, {}, {"part-00000": "k0", "part-00001": "k1"}, contents)
    assert find_donors(donor.path.parent, ["k0", "k1"]) == {}
