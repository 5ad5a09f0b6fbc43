"""Lookups on a synthetic build of many partitions, and what they read of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import CorruptArtifact, StoreError
from infra.lineage_build import Build, Library
from infra.lineage_index import link_key, open_links, open_submissions, submission_key
from infra.lineage_joins import check_joins
from infra.lineage_ledger import check_inputs, check_ledger
from infra.lineage_tables import find_row, find_rows
from infra.lineage_trace import Tracer
from infra.lineage_training import check_models
from infra.store import Store
from tests.bench.lineage_store import Shape, fate_of, submission_id, url_of, write_store
from webtext.urls import link_id

SHAPE = Shape(domains=40, partitions=7, dumps=3, steps=50, sequences_per_step=4, links_a_domain=150)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "store"
    write_store(folder, SHAPE)
    return folder


@pytest.fixture
def build(root: Path) -> Build:
    [only] = Library(Store(root)).builds
    return only


def silent(_label: str, _done: int, _total: int) -> None:
    """Nobody is told of indexes."""


def test_the_synthetic_store_is_whole(root: Path, build: Build) -> None:
    library = Library(Store(root))
    found = [
        *check_inputs(library),
        *check_ledger(build),
        *check_joins(build),
        *check_models(library, build),
    ]
    assert found == []


def test_every_fate_is_told_from_the_key_alone(build: Build) -> None:
    tracer = Tracer(build, [], silent)
    for number in (95, *range(1, SHAPE.links, 213)):
        key, fate = link_id(url_of(number)), fate_of(number)
        found = tracer.trace(key)
        assert found is not None
        assert found.link.url == url_of(number)
        assert [post.id for post in found.link.submissions] == [submission_id(number)]
        if fate in ("train", "validation"):
            assert found.dropped is None
            assert found.document is not None
            assert found.document.split == fate
            assert [span.split for span in found.spans] == [fate]
        else:
            assert found.dropped is not None
            assert found.dropped.reason == fate
        if fate == "near_duplicate":
            assert found.dropped is not None
            assert found.dropped.kept is not None
            assert found.dropped.kept.url == url_of(number - 1)
    assert tracer.trace(b"\x00" * 16) is None


def test_indexes_hold_every_key_and_are_made_again(root: Path, build: Build) -> None:
    links, submissions = build.need("links"), build.need("submissions")
    told: list[str] = []

    def tell(label: str, _done: int, _total: int) -> None:
        told.append(label)

    for _turn in range(2):
        shutil.rmtree(root / "index", ignore_errors=True)
        by_link = open_links(root, links, tell)
        by_id = open_submissions(root, submissions, tell)
        assert set(told) == {links.label, submissions.label}
        for index in (by_link, by_id):
            assert len(index.keys) == SHAPE.links
            assert np.all(index.keys[1:] >= index.keys[:-1])
        for number in range(0, SHAPE.links, 411):
            key = link_id(url_of(number))
            [place] = by_link.find(link_key(key))
            path = links.part("links", place.partition)
            assert find_row(path, "link_id", key, ["url"]) == {"url": url_of(number)}
            hashed = submission_key(submission_id(number))
            assert hashed is not None
            assert [(p.partition, p.link_id) for p in by_id.find(hashed)] == [
                (place.partition, key)
            ]
    told.clear()
    open_links(root, links, tell)
    assert told == []
    assert sorted(path.name for path in (root / "index").iterdir()) == sorted(
        [f"{known.stage}-{known.manifest.fingerprint[:12]}" for known in (links, submissions)]
    )


@pytest.mark.parametrize("identifier", ["", "t3_abc", "abc def", "a" * 13, "ä"])
def test_what_is_no_id_has_no_key(identifier: str) -> None:
    assert submission_key(identifier) is None


def test_a_damaged_index_is_named(root: Path, build: Build) -> None:
    links = build.need("links")
    open_links(root, links, silent)
    [folder] = (root / "index").glob("links-*")
    (folder / "keys.npy").write_bytes(b"no array")
    with pytest.raises(CorruptArtifact, match="remove it, it is made again"):
        open_links(root, links, silent)
    shutil.rmtree(folder)


def test_an_index_that_was_cut_short_is_made_anew(root: Path, build: Build) -> None:
    """A kill leaves a hidden folder at most, which counts for nothing."""
    shutil.rmtree(root / "index", ignore_errors=True)
    torn = root / "index" / f".links-{build.need('links').manifest.fingerprint[:12]}.1"
    torn.mkdir(parents=True)
    assert len(open_links(root, build.need("links"), silent).keys) == SHAPE.links


def test_only_row_groups_that_may_hold_a_key_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    keys = [number.to_bytes(16, "big") for number in range(0, 5000, 5)]
    table = pa.table({"link_id": pa.array(keys, pa.binary(16)), "number": range(1000)})
    pq.write_table(table, path, row_group_size=100)
    # Whatever is read of the other groups would be seen: their pages are overwritten.
    content = bytearray(path.read_bytes())
    metadata = pq.read_metadata(path)
    for group in (*range(3), *range(4, 10)):
        for number in range(2):
            column = metadata.row_group(group).column(number)
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = bytes(
                column.total_compressed_size
            )
    path.write_bytes(content)
    wanted = [(number * 5).to_bytes(16, "big") for number in (310, 320)]
    assert [row["number"] for row in find_rows(path, "link_id", wanted)] == [310, 320]
    assert find_row(path, "link_id", (1551).to_bytes(16, "big")) is None
    assert list(find_rows(path, "link_id", [])) == []
    with pytest.raises(CorruptArtifact, match="cannot read the table"):
        find_row(tmp_path / "none.parquet", "link_id", b"x" * 16)


def test_a_store_without_a_corpus_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no corpus yet"):
        Library(Store(tmp_path)).build_of(None)
