"""The deployments of infra/prefect.yaml, read once for whoever registers them.

`webtext serve` runs them from its own process, `webtext deploy` hands them to a work pool. Both put
in the profile, whole, so that no worker needs its file, and name flows by module, so that any
machine that has the package installed can run them.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from flows.profile import Profile
from infra.errors import StoreError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.deployments.runner import RunnerDeployment
    from prefect.flows import Flow

FILE = Path(__file__).parents[1] / "infra" / "prefect.yaml"
POOLS = Path(__file__).parents[1] / "infra" / "work_pools"
TAG = "webtext"
PoolType = Literal["process", "docker", "kubernetes"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Entry):
    """When a deployment runs."""

    cron: str
    timezone: str


class Limit(_Entry):
    """How many runs of a deployment go at a time, and what becomes of one more."""

    limit: int
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"]


class Deployment(_Entry):
    """One deployment as the file states it."""

    name: str
    description: str
    entrypoint: str
    """`FILE:NAME`, from the project's folder."""
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    schedules: tuple[Schedule, ...] = ()
    concurrency_limit: Limit
    work_pool: dict[str, Any]

    def flow(self) -> "Flow[..., Any]":
        """Its flow."""
        path, _, name = self.entrypoint.partition(":")
        module = ".".join(Path(path).with_suffix("").parts)
        found: Flow[..., Any] = getattr(importlib.import_module(module), name)
        return found

    @property
    def label(self) -> str:
        """`FLOW/NAME`, as Prefect calls it."""
        return f"{self.flow().name}/{self.name}"


def read_deployments(names: Sequence[str] = ()) -> list[Deployment]:
    """The deployments of the file, or those of these names.

    Raises:
        StoreError: there is none of a name.
    """
    stated = yaml.safe_load(FILE.read_text("utf-8"))["deployments"]
    found = [Deployment.model_validate(each) for each in stated]
    there = {each.name for each in found}
    for name in names:
        if name not in there:
            raise StoreError(f"there is no deployment {name!r}; there are {', '.join(there)}")
    return [each for each in found if not names or each.name in names]


def runner_deployment(
    stated: Deployment, profile: Profile, cron: str | None = None, **pool: Any
) -> "RunnerDeployment":
    """A deployment as Prefect registers it, with the profile put in.

    Args:
        stated: as the file has it.
        profile: its profile parameter.
        cron: takes the place of its schedules.
        pool: `work_pool_name` and `job_variables`, where it goes to a work pool.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.types.entrypoint import EntrypointType

    parameters = dict(stated.parameters)
    if "profile" in parameters:
        parameters["profile"] = profile.model_dump(mode="json")
    schedules = [CronSchedule(cron=one.cron, timezone=one.timezone) for one in stated.schedules]
    if cron is not None:
        schedules = [CronSchedule(cron=cron, timezone="UTC")]
    limit = stated.concurrency_limit
    made: RunnerDeployment = stated.flow().to_deployment(  # type: ignore[assignment]
        name=stated.name,
        description=stated.description,
        tags=list(stated.tags),
        parameters=parameters,
        schedules=list(schedules),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=limit.limit,
            collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy),
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
        **pool,
    )
    return made


def pool_template(kind: PoolType) -> dict[str, Any]:
    """The base job template of a kind of work pool."""
    template: dict[str, Any] = json.loads((POOLS / f"{kind}.json").read_text("utf-8"))
    return template


def pool_deployments(
    profile: Profile, pool: str, job_variables: dict[str, Any], names: Sequence[str] = ()
) -> "list[RunnerDeployment]":
    """The deployments, or those of these names, for the workers of a pool.

    Raises:
        StoreError: there is none of a name.
    """
    return [
        runner_deployment(
            stated,
            profile,
            work_pool_name=pool,
            job_variables={**stated.work_pool.get("job_variables", {}), **job_variables},
        )
        for stated in read_deployments(names)
    ]


async def deploy(
    client: "PrefectClient", pool: str, kind: PoolType, deployments: "list[RunnerDeployment]"
) -> list[str]:
    """Make or update the work pool and register the deployments with it; gives their labels."""
    await _make_pool(client, pool, kind)
    for each in deployments:
        await each.aapply()
    return [f"{each.flow_name}/{each.name}" for each in deployments]


async def _make_pool(client: "PrefectClient", name: str, kind: PoolType) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    template = pool_template(kind)
    try:
        there = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(name=name, type=kind, base_job_template=template)
        )
        return
    if there.type != kind:
        raise StoreError(
            f"the work pool {name} is of type {there.type}, not {kind}; give another name with "
            "--pool"
        )
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
