"""Serving the deployments on their schedules from one process, with no work pool and no worker."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich.console import Console

from flows.profile import Profile
from flows.server import prefect_api

AT_ONCE = 2
"""Runs at a time: a build, and a scoring beside it."""


def serve_deployments(
    console: Console, profile: Profile, names: Sequence[str] = (), cron: str | None = None
) -> None:
    """Register the deployments and run what they schedule, until stopped.

    Without PREFECT_API_URL a Prefect server of its own, with pages, is started beside it.

    Args:
        console: where it is told what is served.
        profile: of all deployments.
        names: which ones; all by default.
        cron: takes the place of their schedules.
    """
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    profile.runtime.open_store().prepare()
    with prefect_api(profile.runtime.store / "prefect", schedules=True) as server:
        if server is not None:
            server.begin()
        from prefect import serve

        from flows.deployments import read_deployments, runner_deployment

        if server is not None:
            server.wait()
        stated = read_deployments(names)
        made = [runner_deployment(each, profile, cron) for each in stated]
        console.print(f"Prefect's pages: {os.environ['PREFECT_API_URL'].removesuffix('/api')}")
        for each in stated:
            when = cron or ", ".join(one.cron for one in each.schedules) or "when it is started"
            console.print(f"Serving {each.label:<20} {when}", highlight=False)
        console.print("Ctrl-C ends it")
        serve(*made, limit=AT_ONCE, print_starting_message=False)
