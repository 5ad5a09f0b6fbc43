"""Files of a data set come from a hub over real HTTP, at one commit, checked, never outside."""

import json
from pathlib import Path

import pytest

from tests.hub_server import COMMIT, Hub, hub_running
from webtext.errors import SourceError
from webtext.hub import HubConfig, download_files, resolve_reference

FILES = {
    "README.md": b"# a card",
    "data/train-00000.jsonl": b'{"text": "one"}\n',
    "data/train-00001.jsonl": b'{"text": "two"}\n',
    "data/test.jsonl": b'{"text": "three"}\n',
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with hub_running(Hub(dict(FILES))) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def fetched(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_branch_is_resolved_to_its_commit_and_tables_are_fetched(hub, tmp_path: Path) -> None:
    config = resolve_reference("hf://datasets/o/d")
    assert config == HubConfig(repository="o/d", revision=COMMIT, pattern=None)
    counts = download_files(destination=tmp_path / "out", config=config)
    tables = {f"files/{name}": content for name, content in FILES.items() if "jsonl" in name}
    assert fetched(tmp_path / "out") == tables
    assert counts.rows_out == 3
    assert counts.facts == {"file_bytes": sum(map(len, tables.values()))}


def test_a_commit_needs_no_question_and_a_pattern_chooses(hub, tmp_path: Path) -> None:
    config = resolve_reference(f"hf://datasets/o/d@{COMMIT}/data/train-*.jsonl")
    assert hub.asked == []
    download_files(destination=tmp_path, config=config)
    assert sorted(fetched(tmp_path)) == [
        "files/data/train-00000.jsonl", "files/data/train-00001.jsonl",
    ]  # fmt: skip


def test_slashes_in_a_revision_are_escaped(hub) -> None:
    resolve_reference("hf://datasets/o/d@refs%2Fconvert%2Fparquet")
    assert hub.asked == ["/api/datasets/o/d/revision/refs/convert/parquet"]


def test_what_is_there_is_not_fetched_again(hub, tmp_path: Path) -> None:
    config = resolve_reference("hf://datasets/o/d")
    download_files(destination=tmp_path, config=config)
    (tmp_path / "files/data/test.jsonl").unlink()
    hub.asked.clear()
    download_files(destination=tmp_path, config=config)
    resolved = {path for path in hub.asked if "/resolve/" in path}
    assert resolved == {f"/datasets/o/d/resolve/{COMMIT}/data/test.jsonl"}


def test_a_file_that_is_not_what_was_listed_is_refused(hub, tmp_path: Path) -> None:
    hub.lie_about = "data/test.jsonl"
    with pytest.raises(SourceError, match=r"data/test\.jsonl of o/d .*SHA-256"):
        download_files(destination=tmp_path, config=resolve_reference("hf://datasets/o/d"))
    assert not (tmp_path / "files/data/test.jsonl").exists()


@pytest.mark.parametrize("name", ["../outside.jsonl", "/etc/outside.jsonl", "a/../../x.jsonl"])
def test_a_name_that_leads_elsewhere_is_refused(hub, tmp_path: Path, name: str) -> None:
    hub.files[name] = b"{}"
    with pytest.raises(SourceError, match="leads elsewhere"):
        download_files(destination=tmp_path / "out", config=resolve_reference("hf://datasets/o/d"))
    assert fetched(tmp_path) == {}


def test_the_token_comes_from_the_environment_alone(
    hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "secret-token"
    with pytest.raises(SourceError, match="HF_TOKEN"):
        resolve_reference("hf://datasets/o/d")
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    config = resolve_reference("hf://datasets/o/d")
    assert "secret" not in json.dumps(config.model_dump())


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf://datasets/o/other", "cannot be had"),
        ("hf://models/o/d", "no data set on a hub; expected hf://datasets/OWNER/NAME"),
        ("hf://datasets/o/d/../x@", "cannot be had|no file|no data set"),
    ],
)
def test_a_wrong_reference_is_explained(hub, tmp_path: Path, reference: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        download_files(destination=tmp_path, config=resolve_reference(reference))


def test_a_pattern_without_a_match_shows_what_there_is(hub, tmp_path: Path) -> None:
    config = resolve_reference(f"hf://datasets/o/d@{COMMIT}/*.parquet")
    with pytest.raises(SourceError, match=r"no file that matches \*\.parquet; it has README\.md"):
        download_files(destination=tmp_path, config=config)


def test_a_hub_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="Check the name and the network"):
        resolve_reference("hf://datasets/o/d")
