"""A whole run's OpenLineage events: complete, joined to one another, true to the files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.end_to_end.conftest import ROOT, TINY, Ended, command, environment, manifests
from tests.flows.openlineage_schemas import specification
from tests.flows.test_openlineage import serving


def events_of(store: Path) -> list[dict[str, Any]]:
    path = min((store / "events").glob("*.jsonl"))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_artifact_has_a_start_and_an_end(tiny_store: tuple[Path, Ended]) -> None:
    events = events_of(tiny_store[0])
    ended = [e["run"]["facets"]["webtext_run"] for e in events if e["eventType"] == "COMPLETE"]
    assert {run["artifact"] for run in ended if "artifact" in run} == set(manifests(tiny_store[0]))
    runs = {kind: [e["run"]["runId"] for e in events if e["eventType"] == kind]
            for kind in ("START", "COMPLETE")}  # fmt: skip
    assert sorted(runs["START"]) == sorted(runs["COMPLETE"])


def test_column_lineage_leads_from_the_spans_to_the_dump(tiny_store: tuple[Path, Ended]) -> None:
    """Each input field is a column of a table that was an output before, or of an outside file."""
    known: dict[tuple[str, str], set[str]] = {}
    reached = set()
    for event in events_of(tiny_store[0]):
        if event["eventType"] != "COMPLETE":
            continue
        for output in event.get("outputs", []):
            fields = output["facets"].get("schema", {"fields": []})["fields"]
            known[output["namespace"], output["name"]] = {field["name"] for field in fields}
            lineage = output["facets"].get("columnLineage")
            for column in (lineage or {"fields": {}})["fields"].values():
                for source in column["inputFields"]:
                    place = (source["namespace"], source["name"])
                    reached.add(place)
                    if known.get(place):
                        assert source["field"] in known[place], source
    tables = {name.rsplit("/", 1)[1] for _namespace, name in reached}
    assert {"submissions", "links", "captures", "pages", "documents", "train"} <= tables


def test_statistics_are_those_of_the_files(tiny_store: tuple[Path, Ended]) -> None:
    checked = 0
    for event in events_of(tiny_store[0]):
        for output in event.get("outputs", []):
            quality = output["facets"].get("dataQualityMetrics")
            if quality is None:
                continue
            table = pq.read_table(output["name"])
            assert quality["rowCount"] == table.num_rows
            assert output["outputFacets"]["outputStatistics"]["rowCount"] == table.num_rows
            for column, measures in quality["columnMetrics"].items():
                if "nullCount" in measures:
                    assert measures["nullCount"] == table[column].null_count
                    checked += 1
    assert checked > 50


def test_the_events_keep_to_the_specification(tiny_store: tuple[Path, Ended]) -> None:
    schemas = specification()
    problems = [p for event in events_of(tiny_store[0]) for p in schemas.problems(event)]
    assert problems == []


def test_a_run_that_finds_all_there_tells_a_server(copied_store: Path) -> None:
    arguments = command("run", "--profile", TINY, "--store", copied_store)
    with serving() as server:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=300, cwd=ROOT,
            env=environment(None) | {"PYTHONPATH": str(ROOT), "OPENLINEAGE_URL": server.url},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [event for _path, _key, event in server.received]
    assert (told[0]["eventType"], told[-1]["eventType"]) == ("START", "COMPLETE")
    assert {e["run"]["facets"]["webtext_run"].get("how") for e in told[1:-1]} == {"reused"}
    assert "OPENLINEAGE_URL" not in os.environ
