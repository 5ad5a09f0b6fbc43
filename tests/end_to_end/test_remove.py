"""Takedown: the next run leaves pages out, makes one partition anew, and equals a full rebuild."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store import Store
from tests.end_to_end.conftest import TINY, Ended, digests, webtext
from tests.end_to_end.test_existing_corpus import prose
from webtext.urls import link_partition

PARTITIONS = 64
GONE = "site7.example"
pytestmark = pytest.mark.slow
Taken = tuple[Store, set[str], Ended, list[str]]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, shared_api: str) -> Taken:
    """A store with a corpus, a domain removed from it, and the corpus after that."""
    folder = tmp_path_factory.mktemp("remove")
    rows = [
        {"text": prose(number), "url": f"http://site{number % 20}.example/{number}", "k": number}
        for number in range(60)
    ]
    # A copy of a page of the domain, on another site and of lower rank: it must not come up.
    rows.append({"text": prose(47), "url": "http://mirror.example/47", "k": 1})
    local = folder / "rows.jsonl"
    local.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        "corpus", "--profile", TINY, "--store", folder / "store", "--documents", local,
        "--set", f"partitions={PARTITIONS}", "--set", "rows.karma_column=k",
    ]  # fmt: skip
    assert webtext(*command, api_url=shared_api).code == 0
    store = Store(folder / "store")
    before = set(digests(store.root))
    ended = webtext(
        "remove", "--domain", GONE, "--reason", "the owner asked", "--store", store.root
    )
    assert ended.code == 0, ended.err
    again = webtext(*command, api_url=shared_api)
    assert again.code == 0, again.err
    return store, before, ended, list(map(str, command))


def new_of(store: Store, before: set[str], stage: str) -> Path:
    (label,) = [one for one in digests(store.root) if one not in before and one.startswith(stage)]
    return store.root / label


def test_the_command_tells_what_goes(taken: Taken) -> None:
    _store, _before, ended, _command = taken
    assert "3 documents removed; 1 copies of them are removed with them" in ended.out


def test_neither_pages_nor_copies_are_left(
    taken: Taken,
) -> None:
    store, before, _ended, _command = taken
    documents = new_of(store, before, "documents/")
    urls, reasons = [], []
    for path in sorted((documents / "documents").iterdir()):
        urls += pq.read_table(path)["url"].to_pylist()
    for path in sorted((documents / "rejected").iterdir()):
        rejected = pq.read_table(path).to_pylist()
        reasons += [row["detail"] for row in rejected if row["reason"] == "removed"]
    assert len(urls) == 57
    assert not [url for url in urls if GONE in url or "mirror" in url]
    assert len(reasons) == 4
    assert sum("(a copy of http://site7.example/47)" in reason for reason in reasons) == 1
    for stage in ("row-pages/", "corpus/", "shards/"):
        for path in new_of(store, before, stage).rglob("*"):
            if path.is_file():
                assert b"text 47 tells" not in path.read_bytes()


def test_one_partition_is_tokenized_anew(taken: Taken) -> None:
    """Others are linked from the artifacts before: the copy was in no shard, but had a page."""
    store, before, _ended, _command = taken
    touched = {link_partition(name, PARTITIONS) for name in (GONE, "mirror.example")}
    for stage in ("row-pages/", "documents/", "signatures/", "shards/"):
        folder = new_of(store, before, stage)
        manifest = json.loads((folder / "manifest.json").read_text())
        made = PARTITIONS - manifest["measurements"]["lent_parts"]
        assert made == (1 if stage == "shards/" else len(touched)), stage


def test_it_equals_a_rebuild_from_nothing(taken: Taken, tmp_path: Path, shared_api: str) -> None:
    store, _before, _ended, command = taken
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(store.root / "removals.jsonl", fresh)
    place = command.index("--store") + 1
    ended = webtext(*command[:place], fresh, *command[place + 1 :], api_url=shared_api)
    assert ended.code == 0, ended.err
    rebuilt = digests(fresh)
    after = digests(store.root)
    for label, files in rebuilt.items():
        assert after[label] == files, label


def test_records_are_purged_and_the_store_still_verifies(copied_store: Path) -> None:
    captures = Store(copied_store).find("captures").path
    row = next(
        row
        for path in sorted((captures / "captures").iterdir())
        for row in pq.read_table(path).to_pylist()
        if row["outcome"] == "ok" and row["warc_offset"] == row["payload_offset"]
    )
    link = next(
        link["url"]
        for path in sorted((Store(copied_store).find("links").path / "links").iterdir())
        for link in pq.read_table(path, columns=["link_id", "url"]).to_pylist()
        if link["link_id"] == row["link_id"]
    )
    ended = webtext(
        "remove", "--url", link, "--reason", "asked", "--purge", "--store", copied_store
    )
    assert ended.code == 0, ended.err
    assert "1 WARC records overwritten; 0 left" in ended.out
    listed = webtext("runs", "--store", copied_store)
    assert "removed documents" in listed.err or "0 documents removed" in ended.out
    verified = webtext("verify", "--store", copied_store, "captures")
    assert verified.code == 0, verified.err
    again = webtext(
        "remove", "--url", link, "--reason", "asked", "--purge", "--store", copied_store
    )
    assert "0 WARC records overwritten" in again.out
