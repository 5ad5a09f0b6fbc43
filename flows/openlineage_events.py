"""One OpenLineage run event: which job, which run, from what, to what, and how it went."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import attr
from openlineage.client.event_v2 import Job, RunEvent, RunState
from openlineage.client.event_v2 import Run as JobRun
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    documentation_job,
    error_message_run,
    job_type_job,
    parent_run,
    processing_engine_run,
)
from openlineage.client.generated.base import set_producer

from flows import stages
from flows.openlineage import job_run_id
from flows.openlineage_datasets import LOGICAL_NAMESPACE, inputs, outputs
from infra.runs import Run
from infra.store import Artifact, Store

PRODUCER = "urn:webtext:pipeline"
RUN_SCHEMA = "urn:webtext:openlineage:1-0-0:RunFacet.json"

_STAGES = {stage.name: stage for stage in vars(stages).values() if isinstance(stage, stages.Stage)}


@attr.define
class WebtextRunFacet(RunFacet):
    """The run by the ids that the store and Prefect know it by."""

    runId: str  # noqa: N815  the standard's spelling
    profile: str
    prefectFlowRunId: str | None = attr.field(default=None)  # noqa: N815
    artifact: str | None = attr.field(default=None)
    how: str | None = attr.field(default=None)
    seconds: float | None = attr.field(default=None)

    @staticmethod
    def _get_schema() -> str:
        return RUN_SCHEMA


def build_event(
    kind: str,
    when: datetime,
    store: Store,
    run: Run,
    artifact: Artifact | None,
    *,
    how: str | None = None,
    seconds: float | None = None,
    message: str | None = None,
) -> RunEvent:
    """The event of a flow, or of one of its stages.

    Args:
        kind: `START`, `COMPLETE`, `FAIL` or `ABORT`.
        when: the moment it tells of.
        store: where the artifacts are.
        run: the run's record.
        artifact: what the stage makes; None for the flow itself.
        how: `made` or `reused`.
        seconds: what the stage took.
        message: why it failed.
    """
    set_producer(PRODUCER)
    facets: dict[str, RunFacet] = {
        "webtext_run": WebtextRunFacet(
            runId=run.run_id,
            profile=run.profile,
            prefectFlowRunId=run.prefect_flow_run_id,
            artifact=artifact.label if artifact else None,
            how=how,
            seconds=round(seconds, 3) if seconds is not None else None,
        ),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=_version("prefect"), name="Prefect", openlineageAdapterVersion="1"
        ),
    }
    if message and kind in ("FAIL", "ABORT"):
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=message, programmingLanguage="Python"
        )
    if artifact is not None:
        facets["parent"] = _parent(run)
    identifier = job_run_id(run.run_id, artifact.label if artifact else "")
    is_made = kind == "COMPLETE" and artifact is not None
    return RunEvent(
        eventType=RunState(kind),
        eventTime=when.isoformat(timespec="milliseconds"),
        run=JobRun(runId=identifier, facets=facets),
        job=_job(run, artifact),
        inputs=inputs(artifact, store) if artifact else [],
        outputs=outputs(artifact, store) if is_made and artifact else [],
        producer=PRODUCER,
    )


def _job(run: Run, artifact: Artifact | None) -> Job:
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH",
            integration="PREFECT",
            jobType="FLOW" if artifact is None else "STAGE",
        )
    }
    stage = _STAGES.get(artifact.stage) if artifact else None
    if stage is not None:
        facets["documentation"] = documentation_job.DocumentationJobFacet(
            description=f"The stage {stage.name}, version {stage.version}: {stage.function}."
        )
    return Job(namespace=LOGICAL_NAMESPACE, name=_job_name(run, artifact), facets=facets)


def _job_name(run: Run, artifact: Artifact | None) -> str:
    return run.flow if artifact is None else f"{run.flow}.{artifact.stage}"


def _parent(run: Run) -> parent_run.ParentRunFacet:
    identifier = job_run_id(run.run_id)
    return parent_run.ParentRunFacet(
        run=parent_run.Run(runId=identifier),
        job=parent_run.Job(namespace=LOGICAL_NAMESPACE, name=run.flow),
        root=parent_run.Root(
            run=parent_run.RootRun(runId=identifier),
            job=parent_run.RootJob(namespace=LOGICAL_NAMESPACE, name=run.flow),
        ),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
