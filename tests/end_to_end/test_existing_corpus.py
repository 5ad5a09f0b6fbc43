"""An existing corpus in place of the crawl, and the data set that a corpus is handed on as."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.fields import FIELDS
from infra.store import Store
from tests.end_to_end.conftest import TINY, digests, last_run, webtext
from tests.hub_server import COMMIT, Hub, hub_running
from webtext.tables import DOCUMENTS

READ_CROISSANT = """
import json, mlcroissant
described = mlcroissant.Dataset(jsonld="croissant.json")
assert not described.metadata.ctx.issues.errors
print(json.dumps(sorted(one["train/text"].decode() for one in described.records("train"))))
"""

TOPICS = ("rivers", "engines", "gardens", "planets", "bridges", "markets", "letters", "winters")


def prose(number: int) -> str:
    topic, other = TOPICS[number % 8], TOPICS[number // 8 % 8]
    lines = [
        f"Sentence {line} of text {number} tells what the old people of the {topic} knew of the "
        f"{other}, and why number {number * 31 + line} mattered to them in the end."
        for line in range(12)
    ]
    return " ".join(lines)


def rows(numbers: range) -> bytes:
    return "".join(json.dumps({"text": prose(number)}) + "\n" for number in numbers).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared_api: str) -> Iterator[tuple[Store, Path]]:
    """A store with a corpus of a local file and of a data set on a hub, which is gone since."""
    folder = tmp_path_factory.mktemp("existing")
    local = folder / "local.jsonl"
    # Row 30 is a copy of one of the hub's, and row 31 has no text.
    local.write_bytes(rows(range(30)) + rows(range(45, 46)) + b'{"text": null}\n')
    hub = Hub({"data/a.jsonl": rows(range(30, 60)), "README.md": b"#"})
    with pytest.MonkeyPatch.context() as patch, hub_running(hub) as running:
        patch.setenv("HF_ENDPOINT", running.address)
        patch.setenv("HF_HOME", str(folder / "home"))
        ended = webtext(
            "corpus", "--profile", TINY, "--store", folder / "store",
            "--documents", local, f"hf://datasets/o/d@{COMMIT}", api_url=shared_api,
        )  # fmt: skip
        assert ended.code == 0, ended.err
    yield Store(folder / "store"), local


def test_rows_become_shards_and_every_loss_is_counted(made: tuple[Store, Path]) -> None:
    store, _local = made
    counts = {
        stage: store.find(stage).manifest().counts for stage in ("rows", "row-pages", "corpus")
    }
    assert counts["rows"]["losses"] == {"no_text": 1}
    assert counts["row-pages"]["rows_out"] == 61
    assert counts["corpus"]["losses"]["exact_duplicate"] == 1
    assert store.find("shards").manifest().counts["rows_in"] == counts["corpus"]["rows_out"]
    assert last_run(store.root)["state"] == "finished"


def test_a_document_leads_back_to_revision_and_row(made: tuple[Store, Path]) -> None:
    store, local = made
    row_pages, rows_artifact = store.find("row-pages").path, store.find("rows").path
    sources = [
        json.loads(path.read_text()) for path in sorted((rows_artifact / "sources").iterdir())
    ]
    assert sources[0]["origin"] is None
    assert sources[1]["origin"] == f"hf://datasets/o/d@{COMMIT}/data/a.jsonl"
    texts = [
        [json.loads(line)["text"] for line in local.read_bytes().splitlines()],
        [prose(number) for number in range(30, 60)],
    ]
    origins = {
        row["link_id"]: (row["file"], row["row"])
        for path in sorted((row_pages / "origins").iterdir())
        for row in pq.read_table(path).to_pylist()
    }
    documents = [
        row
        for path in sorted((store.find("corpus").path / "train").iterdir())
        for row in pq.read_table(path, columns=["link_id", "text"]).to_pylist()
    ]
    assert len(documents) > 30
    for document in documents:
        file, row = origins[document["link_id"]]
        assert texts[file][row] == document["text"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_data_set_opens_and_describes_itself(
    made: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, _local = made
    folder = store.find("dataset").path
    card = (folder / "README.md").read_text()
    assert f"| data set on a hub | o/d | `{COMMIT}` |" in card
    assert "| rows | rows | 62 | 61 | no_text 1 |" in card
    corpus = store.find("corpus").path
    assert (folder / "data/train/part-00000.parquet").samefile(corpus / "train/part-00000.parquet")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from datasets import load_dataset

    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    expected = store.find("corpus").manifest().counts["facts"]
    assert loaded["train"].num_rows == expected["train_documents"]
    assert loaded["validation"].num_rows == expected["validation_documents"]

    # In a process of its own: it sets up logging that outlives the streams of a test.
    read = subprocess.run(
        [sys.executable, "-c", READ_CROISSANT], cwd=folder, capture_output=True, text=True
    )
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == sorted(loaded["train"]["text"])


@pytest.mark.slow
def test_the_same_again_needs_no_hub_and_makes_nothing(
    made: tuple[Store, Path], shared_api: str
) -> None:
    store, local = made
    before = digests(store.root)
    ended = webtext(
        "corpus", "--profile", TINY, "--store", store.root,
        "--documents", local, f"hf://datasets/o/d@{COMMIT}", api_url=shared_api,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "✓" not in ended.err
    assert digests(store.root) == before


def test_the_columns_are_those_of_the_corpus() -> None:
    assert [field.name for field in FIELDS] == DOCUMENTS.names
    for field in FIELDS:
        kind = str(DOCUMENTS.field(field.name).type).replace("fixed_size_binary[16]", "binary(16)")
        assert field.kind == kind
