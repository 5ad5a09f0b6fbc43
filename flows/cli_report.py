"""The `report` commands: a run as a page, and the lineage as pages on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, StoreRequired
from flows.terminal import console

if TYPE_CHECKING:
    from pydantic import BaseModel

    from infra.store import Store

OpenOption = Annotated[bool, Parameter(name="--open", help="Open it in a browser.", negative="")]


def register_report(app: App) -> None:
    """Add the commands to the command line."""
    reports = App(name="report", help="Write the report of a run as a page, or serve the lineage.")
    reports.default(report)
    reports.command(serve)
    app.command(reports)


def report(
    run: str = "latest",
    *,
    open_: OpenOption = False,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Write the report of a run: one HTML page that opens from disk. Prints its path.

    `webtext run` writes it, too. Writing it again takes in what was found out since: overlap with
    the benchmarks, removals.

    Args:
        run: a run's id, its first letters, or `latest`: the newest of `webtext run`.
    """
    from flows.report import write_report
    from flows.running import store_of

    path = write_report(store_of(store), run)
    sys.stdout.write(f"{path}\n")
    if open_:
        open_page(path.resolve().as_uri())


def serve(
    *,
    port: Annotated[int, Parameter(help="Port; 0 takes a free one.")] = 8091,
    open_: OpenOption = False,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Serve reports and lineage on loopback, with search by URL, domain, submission, id and text.

    Prints `ready http://127.0.0.1:8091/` when it listens; Ctrl-C ends it. Nothing is written but
    indexes, and nothing but this machine is answered.
    """
    from flows.report_serve import HOST, report_server
    from flows.running import store_of

    with report_server(store_of(store), port) as server:
        address = f"http://{HOST}:{server.server_port}/"
        sys.stdout.write(f"ready {address}\n")
        sys.stdout.flush()
        if open_:
            open_page(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console().print("Stopped.")


def open_trace(store: Store, answer: BaseModel, text: str | None) -> None:
    """Write the page of an answer of `webtext trace` to the store's reports, and open it."""
    from flows.report import write_trace

    path = write_trace(store, answer, text)
    sys.stdout.write(f"{path}\n")
    open_page(path.resolve().as_uri())


def open_page(address: str) -> None:
    """Open an address in a browser; say so where there is none."""
    import webbrowser

    if not webbrowser.open(address):
        console().print(f"No browser was found; open {address}")
