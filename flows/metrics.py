"""Metrics of a run in Prometheus' form: served on loopback, or in a file for the node exporter.

    webtext_run_info{run_id,flow,profile} 1        webtext_run_state{state} 0 or 1
    webtext_stage_parts{stage}                     webtext_stage_parts_done{stage}
    webtext_stage_units_done{stage,unit}           webtext_stage_units_per_second{stage,unit}
    webtext_stage_seconds{stage,how}               webtext_disk_free_bytes
    webtext_rows_in{stage}  webtext_rows_out{stage}  webtext_rows_lost{stage,reason}
    webtext_crawl_pages_per_second                 webtext_crawl_outcomes{outcome}
    webtext_crawl_queue_age_seconds                webtext_crawl_queue_hosts
    webtext_train_tokens_per_second  webtext_train_loss  webtext_train_fact{fact}

A stage's figures stay when it is finished, so that a scrape after it still sees them. Names and
labels are kept; new ones may be added.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server, write_to_textfile

from flows import stages
from flows.progress import StageState
from infra.disk import free_bytes
from infra.errors import StoreError
from infra.runs import Run

_WRITE_EVERY_S = 5.0
_STATES = ("running", "finished", "failed", "stopped")


class RunMetrics:
    """A reporter that keeps gauges, for whoever asks."""

    def __init__(self, run: Run, store: Path) -> None:
        self.registry = CollectorRegistry()
        self._run = run
        self._states: dict[str, StageState] = {}
        self._parts_done: dict[str, set[str]] = {}
        self._lock = threading.RLock()
        self._gauges: dict[str, Gauge] = {}
        info = {"run_id": run.run_id, "flow": run.flow, "profile": run.profile}
        self._set("run_info", "The run.", 1, **info)
        disk = Gauge("webtext_disk_free_bytes", "Free for the store.", registry=self.registry)
        disk.set_function(lambda: float(free_bytes(store)))
        self._say_state()

    def started(self, stage: str, parts: int, unit: str) -> None:
        """Begin a stage's figures."""
        with self._lock:
            self._states[stage] = StageState(parts, unit)
            self._parts_done[stage] = set()
            self._set("stage_parts", "Parts of a stage.", parts, stage=stage)
            self._set("stage_parts_done", "Parts that are whole.", 0, stage=stage)

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """Take in how far a part is."""
        with self._lock:
            state = self._states[stage]
            state.update(part, done, total, facts)
            labels = {"stage": stage, "unit": state.unit}
            self._set("stage_units_done", "Units of work done.", state.done, **labels)
            self._set("stage_units_per_second", "Units a second.", state.rate, **labels)
            if stage == stages.CAPTURES.name:
                self._crawl(state)
            if stage == stages.MODEL.name:
                self._train(facts)

    def part_finished(self, stage: str, part: str) -> None:
        """Count a part that is whole."""
        with self._lock:
            done = self._parts_done.setdefault(stage, set())
            done.add(part)
            self._set("stage_parts_done", "Parts that are whole.", len(done), stage=stage)

    def finished(self, stage: str, _label: str, how: str, seconds: float, _summary: str) -> None:
        """Take in how long a stage took."""
        self._set("stage_seconds", "Seconds that a stage took.", seconds, stage=stage, how=how)

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Take in rows in and out, and losses by reason."""
        if "rows_in" not in counts:
            return
        self._set("rows_in", "Rows that a stage read.", counts["rows_in"], stage=stage)
        self._set("rows_out", "Rows that go on.", counts["rows_out"], stage=stage)
        for reason, rows in counts.get("losses", {}).items():
            self._set("rows_lost", "Rows lost, by reason.", rows, stage=stage, reason=reason)

    def waiting(self, _stage: str, _message: str) -> None:
        """No figure tells of it."""

    def close(self) -> None:
        """Say how the run ended."""
        self._say_state()

    def _crawl(self, state: StageState) -> None:
        self._set("crawl_pages_per_second", "Links crawled a second.", state.rate)
        for outcome, links in state.sums("outcome_").items():
            self._set("crawl_outcomes", "Links crawled, by outcome.", links, outcome=outcome)
        queue = state.sums("queue_")
        if "hosts" in queue:
            self._set("crawl_queue_hosts", "Hosts that wait for their turn.", queue["hosts"])
        ages = state.greatest("queue_age_s")
        if ages is not None:
            told = "How long the host that is longest overdue has been ready to be asked."
            self._set("crawl_queue_age_seconds", told, ages)

    def _train(self, facts: Mapping[str, float]) -> None:
        for name, value in facts.items():
            if name == "tokens_per_second":
                self._set("train_tokens_per_second", "Tokens trained on a second.", value)
            elif name == "loss":
                self._set("train_loss", "The last step's loss.", value)
            else:
                self._set("train_fact", "What else the trainer tells.", value, fact=name)

    def _say_state(self) -> None:
        for state in _STATES:
            self._set("run_state", "1 for the run's state.", state == self._run.state, state=state)

    def _set(self, name: str, meaning: str, value: float, **labels: str) -> None:
        with self._lock:
            gauge = self._gauges.get(name)
            if gauge is None:
                gauge = self._gauges[name] = Gauge(
                    f"webtext_{name}", meaning, sorted(labels), registry=self.registry
                )
            (gauge.labels(**labels) if labels else gauge).set(value)


def serve_metrics(metrics: RunMetrics, port: int) -> tuple[int, Callable[[], None]]:
    """Serve the figures on loopback; gives the port and what ends it.

    Raises:
        StoreError: the port is taken.
    """
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
    except OSError as error:
        raise StoreError(
            f"metrics cannot be served at 127.0.0.1:{port} ({error.strerror}); give another "
            "--metrics-port, or 0 for a free one"
        ) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return int(server.server_port), end


def keep_file(metrics: RunMetrics, path: Path) -> Callable[[], None]:
    """Rewrite a file with the figures every few seconds; gives what writes it a last time.

    Raises:
        StoreError: it cannot be written.
    """
    ended = threading.Event()

    def write() -> None:
        write_to_textfile(str(path), metrics.registry)  # it writes aside and renames

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise StoreError(
            f"the metrics file {path} cannot be written ({error.strerror}); mend its permissions, "
            "or name another with --metrics-file"
        ) from error

    def keep_writing() -> None:
        while not ended.wait(_WRITE_EVERY_S):
            with contextlib.suppress(OSError):
                write()

    thread = threading.Thread(target=keep_writing, name="metrics", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            write()

    return end
