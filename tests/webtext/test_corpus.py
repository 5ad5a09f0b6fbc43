"""The corpus is the documents less the duplicates, parted by cluster, and opens with datasets."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webtext.corpora import document_row, write_part
from webtext.corpus import CorpusConfig, is_validation, select_corpus_partition
from webtext.counts import Counts, silent
from webtext.errors import SourceError
from webtext.tables import DOCUMENTS, DUPLICATES, part_name, write_table


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def select(
    folder: Path,
    rows: list[dict],
    removed: list[tuple[int, int, str]],
    **config: object,
) -> tuple[Counts, list[dict], list[dict]]:
    documents = write_part(folder / "documents", "documents", rows, partition=2)
    duplicates = [
        {"link_id": key(lost), "survivor_link_id": key(kept), "kind": kind, "similarity": 1.0}
        for lost, kept, kind in sorted(removed)
    ]
    path = folder / "duplicates" / "duplicates" / "duplicates.parquet"
    write_table(path, pa.Table.from_pylist(duplicates, schema=DUPLICATES))
    counts = select_corpus_partition(
        documents=documents,
        duplicates=folder / "duplicates",
        partition=2,
        destination=folder / "out",
        config=CorpusConfig(**config),
        progress=silent,
    )
    splits = [pq.read_table(folder / "out" / s / part_name(2)) for s in ("train", "validation")]
    assert [split.schema for split in splits] == [DOCUMENTS, DOCUMENTS]
    return counts, splits[0].to_pylist(), splits[1].to_pylist()


def test_duplicates_go_and_the_rest_stays_as_it_was(tmp_path: Path) -> None:
    rows = [document_row(number, f"text {number}") for number in range(200)]
    removed = [(3, 5, "near"), (9, 5, "exact"), (10, 999, "exact"), (5000, 5, "near")]
    counts, train, validation = select(tmp_path, rows, removed, validation_share=0.2)
    expected = [row for row in rows if row["link_id"] not in {key(3), key(9), key(10)}]
    assert sorted(train + validation, key=lambda row: row["link_id"]) == expected
    assert train == sorted(train, key=lambda row: row["link_id"])
    assert 20 < len(validation) < 60
    assert counts.losses == {"exact_duplicate": 2, "near_duplicate": 1}
    assert counts.rows_out == 197
    assert counts.facts["train_documents"] == counts.facts["train_tokens"] == len(train)
    assert counts.facts["validation_documents"] == len(validation)


def test_the_split_depends_on_the_key_and_seed_alone(tmp_path: Path) -> None:
    rows = [document_row(number, "text") for number in range(100)]
    _, _, all_of_them = select(tmp_path / "a", rows, [], validation_share=0.3)
    _, _, half = select(tmp_path / "b", rows[::2], [], validation_share=0.3)
    kept = {row["link_id"] for row in rows[::2]}
    assert [row for row in all_of_them if row["link_id"] in kept] == half
    _, _, other = select(tmp_path / "c", rows, [], validation_share=0.3, split_seed=1)
    assert other != all_of_them
    assert is_validation(key(1), CorpusConfig(validation_share=0)) is False


@settings(deadline=None, max_examples=30)
@given(
    heads=st.lists(st.integers(0, 39), min_size=40, max_size=40),
    share=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
)
def test_a_cluster_lies_in_one_split(
    tmp_path_factory: pytest.TempPathFactory, heads: list[int], share: float, seed: int
) -> None:
    """Of a cluster its survivor alone is left, in the split that its own key decides."""
    folder = tmp_path_factory.mktemp("c")
    cluster = {number: min(head, number) for number, head in enumerate(heads)}
    survivor = {n: n if cluster[n] == n or cluster[cluster[n]] != cluster[n] else cluster[n]
                for n in cluster}  # fmt: skip
    removed = [(number, kept, "near") for number, kept in survivor.items() if kept != number]
    config = CorpusConfig(validation_share=share, split_seed=seed)
    rows = [document_row(number, "text") for number in cluster]
    _, train, validation = select(folder, rows, removed, validation_share=share, split_seed=seed)
    for split, held_out in ((train, False), (validation, True)):
        for row in split:
            assert is_validation(row["link_id"], config) is held_out
    left = [int.from_bytes(row["link_id"], "big") for row in train + validation]
    assert sorted(left) == sorted(set(survivor.values()))


def test_an_empty_partition_is_written(tmp_path: Path) -> None:
    counts, train, validation = select(tmp_path, [], [])
    assert (counts.rows_in, train, validation) == (0, [], [])
    assert counts.facts["train_tokens"] == 0


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"part-00000\.parquet"):
        select_corpus_partition(
            documents=tmp_path,
            duplicates=tmp_path,
            partition=0,
            destination=tmp_path,
            config=CorpusConfig(),
            progress=silent,
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_opens_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    from datasets import load_dataset

    rows = [document_row(number, f"text {number}") for number in range(50)]
    _, train, validation = select(tmp_path, rows, [], validation_share=0.3)
    loaded = load_dataset(
        "parquet",
        data_files={
            split: str(tmp_path / "out" / split / "*") for split in ("train", "validation")
        },
        cache_dir=str(tmp_path / "cache"),
    )
    assert list(loaded["train"]["text"]) == [row["text"] for row in train]
    assert list(loaded["validation"]["link_id"]) == [row["link_id"] for row in validation]
