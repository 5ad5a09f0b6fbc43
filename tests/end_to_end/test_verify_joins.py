"""The joins part of `webtext verify`: whatever is taken from a whole store is missed by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from infra.lineage_build import Library
from infra.lineage_joins import check_joins
from infra.lineage_ledger import check_inputs, check_ledger
from infra.lineage_training import check_models
from infra.store import Store
from tests.end_to_end.conftest import Ended

STRANGER = b"\x77" * 16


@pytest.fixture(scope="module")
def store(tiny_store: tuple[Path, Ended], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run's store, which each test leaves as it found it."""
    copied = tmp_path_factory.mktemp("joins") / "runs"
    shutil.copytree(tiny_store[0], copied, ignore=shutil.ignore_patterns("prefect", "index"))
    return copied


@contextmanager
def changed(path: Path) -> Iterator[None]:
    whole = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(whole)


def problems(store: Path) -> list[str]:
    library = Library(Store(store))
    [build] = library.builds
    return [
        *check_inputs(library),
        *check_ledger(build),
        *check_joins(build),
        *check_models(library, build),
    ]


def change_row(row: int, **values: object) -> Callable[[list[dict]], list[dict]]:
    return lambda rows: [
        {**each, **(values if number == row else {})} for number, each in enumerate(rows)
    ]


def without_first(rows: list[dict]) -> list[dict]:
    return rows[1:]


def twice(rows: list[dict]) -> list[dict]:
    return [rows[0], *rows]


def longer(rows: list[dict]) -> list[dict]:
    return [{**rows[0], "length": rows[0]["length"] + 1}, *rows[1:]]


def other_submission(rows: list[dict]) -> list[dict]:
    post = {**rows[0]["submissions"][0], "id": "zzzzzz"}
    return [{**rows[0], "submissions": [post, *rows[0]["submissions"][1:]]}, *rows[1:]]


def beyond_the_file(rows: list[dict]) -> list[dict]:
    return [{**row, "warc_offset": (row["warc_offset"] or 0) + 10**9} for row in rows]


CASES = [
    ("links", "links/part-00000.parquet", without_first, "1 without a link"),
    ("links", "links/part-00000.parquet", lambda rows: rows[::-1], "is not sorted by link_id"),
    ("links", "links/part-00001.parquet", other_submission, "does not have: zzzzzz of"),
    ("captures", "captures/part-00000.parquet", without_first, "1 missing that are a link"),
    ("captures", "captures/part-00001.parquet", twice, "a link is there twice"),
    ("captures", "captures/part-00001.parquet", beyond_the_file, "a record of warc/part-00001"),
    ("captures", "captures/part-00000.parquet", change_row(0, outcome="timeout"), "'timeout': 1"),
    ("pages", "pages/part-00000.parquet", without_first, "1 missing that are an ok capture"),
    ("pages", "pages/part-00000.parquet", change_row(0, link_id=STRANGER), "without an ok capture"),
    ("documents", "documents/part-00001.parquet", without_first, "1 missing that are a page"),
    ("documents", "rejected/part-00001.parquet", without_first, "1 missing that are a page"),
    ("documents", "rejected/part-00001.parquet", change_row(0, reason="shy"), "'shy': 1"),
    ("duplicates", "duplicates/duplicates.parquet", without_first, "a document that was kept"),
    (
        "duplicates",
        "duplicates/duplicates.parquet",
        change_row(0, survivor_link_id=STRANGER),
        f"neither of this build nor of an earlier one: {STRANGER.hex()}",
    ),
    (
        "duplicates",
        "duplicates/duplicates.parquet",
        change_row(0, link_id=STRANGER),
        f"1 that are no documents: {STRANGER.hex()}",
    ),
    ("corpus", "train/part-00001.parquet", without_first, "missing that are a document that was"),
    ("shards", "spans/part-00001.parquet", without_first, "missing that are a document of the"),
    ("shards", "spans/part-00001.parquet", longer, "tokens in the shards"),
    ("shards", "spans/part-00001.parquet", change_row(0, start=1), "has no span for its tokens"),
    ("shards", "spans/part-00001.parquet", change_row(0, document_start=5), "do not follow one"),
]  # fmt: skip


