"""Making an artifact: reuse it, or run its parts as Prefect tasks and finish it.

Reuse is decided by the store alone. A part is a Prefect task that runs a child process; a part that
an earlier run finished is not run again. Tasks are submitted in a bounded window.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel

from flows.disk_guard import expected_bytes
from flows.funnel import publish_counts
from flows.gates import check_gates
from flows.json_log import name_part
from flows.part_spec import PartSpec, part_task
from flows.progress import summarise
from flows.session import Session, session_of
from flows.stages import Stage
from flows.versions import settle
from infra.call import GIB, Call, PartRecord
from infra.disk import require_room
from infra.environment import installed, other_versions, utc_now
from infra.errors import LeaseHeld
from infra.manifest import InputRecord
from infra.needs import needs_of
from infra.part_keys import part_keys
from infra.parts import scratch_folder
from infra.store import Artifact, drop_work
from infra.taken import take_over
from webtext.counts import Counts

Inputs = Mapping[str, Artifact | Sequence[InputRecord]]
"""What an artifact is made from, by role: artifacts of the store, or records of outside files."""

THREADS = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=256))
"""Runs the flows' tasks; a thread only waits for its child, and the window bounds how many do."""

_POLL_LEASE_S = 0.5
_END_GRACE_S = 30.0
"""How long tasks of a stopped run have to end by themselves."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """One piece of a stage: its name and the arguments that only it gets."""

    name: str
    arguments: Mapping[str, Any]
    reads: Sequence[InputRecord] = ()
    """The outside files that it alone reads."""


def partitions(count: int) -> list[Part]:
    """One part for each partition."""
    return [Part(f"part-{number:05d}", {"partition": number}) for number in range(count)]


def whole() -> list[Part]:
    """The one part of a stage that is not partitioned."""
    return [Part("whole", {})]


@part_task
def run_part(spec: PartSpec) -> dict[str, Any]:
    """Run one part in a child process and move its files into the artifact."""
    name_part(spec.title, spec.part)
    session = session_of(spec.run_id)
    assert session is not None

    def report(done: int, total: int | None, facts: dict[str, float]) -> None:
        session.reporter.progress(spec.title, spec.part, done, total, facts)

    session.store.bring_needs(spec.needs)
    record = session.children.run(spec.call, report)
    record = record.model_copy(update={"packages": spec.packages})
    session.store.publish_part(spec.artifact, spec.part, record)
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
    while not session.store.is_finished(artifact):
        session.children.check()
        try:
            with (
                session.store.writing(artifact, session.run.run_id),
                session.events.making(artifact),
            ):
                if take_over(artifact, session.profile.inputs.taken):
                    session.store.adopt(artifact)
                else:
                    how = _make(session, stage, title, artifact, inputs, parts, common, run)
        except LeaseHeld as held:
            session.reporter.waiting(title, str(held))
            _wait(session, artifact)
    if how == "reused":
        session.store.require_sizes(artifact)
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
    if session.store.is_finished(artifact):
        drop_work(artifact)
        return "reused"
    started_at, began = utc_now(), time.monotonic()
    session.reporter.started(title, len(parts), stage.unit)
    keys = _part_keys(stage, artifact, inputs, parts) if run is None else {}
    names = [part.name for part in parts]
    done = session.store.finished_parts(artifact, names)
    mixing = session.runtime.other_versions == "accept"
    if not mixing:
        done = _discard_others(session, stage, artifact, done)
    missing = {name: key for name, key in keys.items() if name not in done}
    packages = () if mixing else stage.packages
    lent = session.store.lend_parts(artifact, missing, packages)
    if lent:
        done = session.store.finished_parts(artifact, names)
    _require_room(session, stage, title, artifact, inputs)
    specs = []
    for part in parts:
        if part.name in done:
            session.reporter.progress(title, part.name, 1, 1, {})
            session.reporter.part_finished(title, part.name)
        else:
            specs.append(_spec(session, stage, title, artifact, part, common))
    if run is not None:
        for spec in specs:
            run(spec)
            session.reporter.part_finished(title, spec.part)
    else:
        _run_parts(session, stage, title, artifact, specs)
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


def _discard_others(
    session: Session, stage: Stage, artifact: Artifact, done: Mapping[str, PartRecord]
) -> dict[str, PartRecord]:
    """Undo the parts of unfinished work that other versions of packages have made; the rest."""
    others = {part for part, one in done.items() if other_versions(one.packages, stage.packages)}
    for part in others:
        session.store.discard_part(artifact, part, done[part])
    return {part: record for part, record in done.items() if part not in others}


def _spec(
    session: Session,
    stage: Stage,
    title: str,
    artifact: Artifact,
    part: Part,
    common: Mapping[str, Any],
) -> PartSpec:
    arguments: Mapping[str, Any] = {**common, **part.arguments}
    if session.engine is not None:
        arguments = session.store.with_sources(arguments)
    call = Call(
        function=stage.function,
        arguments=dict(arguments),
        scratch=scratch_folder(artifact.work, part.name),
        resumable=stage.resumable,
        memory_bytes=int(session.runtime.memory_gib * GIB),
        timeout_s=session.runtime.part_timeout_s,
    )
    return PartSpec(
        run_id=session.run.run_id,
        title=title,
        part=part.name,
        root=session.store.root,
        artifact=artifact.path,
        work=artifact.work,
        needs=needs_of(
            session.store.root, call.arguments, part.name, local=stage.local, reads=stage.reads
        ),
        call=call,
        packages=installed(stage.packages),
    )


def in_window(
    session: Session,
    items: Sequence[Item],
    submit: Callable[[Item], PrefectFuture[Result]],
    window: Callable[[], int] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Keep as many tasks submitted as there are workers, never all of thousands.

    Yields each item with its task's result, as they come. A task that fails stops the run.

    Args:
        session: the run.
        items: what there is a task of.
        submit: begins the task of one.
        window: how many are submitted at once; by default the run's workers.
    """
    waiting = list(reversed(items))
    running: dict[PrefectFuture[Result], Item] = {}
    ended: queue.SimpleQueue[PrefectFuture[Result]] = queue.SimpleQueue()
    while waiting or running:
        most = window() if window else session.runtime.workers
        while waiting and len(running) < most:
            item = waiting.pop()
            future = submit(item)
            running[future] = item
            future.add_done_callback(ended.put)
        try:
            done = _next(session, ended)
            item = running.pop(done)
            result = done.result()
        except BaseException:
            # The run is lost; what its other parts have finished is kept for the next one.
            session.children.stop()
            raise
        yield item, result


