"""Making an artifact: reuse it, or run its parts as Prefect tasks and finish it.

Reuse is decided by the store alone. A part is a Prefect task that runs a child process; a part that
an earlier run finished is not run again. Tasks are submitted in a bounded window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from pydantic import BaseModel

from flows.disk_guard import expected_bytes
from flows.funnel import publish_counts
from flows.gates import check_gates
from flows.json_log import name_part
from flows.progress import summarise
from flows.session import Session, session_of
from flows.stages import Stage
from flows.versions import settle
from infra.call import GIB, Call, PartRecord
from infra.children import Children
from infra.disk import require_room
from infra.environment import installed, other_versions, utc_now
from infra.errors import ChildDied, LeaseHeld
from infra.lease import read_holder
from infra.manifest import InputRecord
from infra.part_keys import find_donors, lend_part, part_keys
from infra.parts import discard_part, finished_part, publish_part, scratch_folder
from infra.store import Artifact, drop_work, require_sizes
from infra.taken import take_over
from webtext.counts import Counts

Inputs = Mapping[str, Artifact | Sequence[InputRecord]]
"""What an artifact is made from, by role: artifacts of the store, or records of outside files."""

THREADS = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=256))
"""Runs the flows' tasks; a thread only waits for its child, and the window bounds how many do."""

_POLL_LEASE_S = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """One piece of a stage: its name and the arguments that only it gets."""

    name: str
    arguments: Mapping[str, Any]
    reads: Sequence[InputRecord] = ()
    """The outside files that it alone reads."""


class PartSpec(BaseModel):
    """What a task is given: small, plain, and enough to run anywhere that sees the store."""

    run_id: str
    title: str
    part: str
    artifact: Path
    work: Path
    call: Call
    packages: dict[str, str] = {}
    """Versions that its bytes depend on."""


def partitions(count: int) -> list[Part]:
    """One part for each partition."""
    return [Part(f"part-{number:05d}", {"partition": number}) for number in range(count)]


def whole() -> list[Part]:
    """The one part of a stage that is not partitioned."""
    return [Part("whole", {})]


@task(
    name="part",
    task_run_name="{spec.title}-{spec.part}",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=1),
    retry_jitter_factor=0.5,
    retry_condition_fn=lambda _task, _run, state: is_transient(state),
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_part(spec: PartSpec) -> dict[str, Any]:
    """Run one part in a child process and move its files into the artifact."""
    name_part(spec.title, spec.part)
    session = session_of(spec.run_id)
    children = session.children if session else Children(spec.work / "logs")

    def report(done: int, total: int | None, facts: dict[str, float]) -> None:
        if session:
            session.reporter.progress(spec.title, spec.part, done, total, facts)

    record = children.run(spec.call, report).model_copy(update={"packages": spec.packages})
    publish_part(spec.artifact, spec.work, spec.part, record)
    return record.counts


def planned(
    session: Session,
    stage: Stage,
    config: BaseModel | Mapping[str, Any],
    inputs: Inputs,
    *,
    name: str | None = None,
) -> Artifact:
    """The artifact that `make` would give for the same arguments, whether or not it is there."""
    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    artifact = session.store.artifact(
        stage.name, stage.version, name or session.profile.name, settings, _records(inputs)
    )
    return settle(session, stage, artifact)


def make(
    session: Session,
    stage: Stage,
    config: BaseModel | Mapping[str, Any],
    inputs: Inputs,
    parts: Sequence[Part],
    arguments: Mapping[str, Any],
    *,
    name: str | None = None,
    title: str | None = None,
    run: Callable[[PartSpec], dict[str, Any]] | None = None,
) -> Artifact:
    """Give the artifact that `stage` makes of `inputs`, making it if it is not there.

    Args:
        session: the run that wants it.
        stage: what makes it.
        config: the identity config, which the function gets as `config`.
        inputs: by role, artifacts (given to the function as paths) or outside files.
        parts: the pieces of work.
        arguments: further arguments of the function that are no part of the identity.
        name: the readable part of its name; the profile's by default.
        title: what progress calls it, where several artifacts of a stage are made at once.
        run: what runs a part instead of a child process with the stage's function.
    """
    artifact = planned(session, stage, config, inputs, name=name)
    began, title = time.monotonic(), title or stage.name
    common = {
        **{role: str(i.path) for role, i in inputs.items() if isinstance(i, Artifact)},
        **arguments,
        "config": artifact.identity.config,
    }
    session.expect_work(artifact)
    how = "reused"
    while not artifact.is_finished:
        session.children.check()
        try:
            with (
                session.store.writing(artifact, session.run.run_id),
                session.events.making(artifact),
            ):
                if not take_over(artifact, session.profile.inputs.taken):
                    how = _make(session, stage, title, artifact, inputs, parts, common, run)
        except LeaseHeld as held:
            session.reporter.waiting(title, str(held))
            _wait(session, artifact)
    if how == "reused":
        require_sizes(artifact)
    seconds = time.monotonic() - began
    session.record_use(artifact, how, seconds)
    counts = artifact.manifest().counts
    summary = summarise(counts, stage.rows)
    session.reporter.finished(title, artifact.label, how, seconds, summary)
    session.reporter.counted(title, counts)
    if how == "made":
        publish_counts(stage, artifact.label, counts)
    check_gates(session, artifact)
    return artifact