def test_a_whole_store_has_no_problem(store: Path) -> None:
    assert problems(store) == []


@pytest.mark.parametrize(("artifact", "table", "change", "told"), CASES)
def test_a_broken_join_is_told_with_its_key(
    store: Path, artifact: str, table: str, change: Callable[[list[dict]], list[dict]], told: str
) -> None:
    path = Store(store).find(artifact).path / table
    with changed(path):
        whole = pq.read_table(path)
        broken = pa.Table.from_pylist(change(whole.to_pylist()), schema=whole.schema)
        pq.write_table(broken, path)
        found = problems(store)
    assert any(told in problem for problem in found), found
    assert problems(store) == []


def change_counts(manifest: dict) -> None:
    manifest["counts"]["rows_out"] += 1


def change_partition(manifest: dict) -> None:
    manifest["partitions"][0]["rows_in"] += 1


def change_both(manifest: dict) -> None:
    """The stage's own books still balance; what the next stage read gives it away."""
    for counts in (manifest["counts"], manifest["partitions"][0]):
        counts["rows_in"] += 1
        counts["losses"]["nobody"] = counts["losses"].get("nobody", 0) + 1


def change_table(manifest: dict) -> None:
    for counts in (manifest["counts"], manifest["partitions"][0]):
        counts["rows_in"] += 1
        counts["rows_out"] += 1


@pytest.mark.parametrize(
    ("artifact", "change", "told"),
    [
        ("links", change_counts, "rows in, but"),
        ("documents", change_partition, "partitions' counts are not those of the whole"),
        ("captures", change_both, "rows through, captures/"),
        ("pages", change_table, "its tables hold"),
    ],
)
def test_books_that_do_not_balance_are_told(
    store: Path, artifact: str, change: Callable[[dict], None], told: str
) -> None:
    path = Store(store).find(artifact).path / "manifest.json"
    with changed(path):
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        assert any(told in problem for problem in problems(store))


def test_models_and_scores_are_of_what_they_say(store: Path) -> None:
    opened = Store(store)
    training = opened.find("model").path / "training.json"
    losses = training.with_name("losses.jsonl")
    scores = next((store / "scores").glob("*lambada*"))
    with changed(training), changed(losses), changed(scores / "items.parquet"):
        record = json.loads(training.read_text())
        training.write_text(json.dumps({**record, "shards": "0" * 64, "train_sequences": 1}))
        losses.write_text("".join(losses.read_text().splitlines(keepends=True)[1:]))
        items = pq.read_table(scores / "items.parquet")
        pq.write_table(items.filter(pc.greater(items["item"], 0)), scores / "items.parquet")
        found = problems(store)
    for told in ("other shards than", "trained on 1 sequences", "losses.jsonl", "stands on"):
        assert any(told in problem for problem in found), (told, found)


def test_the_command_checks_files_and_joins(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--store", str(store)]) == 0
    assert "joins     shards/tiny-" in capfd.readouterr().err
    # What a kill leaves is no artifact yet, and breaks nothing.
    (store / "pages" / "tiny-000000000000" / ".work").mkdir(parents=True)
    assert main(["verify", "--store", str(store)]) == 0
    assert "unfinished pages/tiny-000000000000" in capfd.readouterr().err
    shutil.rmtree(store / "pages" / "tiny-000000000000")
    spans = Store(store).find("shards").path / "spans" / "part-00000.parquet"
    with changed(spans):
        pq.write_table(pq.read_table(spans).slice(1), spans)
        assert main(["verify", "--store", str(store), "shards"]) == 1
        told = capfd.readouterr().err
        assert "CORRUPT" in told
        assert "WRONG      joins" in told
        assert main(["verify", "--store", str(store), "fidelity"]) == 0


def test_an_artifact_whose_source_is_gone_is_told(store: Path) -> None:
    pages = Store(store).find("pages").path
    away = pages.parent.parent / "away"
    pages.rename(away)
    try:
        told = list(check_inputs(Library(Store(store))))
    finally:
        away.rename(pages)
    assert any("which is no longer in the store" in problem for problem in told)
