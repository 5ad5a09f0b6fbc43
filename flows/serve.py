"""Serving the pipeline on a schedule from one process, with no work pool."""

from __future__ import annotations

import os

from rich.console import Console

from flows.profile import Profile
from flows.server import prefect_api
from infra.store import Store


def serve_pipeline(console: Console, profile: Profile, cron: str) -> None:
    """Register a scheduled deployment of the pipeline and run what it schedules, until stopped.

    Without PREFECT_API_URL a Prefect server of its own, with pages, is started beside it.
    """
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    Store(profile.runtime.store).prepare()
    with prefect_api(profile.runtime.store / "prefect", schedules=True) as server:
        if server is not None:
            server.begin()
        from flows.pipeline import pipeline

        if server is not None:
            server.wait()
        console.print(f"Prefect's pages: {os.environ['PREFECT_API_URL'].removesuffix('/api')}")
        console.print(f"Serving pipeline/{profile.name}, scheduled at {cron!r}; Ctrl-C ends it")
        pipeline.serve(
            name=profile.name,
            cron=cron,
            parameters={"profile": profile.model_dump(mode="json")},
            limit=1,
            print_starting_message=False,
        )
