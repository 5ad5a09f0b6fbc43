"""Gates: what is expected of a stage's figures stops a run, marks it, or lets it be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.gates import check_coverage, check_gates, step_gates
from flows.gates_config import Gate
from flows.openlineage import LineageEvents
from flows.profile import Profile, load_profile
from flows.progress import LogReporter
from flows.session import Session, WorkToDo
from infra.children import Children
from infra.errors import GateClosed, ProfileError
from infra.manifest import Manifest
from infra.profiles import FOLDER
from infra.runs import new_run, read_runs
from infra.store import Artifact, Store
from tests.infra.test_store import made

YIELD = {"stage": "links", "figure": "rows_out", "per": "rows_in"}


def session(tmp_path: Path, *, reuse_only: bool = False, **gates: dict) -> Session:
    profile = Profile.model_validate(
        {"name": "demo", "gates": gates, "runtime": {"store": tmp_path}}
    )
    run = new_run("corpus", "demo", os.getpid())
    store = Store(tmp_path)
    return Session(
        profile, store, run, LogReporter(), Children(tmp_path / "logs"),
        LineageEvents(store, run, None), reuse_only=reuse_only,
    )  # fmt: skip


def test_a_closed_gate_says_what_is_wrong_and_how_to_go_on(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))  # 1 of 2 rows
    run = session(tmp_path, crawl_yield={**YIELD, "least": 0.6})
    with pytest.raises(GateClosed) as closed:
        check_gates(run, artifact)
    told = str(closed.value)
    assert "crawl_yield" in told
    assert "rows_out / rows_in is 0.5, at least 0.6" in told
    assert "lost: 1 x" in told
    assert "--set gates.crawl_yield.action=mark" in told
    assert artifact.label in told


@pytest.mark.parametrize(
    "gate",
    [
        {**YIELD, "least": 0.5},
        {**YIELD, "most": 0.5},
        {**YIELD, "least": 0.6, "action": "off"},
        {**YIELD, "least": 0.6, "min_rows": 3},
        {**YIELD, "stage": "pages", "least": 0.6},
        {"stage": "links", "figure": "losses.never", "most": 0},
        {"stage": "links", "figure": "rows_out", "per": "losses.never", "least": 9},
    ],
)
def test_an_open_gate_says_nothing(tmp_path: Path, gate: dict) -> None:
    run = session(tmp_path, one=gate)
    check_gates(run, made(Store(tmp_path)))
    assert run.run.marks == []


def test_a_mark_is_kept_once_in_the_runs_record(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    run = session(
        tmp_path, lost={"stage": "links", "figure": "losses.x", "most": 0, "action": "mark"}
    )
    check_gates(run, artifact)
    check_gates(run, artifact)
    (mark,) = read_runs(tmp_path)[0].marks
    assert (mark.gate, mark.artifact) == ("lost", artifact.label)
    assert "links losses.x is 1, at most 0 is expected" in mark.message


def test_a_run_that_only_looks_leaves_the_stop_to_one_that_is_recorded(tmp_path: Path) -> None:
    run = session(tmp_path, reuse_only=True, crawl_yield={**YIELD, "least": 0.6})
    with pytest.raises(WorkToDo):
        check_gates(run, made(Store(tmp_path)))


def test_a_figure_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    run = session(tmp_path, odd={"stage": "links", "figure": "facts.tokens", "least": 1})
    with pytest.raises(ProfileError, match=r"no figure facts\.tokens; known: rows_in.*losses\.x"):
        check_gates(run, made(Store(tmp_path)))


def test_gates_change_no_fingerprint(tmp_path: Path) -> None:
    plain = load_profile("demo")
    closed = plain.model_copy(update={"gates": {}})
    sections = set(Profile.model_fields) - {"gates"}
    assert all(getattr(plain, name) == getattr(closed, name) for name in sections)
    assert "gates" not in json.dumps(made(Store(tmp_path)).identity.model_dump())


def test_too_few_benchmarks_close_the_gate_before_training(tmp_path: Path) -> None:
    run = session(tmp_path, coverage={"stage": "benchmarks", "figure": "present", "least": 3})
    check_coverage(run, 3, {})
    with pytest.raises(GateClosed, match=r"present is 2, at least 3.*ptb: no file"):
        check_coverage(run, 2, {"ptb": "no file"})


def metrics(tmp_path: Path, *losses: float | None) -> Path:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": n, "loss": loss}) for n, loss in enumerate(losses, 1)]
    path.write_text("".join(f"{line}\n" for line in lines) + '{"step": 99, "lo')
    return path


def test_the_loss_is_judged_at_its_step_and_once(tmp_path: Path) -> None:
    gate = {"stage": "model", "figure": "loss", "step": 2, "most": 5}
    run = session(tmp_path, learns=gate)
    judge = step_gates(run, "model/demo-1")
    path = metrics(tmp_path, 10.0, 6.0)
    judge(path, 1)
    with pytest.raises(GateClosed, match=r"model loss at step 2 is 6, at most 5.*model/demo-1"):
        judge(path, 2)
    step_gates(session(tmp_path, learns=gate), "model/demo-1")(metrics(tmp_path, 10.0, 4.0), 2)


def test_a_loss_that_is_no_number_closes_the_gate(tmp_path: Path) -> None:
    run = session(tmp_path, learns={"stage": "model", "figure": "loss", "step": 2, "most": 50})
    with pytest.raises(GateClosed, match="is nan"):
        step_gates(run, "model/demo-1")(metrics(tmp_path, 10.0, None), 2)


def test_a_trained_model_is_judged_at_the_step_too(tmp_path: Path) -> None:
    artifact: Artifact = made(Store(tmp_path), "model")
    metrics(tmp_path, 10.0, 6.0).rename(artifact.path / "losses.jsonl")
    run = session(tmp_path, learns={"stage": "model", "figure": "loss", "step": 2, "most": 5})
    with pytest.raises(GateClosed, match="step 2 is 6"):
        check_gates(run, artifact)
    assert Manifest.read(artifact.path)


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({**YIELD, "stage": "crawl", "least": 1}, "there is no stage 'crawl'"),
        ({**YIELD}, "`least`, `most` or both"),
        ({**YIELD, "figure": "rows out", "least": 1}, "no figure"),
        ({**YIELD, "step": 3, "least": 1}, "`step` is for the stage model"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(gate: dict, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Gate.model_validate(gate)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_that_comes_along_expects_a_yield_and_a_loss(path: Path) -> None:
    gates = load_profile(path).gates
    assert {"crawl_yield", "not_english", "duplicates", "tokens_a_document"} <= set(gates)
    assert any(gate.step for gate in gates.values())
    assert (
        load_profile(path, ["gates.crawl_yield.action=mark"]).gates["crawl_yield"].action == "mark"
    )
