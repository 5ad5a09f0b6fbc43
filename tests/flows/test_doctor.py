"""`webtext doctor`: what it finds, what it says to mend, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from flows.cli import main
from flows.doctor import examine
from flows.finding import Finding
from flows.profile import Profile, load_profile
from infra.runs import new_run, write_run
from infra.store import Store


def findings(store: Path, *changes: str) -> list[Finding]:
    return examine(lambda: load_profile("demo", changes), store)


def said(found: list[Finding], area: str, state: str) -> str:
    return "\n".join(
        f"{each.told} -> {each.mend}" for each in found if each.area == area and each.state == state
    )


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_a_sound_installation_has_nothing_to_mend(tmp_path: Path) -> None:
    found = findings(tmp_path / "runs")
    assert not [each for each in found if each.state == "error"], found
    assert "C extensions" in said(found, "installation", "ok")
    assert "GPT-2's vocabulary" in said(found, "installation", "ok")
    assert "the first run makes it" in said(found, "store", "ok")
    assert "PREFECT_API_URL is not set" in said(found, "server", "ok")
    assert not (tmp_path / "runs").exists()  # it changes nothing


def test_what_is_left_over_in_a_store_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    held = store.artifact("pages", 1, "held", {}, [])
    dead = store.artifact("pages", 1, "dead", {}, [])
    for artifact in (held, dead):
        artifact.path.mkdir(parents=True)
    with store.writing(held, "run-1"), store.writing(dead, "run-2"):
        lease = dead.work / "lease.json"
        holder = json.loads(lease.read_text()) | {"process": 2**22 + 1, "token": "another"}
        lease.write_text(json.dumps(holder))
        found = findings(tmp_path)
    run = new_run("corpus", "demo", 2**22 + 1)
    write_run(tmp_path, run)
    assert held.label in said(found, "store", "ok")
    notes = said(found, "store", "note")
    assert f"unfinished work: {dead.label}" in notes
    assert f"leases of processes that are gone: {dead.label}" in notes
    assert run.run_id in said(findings(tmp_path), "store", "note")


def test_a_store_without_room_or_rights_is_an_error(tmp_path: Path) -> None:
    found = findings(tmp_path, "runtime.disk_floor_gib=10000000")
    assert "less than runtime.disk_floor_gib" in said(found, "store", "error")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    assert "cannot be written" in said(findings(tmp_path), "store", "error")
    tmp_path.chmod(0o700)


def test_a_server_a_gateway_and_a_gpu_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://me:hunter22@127.0.0.1:9/api")
    found = findings(tmp_path, "inputs.gateway='http://127.0.0.1:9/web'", "runtime.device='cuda'")
    server = said(found, "server", "error")
    assert "no server answers at http://me:•••@127.0.0.1:9/api" in server
    assert "127.0.0.1:9 cannot be reached" in said(found, "network", "error")
    if shutil.which("nvidia-smi") is None:
        assert "there is no NVIDIA GPU" in said(found, "gpu", "error")


def test_a_broken_profile_is_a_finding(tmp_path: Path) -> None:
    def load() -> Profile:
        return load_profile("demo", ["train.stepps=3"])

    assert "did you mean steps?" in said(examine(load, tmp_path), "profile", "error")


def test_the_exit_code_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--store", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["area"] for each in told} >= {"installation", "store", "server", "gpu", "network"}
    full = ["doctor", "--store", str(tmp_path), "--set", "runtime.disk_floor_gib=10000000"]
    assert main(full) == 1
    assert "to mend" in capsys.readouterr().err
