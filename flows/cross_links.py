"""Prefect's flow runs and this project's runs, each named by the other.

A run record and its artifacts' manifests hold the id of the flow run; the flow run gets the run's
id and the labels of what it made or reused as tags, by which Prefect's pages can be searched, and a
list of them as a Markdown artifact. What Prefect holds is for people: nothing is read back from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from flows.funnel import publish_markdown
from infra.runs import Run

RUN_TAG = "webtext-run:"
_LOG = logging.getLogger(__name__)


def flow_run_id() -> str | None:
    """The id of the flow run around; None outside of any."""
    from prefect.runtime import flow_run

    identifier = flow_run.get_id()
    return str(identifier) if identifier else None


def tag_flow_run(run: Run, labels: Iterable[str] = ()) -> None:
    """Give the flow run around the run's id and some artifacts' labels as tags, beside its own."""
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    identifier = flow_run_id()
    if identifier is None:
        return
    tags = {*flow_run.get_tags(), f"{RUN_TAG}{run.run_id}", *labels}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(identifier), tags=sorted(tags))
    except Exception:  # noqa: BLE001  a page that cannot be marked must not end a run
        _LOG.warning("the flow run %s could not be tagged", identifier, exc_info=True)


def publish_artifacts(run: Run) -> None:
    """Name what a run made and reused on the flow run's page."""
    labels = list(dict.fromkeys(use.artifact for use in run.uses))
    if flow_run_id() is None or not labels:
        return
    tag_flow_run(run, labels)
    rows = [f"| `{use.artifact}` | {use.how} | {use.seconds:,.1f} |" for use in run.uses]
    table = "\n".join(["| artifact | | seconds |", "|---|---|---:|", *rows])
    told = f"## Run `{run.run_id}`\n\n`webtext trace {run.run_id}` tells more.\n\n{table}"
    publish_markdown("webtext-run", told)
