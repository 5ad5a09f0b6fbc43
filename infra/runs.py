"""Run records: what each run of a flow set out to do, made, reused, and how it ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.environment import host, utc_now
from infra.files import write_atomic
from infra.orphans import is_alive, started_at

_FEWEST = 8
"""Letters of an id, at least, that may stand for it: those of its day."""
State = Literal["running", "finished", "failed", "stopped"]


class Use(BaseModel):
    """One artifact that a run needed."""

    model_config = ConfigDict(extra="ignore")

    artifact: str
    """`STAGE/NAME-FINGERPRINT12`."""
    how: Literal["made", "reused"]
    seconds: float


class Mark(BaseModel):
    """What a run's record keeps of a gate that was closed and let it go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: str
    """Its name in the profile."""
    artifact: str
    """Whose figures it judged."""
    message: str
    """The figure and what is expected."""


class Run(BaseModel):
    """The record of one run, kept at `runs/RUN_ID.json` in the store.

    What a newer version of this project adds to it is passed over, so that what such a run uses is
    known here too (and not taken for garbage).
    """

    model_config = ConfigDict(extra="ignore")

    run_id: str
    flow: str
    profile: str
    state: State = "running"
    message: str | None = None
    """Why it failed or stopped."""
    host: str
    process: int
    process_start: str | None
    prefect_flow_run_id: str | None = None
    began_at: str
    ended_at: str | None = None
    uses: list[Use] = []
    marks: list[Mark] = []
    """Gates that were closed and let it go on."""
    requests: dict[str, int] = {}
    """Requests to a store in object storage, those that were tried again, and bytes either way."""

    @property
    def shown_state(self) -> str:
        """Its state, or `died` where it says that it runs and its process has gone."""
        return self.state if self.state != "running" or self.is_live() else "died"

    def is_live(self) -> bool:
        """Whether the run is still going on, as far as can be seen from this machine."""
        if self.state != "running":
            return False
        if self.host != host():
            return True
        return is_alive(self.process) and started_at(self.process) == self.process_start


def find_run(runs: Sequence[Run], reference: str) -> Run | None:
    """The run of an id, of the first letters of one, or of a Prefect flow run's id."""
    named = [run for run in runs if reference in (run.run_id, run.prefect_flow_run_id)]
    begun = [run for run in runs if len(reference) >= _FEWEST and run.run_id.startswith(reference)]
    return named[-1] if named else begun[0] if len(begun) == 1 else None


def new_run(flow: str, profile: str, process: int) -> Run:
    """A fresh record; its id begins with the UTC time, so ids sort by age."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Run(
        run_id=f"{moment}-{secrets.token_hex(3)}",
        flow=flow,
        profile=profile,
        host=host(),
        process=process,
        process_start=started_at(process),
        began_at=utc_now(),
    )


def write_run(root: Path, run: Run) -> None:
    """Write the record atomically."""
    path = root / "runs" / f"{run.run_id}.json"
    write_atomic(path, (run.model_dump_json(indent=2) + "\n").encode())


def read_runs(root: Path) -> list[Run]:
    """All readable records, oldest first."""
    runs = []
    for path in sorted((root / "runs").glob("*.json")):
        try:
            runs.append(Run.model_validate(json.loads(path.read_bytes())))
        except (ValueError, ValidationError):
            continue
    return runs
