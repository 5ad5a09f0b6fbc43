"""Deployments on a real server on PostgreSQL: a worker, schedules, cancels, deaths, collisions.

One server serves the whole module, as one serves several users.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.server import TemporaryServer
from infra.children import log_tail
from infra.store import Store
from tests.end_to_end.conftest import ROOT, TINY, command, digests, environment, webtext
from tests.end_to_end.servers import (
    api,
    descendants,
    postgres,
    processes_of,
    run_deployment,
    started,
    wait_for,
    wait_until_ended,
    worker,
)

pytestmark = pytest.mark.slow
LOST_AFTER_S = 65
LABELS = {
    "pipeline/on-demand",
    "refresh/monthly",
    "train/train",
    "evaluate/nightly",
    "retention/weekly",
}


@dataclass(frozen=True)
class Cluster:
    """A server on PostgreSQL with everything deployed, and what it told whom."""

    url: str
    folder: Path
    env: dict[str, str]
    store: Path
    """What the deployments' own profile names."""
    told: list[dict[str, str]]
    """Bodies that the webhook got."""

    def profile(self, store: Path, *changes: str) -> dict[str, object]:
        """Parameters for a run on another store."""
        return {"profile": str(TINY), "changes": [f"runtime.store='{store}'", *changes]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(receiver())
        address = stack.enter_context(postgres(folder / "postgres"))
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = address
        os.environ["PREFECT_API_DATABASE_TIMEOUT"] = "60"  # the machine may be busy
        server = TemporaryServer(folder / "prefect", schedules=True)
        stack.callback(server.close)
        server.begin()
        server.wait()
        url = os.environ["PREFECT_API_URL"]
        os.environ.clear()
        os.environ.update(before)
        env = environment(url) | {
            "PREFECT_HOME": str(folder / "home"),
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": str(ROOT),
        }
        hook = {"url": told.url, "method": "POST", "allow_private_urls": True}
        make_block(url, "webhook", "alarms", hook)
        store = folder / "runs"
        deploying = ("deploy", "--profile", TINY, "--store", store, "--lost-after", LOST_AFTER_S)
        deployed = webtext(*deploying, "--notify", "webhook/alarms", api_url=url)
        assert deployed.code == 0, deployed.err
        yield Cluster(url, folder, env, store, told.bodies)


@dataclass
class Receiver:
    url: str
    bodies: list[dict[str, str]]


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """A loopback address that keeps what is posted to it."""
    bodies: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Receiver(f"http://127.0.0.1:{server.server_port}/", bodies)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_block(url: str, kind: str, name: str, values: dict[str, object]) -> None:
    # A new server registers Prefect's own block types in the background.
    found = wait_for(lambda: block_type(url, kind), 60)
    schemas = {"block_schemas": {"block_type_id": {"any_": [found["id"]]}}}
    schema = api(url, "/block_schemas/filter", schemas)[0]
    body = {
        "name": name,
        "data": values,
        "block_schema_id": schema["id"],
        "block_type_id": found["id"],
    }
    api(url, "/block_documents/", body)


def block_type(url: str, kind: str) -> dict[str, str] | None:
    found = api(url, "/block_types/filter", {"block_types": {"slug": {"any_": [kind]}}})
    return found[0] if found else None


def test_what_is_deployed_is_what_the_file_says(cluster: Cluster) -> None:
    found = {d["name"]: d for d in api(cluster.url, "/deployments/filter", {})}
    assert set(found) == {label.partition("/")[2] for label in LABELS}
    assert found["monthly"]["schedules"][0]["schedule"]["cron"] == "0 3 * * *"
    assert found["nightly"]["schedules"][0]["schedule"]["cron"] == "0 1 * * *"
    rules = {name: d["concurrency_options"]["collision_strategy"] for name, d in found.items()}
    assert rules["on-demand"] == rules["train"] == "ENQUEUE"
    assert rules["monthly"] == rules["nightly"] == "CANCEL_NEW"
    assert all(d["global_concurrency_limit"]["limit"] == 1 for d in found.values())
    assert found["train"]["parameters"]["profile"]["name"] == "tiny"
    assert found["train"]["parameters"]["profile"]["runtime"]["store"] == str(cluster.store)
    names = {each["name"] for each in api(cluster.url, "/automations/filter", {})}
    assert {"webtext-lost", "webtext-failed", "webtext-late", "webtext-crashed-train"} <= names
    assert len(names) == 3 + len(LABELS)
    again = webtext("automations", api_url=cluster.url)
    assert again.code == 0, again.err
    with_hook = webtext(
        "automations", "--notify", "webhook/alarms", "--lost-after", LOST_AFTER_S,
        api_url=cluster.url,
    )  # fmt: skip
    assert with_hook.code == 0, with_hook.err
    assert {e["name"] for e in api(cluster.url, "/automations/filter", {})} == names
    unknown = webtext("automations", "--notify", "slack-webhook/none", api_url=cluster.url)
    assert unknown.code == 1
    assert "no block 'slack-webhook/none'" in unknown.err


REMADE = ("corpus", "dataset", "fidelity", "shards", "card")
"""What runs here have to make: enough to be met in the middle, little enough for two cores."""


@pytest.fixture
def begun_store(copied_store: Path) -> Path:
    """A store in which a run of the tiny demo has got as far as the duplicates, and trained."""
    for stage in REMADE:
        shutil.rmtree(copied_store / stage)
    for record in (copied_store / "runs").iterdir():
        record.unlink()
    return copied_store


def records(store: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((store / "runs").glob("*.json"))]


def test_a_worker_runs_the_pipeline_and_two_runs_on_one_store_take_turns(
    tiny_store, begun_store: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """Of two runs the second waits and reuses; one by hand beside them does no harm."""
    store, log = begun_store, tmp_path / "worker.log"
    with worker(cluster.env, log):
        first, second = (
            run_deployment(cluster.url, "pipeline/on-demand", name, cluster.profile(store))
            for name in ("one", "two")
        )
        by_hand = webtext("run", "--profile", TINY, "--store", store)
        assert by_hand.code == 0, by_hand.err
        states = [wait_until_ended(cluster.url, run, log, 600) for run in (first, second)]
    assert [state["type"] for state in states] == ["COMPLETED", "COMPLETED"], log_tail(log)
    assert digests(store) == digests(tiny_store[0])
    assert [run["state"] for run in records(store)] == ["finished"] * 3
    by_id = {run["prefect_flow_run_id"]: run for run in records(store)}
    one, two = sorted((by_id[first], by_id[second]), key=lambda run: str(run["began_at"]))
    assert str(one["ended_at"]) <= str(two["began_at"])
    assert {use["how"] for use in two["uses"]} == {"reused"}  # type: ignore[attr-defined]
    made = [
        use["artifact"] for run in records(store) for use in run["uses"] if use["how"] == "made"
    ]  # type: ignore[attr-defined]
    assert len(made) == len(set(made)) == len(REMADE)
    shown = api(cluster.url, "/artifacts/filter", {})
    assert {"funnel", "loss-curve", "scores"} <= {artifact["key"] for artifact in shown}


def test_a_schedule_fires_and_looks_for_dumps(tiny_store, cluster: Cluster, tmp_path: Path) -> None:
    """Without a dump a run of the schedule does nothing; with one it adds the month."""
    web = next((tiny_store[0] / "demo-web").iterdir())
    dumps, store, log = tmp_path / "dumps", tmp_path / "runs", tmp_path / "worker.log"
    dumps.mkdir()
    changes = [f"inputs.submissions=['{dumps}/RS_*']", f"inputs.replay=['{web}/web/*']"]
    changes += ["crawl.source='warc'"]
    flow, _, name = "refresh/monthly".partition("/")
    deployment = api(cluster.url, f"/deployments/name/{flow}/{name}")
    [schedule] = deployment["schedules"]
    path = f"/deployments/{deployment['id']}"
    every = {
        "active": True,
        "schedule": {"interval": 5, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"},
        "parameters": cluster.profile(store, *changes),
    }
    with worker(cluster.env, log):
        api(cluster.url, f"{path}/schedules/{schedule['id']}", every, "PATCH")
        try:
            state = wait_for(lambda: scheduled_end(cluster.url, deployment["id"]), 240, log)
            assert state["message"].startswith("nothing to do"), state
            assert not (store / "submissions").exists()
            for dump in sorted((web / "submissions").iterdir()):
                shutil.copy(dump, dumps / f"RS_2017-09{''.join(dump.suffixes)}")
            wait_for(lambda: next(store.glob("series/*/manifest.json"), None), 900, log)
        finally:
            api(cluster.url, f"{path}/schedules/{schedule['id']}", {"active": False}, "PATCH")


def scheduled_end(url: str, deployment: str) -> dict[str, str] | None:
    body = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment]},
            "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
        }
    }
    found = api(url, "/flow_runs/filter", body)
    return found[0]["state"] if found else None


