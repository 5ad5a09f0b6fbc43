"""A data set is pushed over real HTTP: its card and files, and nothing of this machine."""

from pathlib import Path

import pytest

from flows.push import push_dataset
from infra.errors import StoreError
from infra.manifest import FileRecord
from infra.store import Store
from tests.hub_server import Hub, hub_running

FILES = {"README.md": b"# card", "croissant.json": b"{}", "data/train/part-00000.parquet": b"PAR1"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    store = Store(tmp_path / "store")
    store.prepare()
    for stage, files in (("dataset", FILES), ("corpus", {"x": b""})):
        artifact = store.artifact(stage, 1, "demo", {}, [])
        with store.writing(artifact, "run"):
            for name, content in files.items():
                path = artifact.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            records = [FileRecord(path=n, bytes=len(c), sha256="0" * 64) for n, c in files.items()]
            store.finish(
                artifact,
                files=records,
                counts={},
                partitions=[],
                measurements={},
                run_id="run",
                prefect_flow_run_id=None,
                started_at="2026-01-01T00:00:00Z",
            )
    return store


def test_card_and_files_are_pushed_and_the_manifest_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "write-token")
    with hub_running(Hub({})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        address = push_dataset(store, "dataset", "me/corpus", public=False)
    assert hub.pushed == FILES
    assert hub.created[0]["visibility"] == "private"
    assert address.startswith(hub.address)


def test_without_a_token_nothing_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_running(Hub({})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        with pytest.raises(StoreError, match="HF_TOKEN"):
            push_dataset(store, "dataset", "me/corpus", public=False)
    assert hub.asked == []


def test_a_refusal_is_explained_without_the_token(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "read-only-token")
    with hub_running(Hub({})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        with pytest.raises(StoreError, match="may write there") as refused:
            push_dataset(store, "dataset", "me/corpus", public=True)
    assert "read-only-token" not in str(refused.value)
    assert hub.pushed == {}


def test_another_artifact_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "write-token")
    with pytest.raises(StoreError, match="is no data set; name a dataset/"):
        push_dataset(store, "corpus", "me/corpus", public=False)
