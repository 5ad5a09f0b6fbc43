"""Those who listen to a run beside its own reporter: the structured log, the metrics.

They are asked for in `runtime` and opened with the session, so that flows on the command line, of
`webtext serve` and of workers all have them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.progress import Reporter

if TYPE_CHECKING:
    from flows.profile import Runtime
    from infra.runs import Run

_LOG = logging.getLogger("webtext.watchers")


class Tee:
    """Tells several reporters; what one of the watchers cannot do costs the run nothing."""

    def __init__(self, first: Reporter, watchers: Sequence[Reporter]) -> None:
        self._first = first
        self._watchers = watchers

    def started(self, stage: str, parts: int, unit: str) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.started(stage, parts, unit))

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.progress(stage, part, done, total, facts))

    def part_finished(self, stage: str, part: str) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.part_finished(stage, part))

    def finished(self, stage: str, label: str, how: str, seconds: float, summary: str) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.finished(stage, label, how, seconds, summary))

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.counted(stage, counts))

    def waiting(self, stage: str, message: str) -> None:
        """See `Reporter`."""
        self._tell(lambda each: each.waiting(stage, message))

    def close(self) -> None:
        """Whoever made the reporters closes them."""

    def _tell(self, what: Callable[[Reporter], None]) -> None:
        what(self._first)
        for watcher in self._watchers:
            try:
                what(watcher)
            except Exception:  # noqa: BLE001  a log on a full disk must not end a run
                _LOG.debug("a watcher failed", exc_info=True)


class Watchers:
    """The watchers of one run, from its beginning to its end."""

    def __init__(self, runtime: Runtime, run: Run, store: Path) -> None:
        """Open what `runtime` asks for.

        Raises:
            StoreError: a file cannot be written, or the port is taken.
        """
        self._reporters: list[Reporter] = []
        self._ends: list[Callable[[], None]] = []
        self.metrics_port: int | None = None
        try:
            if runtime.log_json is not None:
                from flows.json_log import JsonLog

                self._reporters.append(JsonLog(runtime.log_json, run))
            if runtime.metrics_port is not None or runtime.metrics_file is not None:
                self._open_metrics(runtime, run, store)
        except BaseException:
            self.close()
            raise

    def _open_metrics(self, runtime: Runtime, run: Run, store: Path) -> None:
        from flows.metrics import RunMetrics, keep_file, serve_metrics

        metrics = RunMetrics(run, store)
        self._reporters.append(metrics)
        if runtime.metrics_port is not None:
            self.metrics_port, end = serve_metrics(metrics, runtime.metrics_port)
            self._ends.append(end)
        if runtime.metrics_file is not None:
            self._ends.append(keep_file(metrics, runtime.metrics_file))

    def with_reporter(self, reporter: Reporter) -> Reporter:
        """The run's own reporter and the watchers as one."""
        return Tee(reporter, self._reporters) if self._reporters else reporter

    def close(self) -> None:
        """The run has ended, and its record says how."""
        for reporter in self._reporters:
            reporter.close()
        for end in self._ends:
            end()
        self._reporters, self._ends = [], []