def test_a_cancelled_run_stops_its_processes(
    copied_store: Path, cluster: Cluster, tmp_path: Path
) -> None:
    store, log = copied_store, tmp_path / "worker.log"
    with worker(cluster.env, log):
        parameters = cluster.profile(store, "train.steps=1000000", "checkpoints.every_steps=100000")
        run = run_deployment(cluster.url, "pipeline/on-demand", "long", parameters)
        metrics = "model/*/.work/training/metrics.jsonl"
        wait_for(lambda: any(path.stat().st_size for path in store.glob(metrics)) or None, 600, log)
        assert processes_of(str(store))
        state = {"type": "CANCELLING", "name": "Cancelling"}
        api(cluster.url, f"/flow_runs/{run}/set_state", {"state": state})
        assert wait_until_ended(cluster.url, run, log)["type"] == "CANCELLED"
        wait_for(lambda: None if processes_of(str(store)) else True, 60, log)
    assert records(store)[-1]["state"] == "stopped"
    # What it had learnt is kept.
    assert list(store.glob("model/*/.work/training/checkpoints/step-*/checkpoint.json"))


def test_a_run_whose_worker_is_killed_is_found_and_goes_on(
    tiny_store, begun_store: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """The server sees that a lost run has crashed, and begins it again for another worker.

    A worker and all below it are killed, as with their machine.
    """
    store, log = begun_store, tmp_path / "worker.log"
    with worker(cluster.env, log) as doomed:
        run = run_deployment(cluster.url, "pipeline/on-demand", "doomed", cluster.profile(store))
        wait_for(lambda: next(store.glob("corpus/*/manifest.json"), None), 300, log)
        for process in descendants(doomed.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    made_before = {path: path.stat().st_mtime_ns for path in store.glob("*/*/manifest.json")}
    assert api(cluster.url, f"/flow_runs/{run}")["state"]["type"] == "RUNNING"
    assert wait_until_ended(cluster.url, run, log)["type"] == "CRASHED"
    with worker(cluster.env, tmp_path / "second.log"):
        wait_for(lambda: next(store.glob("card/*/manifest.json"), None), 900, log)
        assert records(store)[0]["state"] == "running"  # it could not say that it died
        wait_for(lambda: next((b for b in cluster.told if "doomed" in b["subject"]), None), 60)
    assert digests(store) == digests(tiny_store[0])
    assert all(path.stat().st_mtime_ns == moment for path, moment in made_before.items())


def test_a_failure_is_told(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with worker(cluster.env, log):
        parameters = cluster.profile(tmp_path / "runs") | {"shards": "shards/none"}
        run = run_deployment(cluster.url, "train/train", "hopeless", parameters)

        def waits() -> str | None:
            state = api(cluster.url, f"/flow_runs/{run}")["state"]
            return state["name"] if state["name"] == "AwaitingRetry" else None

        wait_for(waits, 120, log)  # one more attempt, ten minutes later
        state = {"type": "FAILED", "name": "Failed", "message": "given up"}
        api(cluster.url, f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        told = wait_for(
            lambda: next((b for b in cluster.told if "hopeless" in b["subject"]), None), 60, log
        )
    assert told["subject"] == "hopeless of train failed"
    assert "given up" in told["text"]


def test_new_models_are_scored_and_those_that_have_scores_are_not(
    copied_store: Path, cluster: Cluster, tmp_path: Path
) -> None:
    for folder in (copied_store / "scores").iterdir():
        shutil.rmtree(folder)
    log = tmp_path / "worker.log"
    with worker(cluster.env, log):
        parameters = cluster.profile(copied_store)
        first = run_deployment(cluster.url, "evaluate/nightly", "first", parameters)
        assert wait_until_ended(cluster.url, first, log)["type"] == "COMPLETED", log_tail(log)
        assert len(list(copied_store.glob("scores/*/manifest.json"))) == 9
        second = run_deployment(cluster.url, "evaluate/nightly", "second", parameters)
        state = wait_until_ended(cluster.url, second, log)
    assert state["message"].startswith("nothing to do")


def test_old_flow_runs_go(cluster: Cluster) -> None:
    ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "CANCELLED", "FAILED"]}}}}
    assert api(cluster.url, "/flow_runs/count", ended) > 0
    kept = webtext("retention", "--days", 1, "--delete", api_url=cluster.url)
    assert kept.code == 0, kept.err
    assert kept.err.startswith("0 flow runs")
    assert api(cluster.url, "/flow_runs/count", ended) > 0
    gone = webtext("retention", "--days", 0, "--delete", api_url=cluster.url)
    assert gone.code == 0, gone.err
    assert api(cluster.url, "/flow_runs/count", ended) == 0


