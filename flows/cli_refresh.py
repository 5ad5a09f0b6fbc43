"""The command that adds months to a corpus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from flows.cli_options import (
    DebugOption,
    JsonOption,
    Options,
    ProfileOption,
    SetOption,
    StoreOption,
    WorkersOption,
    in_flow,
)
from flows.cli_sources import SourceOptions
from flows.terminal import console

if TYPE_CHECKING:
    from flows.profile import Profile
    from flows.refresh import Refreshed


def register_refresh(app: App) -> None:
    """Register the commands of this module."""
    app.command(refresh)


def refresh(
    *,
    profile: ProfileOption = "demo",
    sources: SourceOptions = SourceOptions(),
    onto: Annotated[
        str | None,
        Parameter(
            name="--onto",
            help="The series to go on from, or a corpus that a run made; by default the profile's.",
        ),
    ] = None,
    anew: Annotated[
        bool, Parameter(name="--anew", help="Begin another series from nothing.", negative="")
    ] = False,
    by_month: Annotated[
        bool,
        Parameter(
            name="--by-month",
            help="Put older months that come late before newer ones, whose shards are made anew.",
            negative="",
        ),
    ] = False,
    store: StoreOption = None,
    workers: WorkersOption = None,
    set_: SetOption = (),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Add one month's dump, or many months', to a corpus: only what is new is crawled and read.

    Each dump is named by its month (RS_2017-09.zst); many are added oldest first, whatever their
    order here. Stopped or killed, the same command goes on. Without dumps, removals and changed
    filters are brought to all months. Then: webtext train series/...
    """
    assignments = (*set_, *sources.assignments())
    options = Options(profile, assignments, store, workers, sources.inputs())

    def flow(settings: Profile) -> dict[str, Any]:
        from flows.refresh import refresh as refresh_flow

        return refresh_flow(settings, onto, anew, by_month)

    settings, plain = in_flow(options, flow)
    from flows.refresh import Refreshed

    made = Refreshed.model_validate(plain)
    if json:
        sys.stdout.write(made.model_dump_json(indent=2) + "\n")
        return
    _print(made)
    console().print(f"\nThe series is in [bold]{settings.runtime.store / made.series}[/]")


def _print(made: Refreshed) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from flows.refresh import HEADINGS, month_cells

    table = Table(title="Months", title_justify="left", box=box.SIMPLE_HEAD)
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if place < 2 else "right", no_wrap=True)
    for cells in month_cells(made.months):
        table.add_row(*map(escape, cells))
    console().print(table)
    for note in made.notes:
        console().print(f"[yellow]note:[/] {escape(note)}", highlight=False)
