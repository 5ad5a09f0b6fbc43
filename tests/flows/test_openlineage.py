"""Column lineage fits the tables; events are sent, counted where they are lost, and sent again."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.openlineage import LineageEvents, event_file, job_run_id, send_again
from flows.openlineage_columns import COLUMNS
from flows.openlineage_datasets import place_of
from infra.environment import utc_now
from infra.errors import StoreError
from infra.manifest import InputRecord
from infra.runs import Run, new_run
from infra.store import Store
from tests.flows.openlineage_schemas import facets_of, own_schemas, specification
from webtext import tables

SCHEMAS = {
    ("submissions", "submissions"): tables.SUBMISSIONS,
    ("links", "links"): tables.LINKS,
    ("links", "known"): tables.KNOWN,
    ("captures", "captures"): tables.CAPTURES,
    ("earlier_captures", "captures"): tables.CAPTURES,
    ("pages", "pages"): tables.PAGES,
    ("documents", "documents"): tables.DOCUMENTS,
    ("documents", "rejected"): tables.REJECTED,
    ("documents", "attributes"): tables.ATTRIBUTES,
    ("signatures", "signatures"): tables.signatures_schema(112),
    ("duplicates", "duplicates"): tables.DUPLICATES,
    ("corpus", "train"): tables.DOCUMENTS,
    ("corpus", "validation"): tables.DOCUMENTS,
    ("dataset", "data"): tables.DOCUMENTS,
    ("shards", "spans"): tables.SPANS,
    ("series", "spans"): tables.SPANS,
    ("series", "data"): tables.DOCUMENTS,
}


class Server(ThreadingHTTPServer):
    """Takes events as Marquez does, answering as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 201
        self.received: list[tuple[str, str | None, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def a_run() -> Run:
    return new_run("pipeline", "tiny", 1)


def tell(store: Store, run: Run, url: str | None) -> None:
    """A run of one stage that is made."""
    events = LineageEvents(store, run, url)
    events.run_started()
    made = store.artifact(
        "links",
        1,
        "tiny",
        {},
        [
            InputRecord(role="dump", kind="file", name="RS.zst", fingerprint="ab", bytes=5),
            InputRecord(
                role="gateway", kind="address", name="http://me:secret@h.example/w", fingerprint="c"
            ),
        ],
    )
    with events.making(made):
        made.path.mkdir(parents=True)
        store.finish(
            made, files=[], counts={"rows_in": 3, "rows_out": 1, "losses": {"karma": 2}},
            partitions=[], measurements={}, run_id=run.run_id, prefect_flow_run_id=None,
            started_at=utc_now(),
        )  # fmt: skip
    events.stage_ended(made, "made", 1.5)
    run.state = "finished"
    events.run_ended()
    events.close()


def read(store: Store, run: Run) -> list[dict[str, Any]]:
    lines = event_file(store.root, run.run_id).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_has_its_sources_and_they_exist(table: tuple[str, str]) -> None:
    lineage = COLUMNS[table]
    assert set(lineage.columns) == set(SCHEMAS[table].names)
    for source in [*lineage.whole, *(s for found in lineage.columns.values() for s in found)]:
        if source.role != "dump":
            assert source.column in SCHEMAS[source.role, source.table].names, source


def test_a_run_is_told_in_order_with_its_parent(tmp_path: Path) -> None:
    store, run = Store(tmp_path), a_run()
    tell(store, run, None)
    events = read(store, run)
    assert [(e["eventType"], e["job"]["name"]) for e in events] == [
        ("START", "pipeline"), ("START", "pipeline.links"),
        ("COMPLETE", "pipeline.links"), ("COMPLETE", "pipeline"),
    ]  # fmt: skip
    assert {e["run"]["runId"] for e in (events[0], events[3])} == {job_run_id(run.run_id)}
    assert events[1]["run"]["runId"] == events[2]["run"]["runId"] != job_run_id(run.run_id)
    parent = events[1]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == parent["root"]["run"]["runId"] == job_run_id(run.run_id)
    assert [(i["namespace"], i["name"]) for i in events[2]["inputs"]] == [
        ("file", "RS.zst"), ("http://h.example", "w"),
    ]  # fmt: skip


def test_our_own_facets_keep_to_their_schemas(tmp_path: Path) -> None:
    from jsonschema import Draft202012Validator

    store, run = Store(tmp_path), a_run()
    tell(store, run, None)
    schemas, seen = own_schemas(), set()
    for event in read(store, run):
        for _where, facet in facets_of(event):
            name = facet["_schemaURL"].partition("#")[0]
            if name.startswith("urn:webtext:"):
                Draft202012Validator(schemas[name]).validate(facet)
                seen.add(name)
    assert "urn:webtext:openlineage:1-0-0:RunFacet.json" in seen


def test_a_failure_and_a_stop_are_told_apart(tmp_path: Path) -> None:
    store, run = Store(tmp_path), a_run()
    events = LineageEvents(store, run, None)
    artifact = store.artifact("links", 1, "tiny", {}, [])
    for error in (ValueError("broken row 7"), KeyboardInterrupt()):
        with pytest.raises(type(error)), events.making(artifact):
            raise error
    events.close()
    ends = [event for event in read(store, run) if event["eventType"] != "START"]
    assert [event["eventType"] for event in ends] == ["FAIL", "ABORT"]
    assert ends[0]["run"]["facets"]["errorMessage"]["message"] == "broken row 7"


def test_events_reach_a_server_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "planted-key")
    store, run = Store(tmp_path), a_run()
    with serving() as server:
        tell(store, run, server.url)
    assert [path for path, _key, _event in server.received] == ["/api/v1/lineage"] * 4
    assert {key for _path, key, _event in server.received} == {"Bearer planted-key"}
    assert [event for _path, _key, event in server.received] == read(store, run)
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"planted-key" not in everything


def test_a_server_that_refuses_costs_the_run_nothing_and_gets_all_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, run = Store(tmp_path), a_run()
    with serving() as server, caplog.at_level(logging.WARNING):
        server.status = 503
        tell(store, run, server.url)
        assert len(server.received) == 3  # then it gave up
        assert f"4 OpenLineage events did not reach {server.url}" in caplog.text
        with pytest.raises(StoreError, match=r"line 1 .* answered 503"):
            send_again(store, run.run_id, server.url)
        server.status, server.received = 201, []
        assert send_again(store, run.run_id, server.url) == 4
        assert [event for _path, _key, event in server.received] == read(store, run)


def test_what_cannot_be_sent_again_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    store, run = Store(tmp_path), a_run()
    tell(store, run, None)
    with pytest.raises(StoreError, match="no server is named"):
        send_again(store, run.run_id, None)
    with pytest.raises(StoreError, match="no events of the run 'other'"):
        send_again(store, "other", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached"):
        send_again(store, run.run_id, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("s3://bucket/a/b", ("s3://bucket", "a/b")),
        ("http://user:pass@h.example:80/x?token=1", ("http://h.example:80", "x")),
        ("/data/links", ("file", "/data/links")),
    ],
)
def test_places_are_named_as_the_specification_says(place: str, named: tuple[str, str]) -> None:
    assert place_of(place) == named


def test_a_made_up_run_keeps_to_the_specification(tmp_path: Path) -> None:
    schemas = specification()
    store, run = Store(tmp_path), a_run()
    tell(store, run, None)
    events = read(store, run)
    assert [problem for event in events for problem in schemas.problems(event)] == []
    del events[0]["job"]["name"]
    assert list(schemas.problems(events[0]))  # it can fail
