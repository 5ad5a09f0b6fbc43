"""Commands for whoever keeps the pipeline running: schedules, servers, checks."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter

from flows.cli_options import (
    DebugOption,
    JsonOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    WorkersOption,
    settings_of,
    store_folder,
)
from flows.terminal import console

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

Result = TypeVar("Result")

NotifyOption = Annotated[
    str | None,
    Parameter(
        name="--notify",
        help="Prefect block that is told of failed, late and crashed runs, as TYPE/NAME, for "
        "example slack-webhook/ops. Without one they show on the server's pages alone.",
    ),
]
LostOption = Annotated[
    int, Parameter(name="--lost-after", help="Seconds without a sign that make a run crashed.")
]


def register_operations(app: App) -> None:
    """Register the commands of this module."""
    for command in (serve, deploy, automations, retention, doctor):
        app.command(command)


def serve(
    names: tuple[str, ...] = (),
    *,
    profile: ProfileOption = "demo",
    cron: Annotated[
        str | None, Parameter(help="When to run, in place of the deployments' own schedules.")
    ] = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Serve the deployments of this machine from this process, until Ctrl-C; no work pool needed.

    A look for new dumps each night, scores of new checkpoints each night, old flow runs removed
    each week, and the pipeline and training when somebody starts them on the pages. Where
    PREFECT_API_URL is not set, a Prefect server is started beside it; its address is printed.

    Args:
        names: the deployments to serve, as infra/prefect.yaml calls them: on-demand, monthly,
            train, nightly, weekly. All by default.
    """
    from flows.serve import serve_deployments

    settings = settings_of(Options(profile, set_, store, workers, {}))
    serve_deployments(console(), settings, names, cron)


def deploy(
    names: tuple[str, ...] = (),
    *,
    profile: ProfileOption = "demo",
    pool: Annotated[str, Parameter(help="The work pool; made where there is none.")] = "webtext",
    type_: Annotated[
        Literal["process", "docker", "kubernetes"],
        Parameter(name="--type", help="What the pool's workers start runs as."),
    ] = "process",
    image: Annotated[
        str | None, Parameter(help="Container image, for docker and kubernetes.")
    ] = None,
    notify: NotifyOption = None,
    lost_after: LostOption = 90,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Register deployments, their work pool and automations with the server at PREFECT_API_URL.

    Giving it again brings them up to date. Then: prefect worker start --pool webtext

    Args:
        names: which deployments; all by default.
    """
    from flows.automations import apply_automations
    from flows.deployments import deploy as register
    from flows.deployments import pool_deployments

    settings = settings_of(Options(profile, set_, store, workers, {}))
    _require_server()
    variables = {"image": image} if image is not None else {}
    made = pool_deployments(settings, pool, variables, names)

    async def work(client: PrefectClient) -> tuple[list[str], list[str]]:
        labels = await register(client, pool, type_, made)
        return labels, await apply_automations(client, notify, lost_after)

    labels, applied = _on_server(work)
    out = console()
    for label in labels:
        out.print(f"deployment  {label}", highlight=False)
    for name in applied:
        out.print(f"automation  {name}", highlight=False)
    out.print(f"\nStart a worker with: prefect worker start --pool {pool}")


def automations(
    *,
    notify: NotifyOption = None,
    lost_after: LostOption = 90,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Put infra/automations.yaml in force: what follows a failed, late, crashed or lost run.

    Registered deployments alone are covered; give it again after `prefect deploy`.
    """
    from flows.automations import apply_automations

    for name in _on_server(lambda client: apply_automations(client, notify, lost_after)):
        console().print(f"automation  {name}", highlight=False)


def retention(
    *,
    days: Annotated[float, Parameter(help="Keep flow runs that ended in the last so many.")] = 90,
    delete: Annotated[bool, Parameter(help="Delete; without it only count.", negative="")] = False,
    store: StoreOption = None,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Remove the records of flow runs that ended long ago from Prefect's database.

    Of the server at PREFECT_API_URL, or of the store's own. The store itself is not touched:
    manifests and run records stay.
    """
    from datetime import timedelta

    from flows.server import prefect_api
    from infra.place import folder_of

    home = folder_of(store or "runs") / "prefect"
    with prefect_api(home) as server:
        if server is not None:
            server.begin()
            server.wait()
        from flows.retention import count_old_runs, remove_old_runs

        age = timedelta(days=days)
        count = remove_old_runs(age) if delete else count_old_runs(age)
    told = "removed" if delete else "could go; --delete removes them"
    console().print(f"{count:,} flow runs that ended more than {days:g} days ago {told}")


def doctor(
    *,
    profile: ProfileOption = "demo",
    store: StoreOption = None,
    set_: SetOption = (),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> int:
    """Check the installation, the store, the server, the GPU and the network; say what to mend.

    Exits with 1 where something does not work; what is only worth knowing costs nothing.
    """
    from flows.doctor import examine, print_findings

    options = Options(profile, set_, store, None, {})
    findings = examine(lambda: settings_of(options), store_folder(options))
    if json:
        from flows.doctor import findings_json

        sys.stdout.write(findings_json(findings) + "\n")
    else:
        print_findings(console(), findings)
    return int(any(finding.state == "error" for finding in findings))


def _require_server() -> str:
    """The address in PREFECT_API_URL. Raises StoreError where there is none."""
    from infra.errors import StoreError

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise StoreError(
            "PREFECT_API_URL is not set: start a server (`prefect server start`, or `make up`) and "
            "give its address, e.g. PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    return url


def _on_server(work: Callable[[PrefectClient], Awaitable[Result]]) -> Result:
    """Do something with the client of the server at PREFECT_API_URL.

    Raises:
        StoreError: there is none, or it does not answer.
    """
    import asyncio

    from infra.errors import StoreError

    url = _require_server()
    import httpx
    from prefect.client.orchestration import get_client

    async def run() -> Any:
        async with get_client() as client:
            return await work(client)

    try:
        result: Result = asyncio.run(run())
    except (httpx.TransportError, ConnectionError, TimeoutError) as error:
        raise StoreError(f"no Prefect server answers at {url} ({error}); is it running?") from error
    return result
