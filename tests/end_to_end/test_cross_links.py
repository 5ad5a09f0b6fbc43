"""Runs and Prefect's flow runs, each found by the other's id."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from infra.manifest import Manifest
from tests.end_to_end.conftest import TINY, last_run, webtext


def asked(api: str, what: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{api}/{what}/filter",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


@pytest.mark.slow
def test_a_run_and_its_flow_run_name_each_other(
    copied_store: Path, shared_api: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = webtext(
        "corpus", "--profile", TINY, "--store", copied_store,
        "--set", "shards.max_rows=65535", api_url=shared_api,
    )  # fmt: skip
    assert done.code == 0, done.err
    record = last_run(copied_store)
    run, flow_run = record["run_id"], record["prefect_flow_run_id"]
    assert isinstance(flow_run, str)
    uses = record["uses"]
    assert isinstance(uses, list)
    [found] = asked(
        shared_api, "flow_runs", {"flow_runs": {"tags": {"all_": [f"webtext-run:{run}"]}}}
    )
    assert found["id"] == flow_run
    labels = {use["artifact"] for use in uses}
    assert set(found["tags"]) == {f"webtext-run:{run}", *labels}
    wanted = {"flow_run_id": {"any_": [flow_run]}, "key": {"any_": ["webtext-run"]}}
    [told] = asked(shared_api, "artifacts", {"artifacts": wanted})
    assert all(label in told["data"] for label in labels)
    assert f"webtext trace {run}" in told["data"]
    [made] = [use["artifact"] for use in uses if use["how"] == "made"]
    assert Manifest.read(copied_store / made).maker.prefect_flow_run_id == flow_run
    capfd.readouterr()
    for command in (["trace", flow_run], ["runs", flow_run], ["trace", str(run)]):
        assert main([*command, "--store", str(copied_store), "--json"]) == 0
        answer = json.loads(capfd.readouterr().out)
        assert (answer["run"], answer["prefect_flow_run_id"]) == (run, flow_run)
        assert set(answer["made"]) | set(answer["reused"]) == labels
    assert main(["trace", made, "--store", str(copied_store)]) == 0
    assert f"made by run {run}, Prefect flow run {flow_run}" in capfd.readouterr().err
    assert main(["runs", "20990101-000000-ffffff", "--store", str(copied_store)]) == 1
    assert "lists them" in capfd.readouterr().err