def _next(session: Session, ended: queue.SimpleQueue[Result]) -> Result:
    """The next future that ends; Stopped where the run is stopped and none ends soon."""
    stopping_since = None
    while True:
        try:
            return ended.get(timeout=_POLL_LEASE_S)
        except queue.Empty:
            if session.children.is_stopping:
                stopping_since = stopping_since or time.monotonic()
                if time.monotonic() - stopping_since > _END_GRACE_S:
                    session.children.check()


def run_one(spec: PartSpec) -> dict[str, Any]:
    """Run a part from inside another task: on the cluster, where there is one, or in a child."""
    session = session_of(spec.run_id)
    assert session is not None
    if session.engine is not None and session.engine.takes(spec.call.arguments):
        return session.engine.submit(spec).result()
    counts: dict[str, Any] = run_part.fn(spec)
    return counts


def _run_parts(
    session: Session, stage: Stage, title: str, artifact: Artifact, specs: Sequence[PartSpec]
) -> None:
    engine = session.engine
    submit: Callable[[PartSpec], PrefectFuture[dict[str, Any]]] = run_part.submit
    window = None
    if engine is not None and all(engine.takes(spec.call.arguments) for spec in specs[:1]):
        submit, window = engine.submit, engine.window
    for spec, _counts in in_window(session, specs, submit, window):
        session.store.check_writing(artifact)
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
    records = session.store.finished_parts(artifact, [part.name for part in parts])
    done = [records[part.name] for part in parts]
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
    while not session.store.is_finished(artifact):
        session.children.check()
        if session.store.live_holder(artifact) is None:
            return
        time.sleep(_POLL_LEASE_S)