def _make(
    session: Session,
    stage: Stage,
    title: str,
    artifact: Artifact,
    inputs: Inputs,
    parts: Sequence[Part],
    common: Mapping[str, Any],
    run: Callable[[PartSpec], dict[str, Any]] | None,
) -> str:
    """Make the artifact under its lease; `reused` where another run was quicker."""
    if artifact.is_finished:
        drop_work(artifact)
        return "reused"
    started_at, began = utc_now(), time.monotonic()
    session.reporter.started(title, len(parts), stage.unit)
    keys = _part_keys(stage, artifact, inputs, parts) if run is None else {}
    mixing = session.runtime.other_versions == "accept"
    if not mixing:
        _discard_others(stage, artifact, parts)
    lent = _lend(artifact, parts, keys, () if mixing else stage.packages)
    _require_room(session, stage, title, artifact, inputs)
    specs = []
    for part in parts:
        if finished_part(artifact.path, artifact.work, part.name) is not None:
            session.reporter.progress(title, part.name, 1, 1, {})
            session.reporter.part_finished(title, part.name)
        else:
            specs.append(_spec(session, stage, title, artifact, part, common))
    if run is not None:
        for spec in specs:
            run(spec)
            session.reporter.part_finished(title, spec.part)
    else:
        _run_parts(session, stage, title, specs)
    _finish(session, stage, artifact, parts, keys, lent, started_at, began)
    return "made"


def _require_room(
    session: Session, stage: Stage, title: str, artifact: Artifact, inputs: Inputs
) -> None:
    if session.disk_floor_bytes:
        expected, source = expected_bytes(session, stage, artifact, inputs)
        require_room(session.store.root, title, expected, source, session.disk_floor_bytes)


def _part_keys(
    stage: Stage, artifact: Artifact, inputs: Inputs, parts: Sequence[Part]
) -> dict[str, str]:
    # An artifact that is given as a record alone counts by its fingerprint.
    files = {
        role: entry.manifest().files
        for role, entry in inputs.items()
        if isinstance(entry, Artifact)
    }
    own = {part.name: part.reads for part in parts if part.reads}
    names = [part.name for part in parts]
    return part_keys(
        artifact.identity, names, files, own, local=stage.local, optional=stage.optional
    )


def _discard_others(stage: Stage, artifact: Artifact, parts: Sequence[Part]) -> None:
    """Undo the parts of unfinished work that other versions of packages have made."""
    for part in parts if stage.packages else ():
        record = finished_part(artifact.path, artifact.work, part.name)
        if record is not None and other_versions(record.packages, stage.packages):
            discard_part(artifact.path, artifact.work, part.name, record)


def _lend(
    artifact: Artifact, parts: Sequence[Part], keys: Mapping[str, str], packages: Sequence[str]
) -> int:
    """Take over the parts that another artifact has; gives how many."""
    missing = [
        part.name
        for part in parts
        if part.name in keys and finished_part(artifact.path, artifact.work, part.name) is None
    ]
    donors = find_donors(artifact.path.parent, (keys[name] for name in missing), packages)
    lent = 0
    for name in missing:
        donor = donors.get(keys[name])
        if donor is not None:
            record = lend_part(donor, scratch_folder(artifact.work, name))
            publish_part(artifact.path, artifact.work, name, record)
            lent += 1
    return lent


