"""What other versions of packages have made is refused, taken with a mark, or remade beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import stages
from flows.session import Session
from flows.versions import check_kept, settle
from flows.work import _discard_others
from infra.call import PartRecord
from infra.environment import installed, other_versions
from infra.errors import OtherVersions
from infra.manifest import Manifest
from infra.parts import describe_file, finished_part, publish_part, scratch_folder
from infra.store import Artifact, Store
from tests.flows.test_gates import session
from tests.infra.test_store import made

STAGE = stages.PAGES
NOW = installed(STAGE.packages)


def planted(store: Store, **versions: str) -> Artifact:
    """A finished artifact of the stage that says it was made with other versions."""
    artifact = made(store, STAGE.name)
    manifest = Manifest.read(artifact.path)
    packages = {**manifest.maker.packages, **versions}
    maker = manifest.maker.model_copy(update={"packages": packages})
    manifest.model_copy(update={"maker": maker}).write(artifact.path)
    return artifact


def run_that(tmp_path: Path, does: str) -> Session:
    run = session(tmp_path)
    runtime = run.profile.runtime.model_copy(update={"other_versions": does})
    run.profile = run.profile.model_copy(update={"runtime": runtime})
    return run


def test_equal_versions_are_reused(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path), STAGE.name)
    assert settle(run_that(tmp_path, "refuse"), STAGE, artifact) is artifact


def test_other_versions_are_refused_and_the_ways_out_named(tmp_path: Path) -> None:
    artifact = planted(Store(tmp_path), trafilatura="1.0.0")
    with pytest.raises(OtherVersions) as refused:
        settle(run_that(tmp_path, "refuse"), STAGE, artifact)
    told = str(refused.value)
    assert f"{artifact.label} was made with trafilatura 1.0.0 and not {NOW['trafilatura']}" in told
    assert "other_versions=accept" in told
    assert "other_versions=remake" in told
    assert "docs/upgrades.md" in told


def test_packages_that_do_not_show_in_a_stage_do_not_matter(tmp_path: Path) -> None:
    artifact = planted(Store(tmp_path), prefect="1.0", pyarrow="1.0", datasketch="0.1")
    assert settle(run_that(tmp_path, "refuse"), STAGE, artifact) is artifact


def test_what_is_accepted_is_marked(tmp_path: Path) -> None:
    artifact = planted(Store(tmp_path), tiktoken="0.1")
    run = run_that(tmp_path, "accept")
    assert settle(run, STAGE, artifact) is artifact
    (mark,) = run.run.marks
    assert "tiktoken 0.1 and not" in mark.message


def test_what_is_remade_has_an_identity_of_its_own_and_is_then_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = planted(store, trafilatura="1.0.0")
    remade = settle(run_that(tmp_path, "remake"), STAGE, artifact)
    assert remade.fingerprint != artifact.fingerprint
    assert remade.identity.packages == NOW
    assert not remade.is_finished
    with store.writing(remade, "run-2"):
        store.finish(
            remade, files=[], counts={}, partitions=[], measurements={}, run_id="run-2",
            prefect_flow_run_id=None, started_at="",
        )  # fmt: skip
    again = settle(run_that(tmp_path, "refuse"), STAGE, artifact)
    assert again.label == remade.label
    assert Manifest.read(remade.path).identity.packages == NOW


def part(artifact: Artifact, **versions: str) -> PartRecord:
    """A part of unfinished work, done with the versions given."""
    scratch = scratch_folder(artifact.work, "whole")
    scratch.mkdir(parents=True)
    (scratch / "table.txt").write_text("rows")
    record = PartRecord(
        files=(describe_file(scratch, Path("table.txt")),), counts={"rows_in": 1}, seconds=0.0,
        cpu_seconds=0.0, packages={**NOW, **versions},
    )  # fmt: skip
    publish_part(artifact.path, artifact.work, "whole", record)
    return record


@pytest.mark.parametrize(("versions", "kept"), [({}, True), ({"trafilatura": "1.0.0"}, False)])
def test_unfinished_work_of_other_versions_is_done_again(
    tmp_path: Path, versions: dict, kept: bool
) -> None:
    artifact = Store(tmp_path).artifact(STAGE.name, 1, "demo", {}, [])
    part(artifact, **versions)
    run = run_that(tmp_path, "refuse")
    before = run.store.finished_parts(artifact, ["whole"])
    assert ("whole" in _discard_others(run, STAGE, artifact, before)) is kept
    done = finished_part(artifact.path, artifact.work, "whole")
    assert (done is not None) is kept
    assert (artifact.path / "table.txt").exists() is kept


@pytest.mark.parametrize(("versions", "lent"), [({}, 1), ({"lxml": "1.0"}, 0)])
def test_parts_are_lent_among_equal_versions_alone(
    tmp_path: Path, versions: dict, lent: int
) -> None:
    store = Store(tmp_path)
    donor = planted(store, **versions)
    manifest = Manifest.read(donor.path)
    manifest.model_copy(update={"part_keys": {"whole": "k"}}).write(donor.path)
    other = store.artifact(STAGE.name, 1, "demo", {"another": 1}, [])
    assert store.lend_parts(other, {"whole": "k"}, STAGE.packages) == lent
    # Accepted, the part says what it was made with.
    if versions:
        assert store.lend_parts(other, {"whole": "k"}) == 1
        done = finished_part(other.path, other.work, "whole")
        assert done is not None
        assert done.packages["lxml"] == "1.0"


def test_another_version_of_a_stage_is_no_month_of_a_series(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path), stages.CAPTURES.name)  # version 1
    with pytest.raises(OtherVersions, match="version of the stage captures: 1 and not 4"):
        check_kept(run_that(tmp_path, "refuse"), stages.CAPTURES, artifact)


def test_builds_for_other_machines_are_the_same_version() -> None:
    now = installed(["torch"])["torch"].partition("+")[0]
    assert other_versions({"torch": f"{now}+cu999"}, ["torch"]) == {}
    assert other_versions({}, ["torch"]) == {}  # an older manifest that does not tell
    assert list(other_versions({"torch": "0.1"}, ["torch"])) == ["torch"]
