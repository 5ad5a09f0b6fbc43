"""A structured log: each event of a run, and each message of our loggers, as a line of JSON.

    {"time": "2026-11-02T03:00:07.412+00:00", "level": "info", "event": "part_finished",
     "run_id": "20261102-030001-a1b2c3", "flow": "pipeline", "profile": "webtext",
     "prefect_flow_run_id": "…", "stage": "pages", "part": "part-00007"}

Every line has the first seven keys; `part` names the partition. Lines are appended whole, so
several runs may share a file. Secrets are masked.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.progress import StageState
from infra.errors import StoreError
from infra.runs import Run
from infra.secrets import mask

_PROGRESS_EVERY_S = 10.0
_OURS = ("webtext", "flows", "infra", "model", "eval")


class JsonLog:
    """A reporter that writes lines of JSON, and takes our loggers' messages too."""

    def __init__(self, path: Path, run: Run) -> None:
        """Open the log.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered and in append mode, so that a line goes out in one write.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise StoreError(
                f"the log {path} cannot be written ({error.strerror}); mend its permissions, or "
                "name another file with --log-json"
            ) from error
        self._run = run
        self._lock = threading.Lock()
        self._states: dict[str, StageState] = {}
        self._told: dict[str, float] = {}
        self._handler = _Messages(self)
        for name in _OURS:
            logging.getLogger(name).addHandler(self._handler)
        self.write("run_started", host=run.host, process=run.process)

    def write(self, event: str, *, level: str = "info", **fields: Any) -> None:
        """Append a line."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": event,
            "run_id": self._run.run_id,
            "flow": self._run.flow,
            "profile": self._run.profile,
            "prefect_flow_run_id": self._run.prefect_flow_run_id,
            **fields,
        }
        text = mask(json.dumps(line, ensure_ascii=False, default=str))
        with self._lock:
            if not self._file.closed:
                self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def started(self, stage: str, parts: int, unit: str) -> None:
        """Write that a stage begins."""
        self._states[stage] = StageState(parts, unit)
        self.write("stage_started", stage=stage, parts=parts, unit=unit)

    def progress(
        self, stage: str, part: str, done: int, total: int | None, facts: dict[str, float]
    ) -> None:
        """Write how far a part is, every ten seconds at most."""
        state = self._states[stage]
        state.update(part, done, total, facts)
        key = f"{stage}/{part}"
        now = time.monotonic()
        if now - self._told.setdefault(key, now) >= _PROGRESS_EVERY_S:
            self._told[key] = now
            fields: dict[str, Any] = {
                "done": done,
                "total": total,
                "facts": facts,
                "rate": round(state.rate, 3),
            }
            self.write("progress", stage=stage, part=part, **fields)

    def part_finished(self, stage: str, part: str) -> None:
        """Write that a part is whole."""
        self.write("part_finished", stage=stage, part=part)

    def finished(self, stage: str, label: str, how: str, seconds: float, _summary: str) -> None:
        """Write that the artifact is there."""
        self.write(
            "stage_finished", stage=stage, artifact=label, how=how, seconds=round(seconds, 3)
        )

    def counted(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Write what the stage counted."""
        self.write("counts", stage=stage, counts=counts)

    def waiting(self, stage: str, message: str) -> None:
        """Write what is waited for."""
        self.write("waiting", level="warning", stage=stage, message=message)

    def close(self) -> None:
        """Write how the run ended."""
        for name in _OURS:
            logging.getLogger(name).removeHandler(self._handler)
        state = self._run.state
        level = "error" if state == "failed" else "info"
        self.write("run_ended", level=level, state=state, message=self._run.message)
        self._file.close()


class _Messages(logging.Handler):
    """Hands the messages of the standard library's loggers to the log."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message, with the partition where the thread works on one."""
        if record.name == "webtext.progress":  # the events say the same
            return
        part = part_of_thread()
        fields = {"stage": part[0], "part": part[1]} if part else {}
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        level = record.levelname.lower()
        self._log.write("message", level=level, logger=record.name, message=message, **fields)


_thread = threading.local()


def name_part(stage: str, part: str) -> None:
    """Say which part this thread works on from now on."""
    _thread.part = (stage, part)


def part_of_thread() -> tuple[str, str] | None:
    """Stage and part that this thread works on."""
    part: tuple[str, str] | None = getattr(_thread, "part", None)
    return part