def test_doctor_knows_the_server(cluster: Cluster, tmp_path: Path) -> None:
    told = webtext("doctor", "--store", tmp_path, api_url=cluster.url)
    assert told.code == 0, told.err
    assert f"{cluster.url} answers" in told.err
    assert "its database" in told.err
    absent = webtext("doctor", "--store", tmp_path, api_url="http://127.0.0.1:9/api")
    assert absent.code == 1
    assert "no server answers" in absent.err


def test_serve_runs_what_its_schedule_says(tiny_store, tmp_path: Path) -> None:
    """A schedule of every minute fires; the server, its pages and the runner are one command."""
    store, log = tmp_path / "runs", tmp_path / "serve.log"
    serve = command(
        "serve", "on-demand", "--profile", TINY, "--store", store, "--cron", "* * * * *"
    )
    with started(serve, log, environment(None)) as serving:
        deadline = time.monotonic() + 400
        while not list(store.glob("card/*/manifest.json")):
            assert serving.poll() is None, log_tail(log)
            assert time.monotonic() < deadline, log_tail(log)
            time.sleep(0.5)
        os.killpg(serving.pid, signal.SIGINT)  # as a terminal does
        assert serving.wait(60) in (0, 130)
    assert "pipeline/on-demand" in log_tail(log) or "on-demand" in log.read_text()
    assert digests(store) == digests(tiny_store[0])
    assert Store(store).find("card").manifest().maker.prefect_flow_run_id is not None
