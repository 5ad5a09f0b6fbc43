"""Structured logs and metrics of a run, and what a session does with them."""

from __future__ import annotations

import json
import logging
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.json_log import name_part
from flows.profile import Profile, Runtime
from flows.progress import StageState
from flows.session import session
from flows.watchers import Watchers
from infra.errors import DiskLow, StoreError
from infra.runs import new_run


def profile(store: Path, **runtime: object) -> Profile:
    return Profile(name="small", runtime=Runtime.model_validate({"store": store, **runtime}))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def values(text: str) -> dict[str, float]:
    """Samples by name and sorted label values."""
    return {
        "/".join(
            [sample.name, *(sample.labels[key] for key in sorted(sample.labels))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def tell(run: object, log: logging.Logger) -> None:
    """What a run reports of a crawl and a training."""
    reporter = run.reporter  # type: ignore[attr-defined]
    reporter.started("captures", 2, "links")
    crawl = {"outcome_ok": 8.0, "outcome_timeout": 2.0, "queue_hosts": 3, "queue_age_s": 1.5}
    reporter.progress("captures", "part-00000", 10, 20, crawl)
    reporter.progress("captures", "part-00001", 4, 20, {"outcome_ok": 4.0, "queue_age_s": 0.5})
    name_part("captures", "part-00001")
    log.warning("a host is slow: %s", "a.example")
    reporter.part_finished("captures", "part-00000")
    reporter.waiting("captures", "run x makes it")
    reporter.finished("captures", "captures/small-0123", "made", 3.25, "12 of 14")
    counts = {"rows_in": 14, "rows_out": 12, "losses": {"timeout": 2}}
    reporter.counted("captures", counts)
    reporter.started("model", 1, "steps")
    reporter.progress("model", "whole", 3, 9, {"loss": 6.5, "tokens_per_second": 812.0, "mfu": 0.3})


def test_every_line_has_run_and_partition(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.jsonl"
    with session("corpus", profile(tmp_path / "runs", log_json=log)) as run:
        tell(run, logging.getLogger("webtext.crawl_visit"))
        run_id = run.run.run_id
    with pytest.raises(KeyError), session("corpus", profile(tmp_path / "runs", log_json=log)):
        raise KeyError("the reason")
    written = lines(log)
    first = [line for line in written if line["run_id"] == run_id]
    assert len({line["run_id"] for line in written}) == 2  # runs share the file
    for line in written:
        assert line["flow"] == "corpus"
        assert line["profile"] == "small"
        assert str(line["time"]).endswith("+00:00")
    events = {str(line["event"]): line for line in first}
    assert next(iter(events)) == "run_started"
    assert events["part_finished"]["part"] == "part-00000"
    assert events["message"]["message"] == "a host is slow: a.example"
    assert events["message"]["level"] == "warning"
    assert (events["message"]["stage"], events["message"]["part"]) == ("captures", "part-00001")
    assert events["counts"]["counts"]["losses"] == {"timeout": 2}  # type: ignore[index]
    assert events["stage_finished"]["artifact"] == "captures/small-0123"
    assert events["run_ended"]["state"] == "finished"
    assert written[-1]["state"] == "failed"
    assert "the reason" in str(written[-1]["message"])
    assert not logging.getLogger("webtext").handlers


def test_metrics_are_served_and_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "collected" / "webtext.prom"
    settings = profile(tmp_path / "runs", metrics_file=file)
    with session("corpus", settings) as run:
        tell(run, logging.getLogger("webtext.other"))
        assert values(file.read_text())["webtext_run_state/running"] == 1
    kept = values(file.read_text())
    assert kept["webtext_run_state/finished"] == 1
    assert kept["webtext_run_state/running"] == 0
    assert kept["webtext_stage_parts_done/captures"] == 1
    assert kept["webtext_stage_units_done/captures/links"] == 14
    assert kept["webtext_crawl_outcomes/ok"] == 12
    assert kept["webtext_crawl_outcomes/timeout"] == 2
    assert kept["webtext_crawl_queue_age_seconds"] == 1.5
    assert kept["webtext_crawl_queue_hosts"] == 3
    assert kept["webtext_crawl_pages_per_second"] == 0  # all was done before it was first heard of
    assert kept["webtext_rows_lost/timeout/captures"] == 2
    assert kept["webtext_train_tokens_per_second"] == 812
    assert kept["webtext_train_loss"] == 6.5
    assert kept["webtext_train_fact/mfu"] == 0.3
    assert kept["webtext_stage_seconds/made/captures"] == 3.25
    assert kept["webtext_disk_free_bytes"] > 0


def test_the_port_is_on_loopback_and_closed_with_the_run(tmp_path: Path) -> None:
    run = new_run("corpus", "small", 1)
    watchers = Watchers(Runtime(metrics_port=0), run, tmp_path)
    url = f"http://127.0.0.1:{watchers.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert run.run_id in answer.read().decode()
    taken = Runtime(metrics_port=watchers.metrics_port)
    with pytest.raises(StoreError, match="give another --metrics-port"):
        Watchers(taken, run, tmp_path)
    watchers.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=10)


def test_a_log_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("log_json", "metrics_file"):
        with (
            pytest.raises(StoreError, match="cannot be written"),
            session("corpus", profile(tmp_path / "runs", **{name: tmp_path / "file" / "x"})),
        ):
            raise AssertionError
    assert not list((tmp_path / "runs" / "runs").glob("*"))


def test_a_line_leaves_out_what_is_for_metrics() -> None:
    state = StageState(1, "links")
    state.update("p", 10, 20, {"outcome_ok": 8.0, "queue_age_s": 1.0, "loss": 6.5})
    assert state.text().endswith("/s, loss 6.5")
    assert state.sums("outcome_") == {"ok": 8.0}


def test_a_run_on_a_full_disk_stops_itself_and_says_so(tmp_path: Path) -> None:
    floor = profile(tmp_path / "runs", disk_floor_gib=10_000_000.0)
    with (
        pytest.raises(DiskLow, match="the run was stopped before the disk was full"),
        session("corpus", floor) as run,
    ):
        assert run.children._stopping.wait(20)
        run.children.check()
    [record] = [json.loads(path.read_text()) for path in (tmp_path / "runs/runs").glob("*.json")]
    assert record["state"] == "stopped"
    assert "webtext gc" in record["message"]