def _spec(
    session: Session,
    stage: Stage,
    title: str,
    artifact: Artifact,
    part: Part,
    common: Mapping[str, Any],
) -> PartSpec:
    call = Call(
        function=stage.function,
        arguments={**common, **part.arguments},
        scratch=scratch_folder(artifact.work, part.name),
        resumable=stage.resumable,
        memory_bytes=int(session.runtime.memory_gib * GIB),
        timeout_s=session.runtime.part_timeout_s,
    )
    return PartSpec(
        run_id=session.run.run_id,
        title=title,
        part=part.name,
        artifact=artifact.path,
        work=artifact.work,
        call=call,
        packages=installed(stage.packages),
    )


def in_window(
    session: Session, items: Sequence[Item], submit: Callable[[Item], PrefectFuture[Result]]
) -> Iterator[tuple[Item, Result]]:
    """Keep as many tasks submitted as there are workers, never all of thousands.

    Yields each item with its task's result, as they come. A task that fails stops the run.
    """
    waiting = list(reversed(items))
    running: dict[PrefectFuture[Result], Item] = {}
    while waiting or running:
        while waiting and len(running) < session.runtime.workers:
            item = waiting.pop()
            running[submit(item)] = item
        done = next(as_completed(list(running)))
        item = running.pop(done)
        try:
            result = done.result()
        except BaseException:
            # The run is lost; what its other parts have finished is kept for the next one.
            session.children.stop()
            raise
        yield item, result


def _run_parts(session: Session, stage: Stage, title: str, specs: Sequence[PartSpec]) -> None:
    for spec, _counts in in_window(session, specs, run_part.submit):
        session.reporter.part_finished(title, spec.part)
    session.children.retire(stage.function)


def _finish(
    session: Session,
    stage: Stage,
    artifact: Artifact,
    parts: Sequence[Part],
    keys: Mapping[str, str],
    lent: int,
    started_at: str,
    began: float,
) -> None:
    records = [finished_part(artifact.path, artifact.work, part.name) for part in parts]
    done = [record for record in records if record is not None]
    assert len(done) == len(parts)
    session.store.finish(
        artifact,
        files=[file for record in done for file in record.files],
        counts=_total([record.counts for record in done]),
        partitions=[record.counts for record in done] if len(done) > 1 else [],
        measurements={
            "wall_seconds": round(time.monotonic() - began, 3),
            "part_seconds": round(sum(record.seconds for record in done), 3),
            "cpu_seconds": round(sum(record.cpu_seconds for record in done), 3),
            **_peak(done),
            **({"lent_parts": lent} if lent else {}),
        },
        part_keys=dict(keys),
        packages=_packages(stage, done),
        run_id=session.run.run_id,
        prefect_flow_run_id=session.run.prefect_flow_run_id,
        started_at=started_at,
    )


def _packages(stage: Stage, records: Sequence[PartRecord]) -> dict[str, str]:
    """The versions that the parts were made with; several of one package are all named."""
    return {
        name: ", ".join(sorted({record.packages.get(name, now) for record in records} or {now}))
        for name, now in installed(stage.packages).items()
    }


def _peak(records: Sequence[PartRecord]) -> dict[str, float]:
    """The largest memory of a worker, where it is known of any."""
    known = [r.peak_memory_bytes for r in records if r.peak_memory_bytes is not None]
    return {"peak_memory_bytes": max(known)} if known else {}


def _total(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(counts) == 1:
        return counts[0]
    return Counts.total(Counts.model_validate(part) for part in counts).model_dump(mode="json")


def _records(inputs: Inputs) -> list[InputRecord]:
    records: list[InputRecord] = []
    for role, entry in inputs.items():
        records += [entry.as_input(role)] if isinstance(entry, Artifact) else entry
    return records


def _wait(session: Session, artifact: Artifact) -> None:
    """Wait until the artifact is finished or its writer has gone."""
    while not artifact.is_finished:
        session.children.check()
        holder = read_holder(artifact.work)
        if holder is None or not holder.is_live():
            return
        time.sleep(_POLL_LEASE_S)


def is_transient(state: State[Any]) -> bool:
    """Whether a failed task died in a way that may not happen again (a retry condition)."""
    try:
        state.result()
    except ChildDied:
        return True
    except BaseException:  # noqa: BLE001  it is only looked at; the task raises it itself
        return False
    return False
