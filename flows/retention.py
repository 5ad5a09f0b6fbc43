"""Retention of Prefect's own database: flow runs that ended long ago are removed through its API.

With a run go its task runs, logs and artifacts at once or at the server's next sweep. Prefect's own
sweep does the same where the server is told so (PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED, as the
compose file does); this is for servers that are not ours to configure, and for the database that a
store's own runs leave.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.schemas.filters import FlowRunFilter

RETENTION_DAYS = 90.0
_PAGE = 200


def count_old_runs(age: timedelta) -> int:
    """How many flow runs ended longer than `age` ago, subflows included."""
    return asyncio.run(_count(datetime.now(UTC) - age))


def remove_old_runs(age: timedelta) -> int:
    """Remove all flow runs that ended longer than `age` ago; gives how many."""
    return asyncio.run(_remove(datetime.now(UTC) - age))


def _ended_before(moment: datetime) -> "FlowRunFilter":
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import TERMINAL_STATES

    return FlowRunFilter.model_validate(
        {
            "end_time": {"before_": moment},
            "state": {"type": {"any_": sorted(TERMINAL_STATES)}},
        }
    )


async def _count(before: datetime) -> int:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return await client.count_flow_runs(flow_run_filter=_ended_before(before))


async def _remove(before: datetime) -> int:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    removed = 0
    wanted = _ended_before(before)
    async with get_client() as client:
        while found := await client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE):
            for run in found:
                try:
                    await client.delete_flow_run(run.id)
                except ObjectNotFound:  # it went with the run around it
                    continue
                removed += 1
    return removed
