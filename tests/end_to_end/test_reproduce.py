"""`webtext reproduce`: the command and its inputs, real runs had again, planted differences."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import reproduce_made, stages
from flows.cli import main
from flows.profile import Profile, load_profile
from flows.reproduce import Recipe, recipe_of
from flows.reproduce_check import Checked, compare
from infra.errors import StoreError
from infra.lineage_build import Known, Library
from infra.store import Store
from tests.end_to_end.conftest import ROOT, TINY, Ended, environment, webtext

QUICK = ("--set", "eval.columns=['lambada_acc','lambada_ppl']", "--set", "bias.samples=1")
CHAIN = [
    "demo-web", "submissions", "links", "captures", "pages", "documents", "signatures",
    "duplicates", "corpus", "shards", "model", "demo-benchmarks", "scores",
]  # fmt: skip


def recipe(store: Path, score: str = "lambada", *folders: Path) -> tuple[Library, Recipe]:
    library = Library(Store(store))
    label = Store(store).find(_label(store, score)).label
    return library, recipe_of(library, library.known[label], None, folders)


def _label(store: Path, benchmark: str) -> str:
    [folder] = store.glob(f"scores/*-{benchmark}-*")
    return f"scores/{folder.name}"


def test_the_profile_holds_every_setting_and_the_command_names_it(copied_store: Path) -> None:
    library, found = recipe(copied_store)
    written = Profile.model_validate(tomllib.loads(Path(found.profile).read_text()))
    tiny = load_profile(TINY)
    same = (
        "submissions", "links", "crawl", "pages", "documents", "signatures", "duplicates", "corpus",
        "shards", "model", "train", "demo_web", "demo_benchmarks", "bias",
    )  # fmt: skip
    assert [name for name in same if getattr(written, name) != getattr(tiny, name)] == []
    assert written.eval.columns == ("lambada_ppl", "lambada_acc")
    assert written.eval.bootstrap_samples == tiny.eval.bootstrap_samples
    assert found.command == (
        "webtext", "run", "--profile", found.profile, "--store", "reproduced",
    )  # fmt: skip
    assert [label.split("/")[0] for label in found.made_again] == CHAIN
    assert set(found.made_again) <= set(library.known)
    assert (found.taken, found.inputs, found.obstacles()) == ((), (), [])
    assert found.made_with.packages.keys() >= {"torch", "trafilatura", "pyarrow"}
    assert recipe(copied_store)[1].profile_sha256 == found.profile_sha256


def test_what_is_installed_otherwise_is_told_with_the_cure(
    copied_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = dict(reproduce_made.package_versions())
    monkeypatch.setattr(reproduce_made, "package_versions", lambda: {**here, "torch": "0.1"})
    monkeypatch.setattr(reproduce_made, "python_version", lambda: "CPython 4.0")
    monkeypatch.setattr(reproduce_made, "git_commit", lambda: "f" * 40)
    _library, found = recipe(copied_store)
    told = {one.what: one for one in found.made_with.differences}
    assert told["package torch"].advice == f"pip install torch=={here['torch']}"
    assert told["package torch"].here == "0.1"
    assert told["python"].here == "CPython 4.0"
    assert told["commit"].advice.startswith(("git checkout ", "use the code"))
    assert found.obstacles() == []
    newer = stages.Stage("documents", "nowhere:nothing", "pages", "pages", version=99)
    monkeypatch.setattr(stages, "DOCUMENTS", newer)
    _library, found = recipe(copied_store)
    [obstacle] = found.obstacles()
    assert obstacle.startswith("stage documents: version ")
    assert "here version 99" in obstacle


def test_settings_that_this_code_does_not_have_are_told(
    copied_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(Store(copied_store))
    label = _label(copied_store, "lambada")
    links = library.known[Store(copied_store).find("links").label]
    config = {**links.manifest.identity.config, "min_upvotes": 3}
    identity = links.manifest.identity.model_copy(update={"config": config})
    manifest = links.manifest.model_copy(update={"identity": identity})
    library.known[links.label] = Known(links.label, links.folder, manifest)
    with pytest.raises(StoreError, match="links.min_upvotes.*check out the commit|use the code"):
        recipe_of(library, library.known[label], None)
    del library.known[links.label]
    with pytest.raises(StoreError, match="no longer in the store"):
        recipe_of(library, library.known[label], None)


def _flip_in(store: Path, stage: str, pattern: str) -> tuple[str, str]:
    """Change one byte in the middle of a file; gives the artifact and the file."""
    folder = Store(store).find(stage).path
    path = min(folder.glob(pattern))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return f"{folder.parent.name}/{folder.name}", path.relative_to(folder).as_posix()


def test_a_planted_byte_is_found_in_the_first_artifact_that_has_one(
    copied_store: Path, tmp_path: Path
) -> None:
    library, found = recipe(copied_store)
    other = tmp_path / "other"
    shutil.copytree(copied_store, other)
    whole = compare(library, found, Library(Store(other)))
    assert whole.equal
    assert [one.artifact.split("/")[0] for one in whole.artifacts] == CHAIN
    assert all(one.files for one in whole.artifacts)
    _flip_in(other, "model", "losses.jsonl")
    label, path = _flip_in(other, "corpus", "train/*.parquet")
    differing = compare(library, found, Library(Store(other)))
    assert not differing.equal
    first = differing.first_different
    assert first is not None
    assert first.artifact == label
    middle = (Store(other).find("corpus").path / path).stat().st_size // 2
    assert first.different is not None
    assert first.different.startswith(f"{path} differs from byte {middle:,} on")
    assert [one.different is None for one in differing.artifacts].count(False) == 2
    shutil.rmtree(Store(other).find("pages").path)
    first = compare(library, found, Library(Store(other))).first_different
    assert first is not None
    assert (first.artifact.split("/")[0], first.now) == ("pages", None)


def test_one_made_of_other_settings_is_told_by_them(copied_store: Path, tmp_path: Path) -> None:
    library, found = recipe(copied_store)
    other = tmp_path / "other"
    shutil.copytree(copied_store, other)
    now = Library(Store(other))
    shards = now.known.pop(Store(other).find("shards").label)
    identity = shards.manifest.identity.model_copy(update={"version": 7})
    changed = {"identity": identity, "fingerprint": identity.fingerprint()}
    now.known["shards/tiny-other"] = Known(
        "shards/tiny-other", shards.folder, shards.manifest.model_copy(update=changed)
    )
    first = compare(library, found, now).first_different
    assert first is not None
    assert first.now == "shards/tiny-other"
    assert "version: 1 → 7" in (first.different or "")


def test_scores_are_named_in_every_way(
    copied_store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    label = _label(copied_store, "lambada")
    digits = label.rpartition("-")[2]

    def lines(score: str) -> list[str]:
        assert main(["reproduce", score, "--store", str(copied_store), "--json"]) == 0, score
        found = json.loads(capfd.readouterr().out)
        assert found["score"] == label
        return [line["column"] for line in found["lines"]]

    both = ["lambada_ppl", "lambada_acc"]
    for score in ("lambada", label, digits, label[:-4]):
        assert lines(score) == both
    for score in ("lambada_acc", f"{label}:lambada_acc", f"{digits}:lambada_acc"):
        assert lines(score) == ["lambada_acc"]
    assert main(["reproduce", "model", "--store", str(copied_store)]) == 1
    assert "is no score" in capfd.readouterr().err
    assert main(["reproduce", "lambada_acc", "--store", str(copied_store)]) == 0
    shown = capfd.readouterr().err
    assert "webtext run --profile" in shown
    assert "sha256" in shown


@pytest.mark.slow
def test_a_tiny_run_is_had_again_to_the_byte(copied_store: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = webtext(
        "reproduce", "lambada_acc", "--store", copied_store, "--check", "--keep", kept, "--json"
    )
    assert done.code == 0, done.err
    checked = Checked.model_validate_json(done.out)
    assert checked.equal
    assert [one.artifact.split("/")[0] for one in checked.artifacts] == CHAIN
    assert {one.now for one in checked.artifacts} == {one.artifact for one in checked.artifacts}
    assert list(kept.glob("scores/*/manifest.json"))
    # The same against a store in which a file is not what it was: the difference is told.
    label, path = _flip_in(copied_store, "shards", "train/*.npy")
    library, found = recipe(copied_store)
    first = compare(library, found, Library(Store(kept))).first_different
    assert first is not None
    assert (first.artifact, path in (first.different or "")) == (label, True)
    again = webtext("reproduce", "lambada_acc", "--store", copied_store, "--check", "--keep", kept)
    assert again.code == 1
    assert "is there already" in again.err


@pytest.fixture(scope="module")
def crawled(
    tiny_store: tuple[Path, Ended], tmp_path_factory: pytest.TempPathFactory, shared_api: str
) -> Path:
    """A folder with a dump, benchmark files and a store crawled from a gateway that has gone."""
    folder = tmp_path_factory.mktemp("crawled")
    made = Store(tiny_store[0])
    shutil.copytree(made.find("demo-web").path / "submissions", folder / "dumps")
    shutil.copytree(made.find("demo-benchmarks").path, folder / "benchmarks")
    (folder / "benchmarks" / "manifest.json").unlink()
    archives = sorted((made.find("demo-web").path / "web").iterdir())
    with _gateway(archives) as address:
        done = webtext(
            "run", "--profile", TINY, "--store", folder / "runs", "--gateway", address,
            "--submissions", *sorted((folder / "dumps").iterdir()),
            "--benchmarks", folder / "benchmarks", *QUICK, api_url=shared_api,
        )  # fmt: skip
    assert done.code == 0, done.err
    return folder


class _gateway:  # noqa: N801
    """`webtext replay` in a process of its own; gives its address."""

    def __init__(self, archives: list[Path]) -> None:
        self._command = [
            sys.executable, "-m", "flows.cli", "replay", "--port", "0", *map(str, archives),
        ]  # fmt: skip

    def __enter__(self) -> str:
        surroundings = environment(None) | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, env=surroundings
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[1]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def away(crawled: Path, tmp_path: Path) -> Iterator[Path]:
    """The crawled folder with its dump moved to another place, which is given."""
    shutil.move(crawled / "dumps", tmp_path / "moved")
    yield tmp_path / "moved"
    shutil.move(tmp_path / "moved", crawled / "dumps")


@pytest.mark.slow
def test_a_crawl_of_a_web_that_has_gone_is_taken_over_and_the_rest_made(
    crawled: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = crawled / "runs"
    _library, found = recipe(store)
    [taken] = found.taken
    assert taken.artifact.startswith("captures/")
    assert "the WARC files of then are replayed" in taken.why
    assert {one.role for one in found.inputs} == {"dump", "benchmark", "gateway"}
    assert all(one.state in ("in place", "not needed") for one in found.inputs)
    done = webtext("reproduce", "lambada_acc", "--store", store, "--check", "--json")
    assert done.code == 0, done.err
    checked = Checked.model_validate_json(done.out)
    how = {one.artifact.split("/")[0]: one.how for one in checked.artifacts}
    assert how.pop("captures") == "taken over"
    assert set(how.values()) == {"made again"}
    assert [*how] == [stage for stage in CHAIN if stage in how]
    assert "scores" in how
    assert not Path(checked.store).exists()


@pytest.mark.slow
def test_a_file_that_was_moved_or_changed_is_told_and_found(
    crawled: Path, away: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(crawled / "runs")
    assert main(["reproduce", "lambada_acc", "--store", store]) == 1
    told = capfd.readouterr().err
    assert "First mend what stands in its way" in told
    assert "put it back there, or name a folder that holds it by --find" in told
    assert main(["reproduce", "lambada_acc", "--store", store, "--check"]) == 1
    assert "cannot be run again yet" in capfd.readouterr().err
    assert main(["reproduce", "lambada_acc", "--store", store, "--find", str(away), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    [dump] = [one for one in found["inputs"] if one["role"] == "dump"]
    assert dump["path"].startswith(str(away))
    file = next(path for path in away.iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")
    (crawled / "dumps").mkdir()
    shutil.copy(file, crawled / "dumps" / file.name)
    try:
        (crawled / "runs" / ".sources.json").touch()
        assert main(["reproduce", "lambada_acc", "--store", store]) == 1
        assert "has other bytes now" in capfd.readouterr().err
    finally:
        file.write_bytes(whole)
        shutil.rmtree(crawled / "dumps")


@pytest.mark.slow
def test_captures_that_are_not_what_they_were_are_not_taken_over(
    crawled: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    shutil.copytree(crawled / "runs", store, ignore=shutil.ignore_patterns("prefect"))
    _label, path = _flip_in(store, "captures", "warc/*.gz")
    done = webtext("reproduce", "lambada_acc", "--store", store, "--check")
    assert done.code == 1
    assert f"{path} is not what its manifest says" in done.err


@pytest.mark.slow
def test_a_model_from_outside_is_scored_again_as_it_is(copied_store: Path, shared_api: str) -> None:
    opened = Store(copied_store)
    cut, outside = copied_store.parent / "files", copied_store.parent / "gpt2"
    shutil.copytree(opened.find("demo-benchmarks").path, cut)
    shutil.copytree(opened.find("card").path, outside)
    for folder in (cut, outside):
        (folder / "manifest.json").unlink()
    before = set(copied_store.glob("scores/*"))
    done = webtext(
        "eval", outside, "--profile", TINY, "--benchmarks", cut, "--store", copied_store,
        *QUICK[:2], api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    [made] = set(copied_store.glob("scores/*")) - before
    checked = webtext("reproduce", f"scores/{made.name}", "--store", copied_store, "--check")
    assert checked.code == 0, checked.err
    assert f"the model {outside}" not in checked.err
    assert "every byte is the same" in checked.err
    shown = webtext("reproduce", f"scores/{made.name}", "--store", copied_store)
    assert f"webtext eval {outside} --profile" in shown.err
    assert "it is not trained again" in " ".join(shown.err.split())
