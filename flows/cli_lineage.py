"""The commands that follow data to evaluation and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, JsonOption, StoreRequired
from flows.terminal import console, show_answer

RunOption = Annotated[
    str | None,
    Parameter(name="--run", help="Which build: a run, or an artifact of it. Default: the newest."),
]


def register_lineage(app: App) -> None:
    """Add the commands to the command line."""
    app.command(trace)
    app.command(impact)
    app.command(runs, name=["runs", "list"])
    app.command(diff)
    app.command(openlineage)
    app.command(reproduce)


def trace(
    subject: str,
    *,
    run: RunOption = None,
    show: Annotated[
        Literal["text", "page"] | None,
        Parameter(help="Print a link's extracted text, or its page as it was sent."),
    ] = None,
    limit: Annotated[int, Parameter(help="Links or documents that a list has; 0: all.")] = 20,
    open_: Annotated[
        bool, Parameter(name="--open", help="Open it as a page in a browser.", negative="")
    ] = False,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001  read by `main`
) -> None:
    """Follow anything up to its submissions and down to the scores that stand on it.

    Args:
        subject: a URL, a domain, a submission's id, a link_id, a token of a shard
            (train/shard-00003-000.npy@5120), steps of a training (model/demo-3f9c@17 or @17-20), an
            item of a benchmark (lambada#5), a score (lambada_acc, scores/...), a run's id or that
            of its Prefect flow run, or any artifact.
    """
    from flows.running import store_of
    from flows.trace import Desk, link_of

    desk = Desk(store_of(store), run, _told)
    answer = desk.ask(subject, limit)
    if show == "text":
        sys.stdout.write(desk.text(link_of(answer, subject)) + "\n")
    elif show == "page":
        sys.stdout.buffer.write(desk.page(link_of(answer, subject)))
    elif json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    elif open_:
        from flows.cli_report import open_trace

        open_trace(desk.library.store, answer, desk.text_of(answer))
    else:
        from flows.trace_show import trace_tree

        show_answer(trace_tree(answer))


def impact(
    *,
    domain: Annotated[
        tuple[str, ...],
        Parameter(
            help="A domain or host, with all below it. May be repeated.",
            negative="",
            show_default=False,
        ),
    ] = (),
    url: Annotated[
        tuple[str, ...], Parameter(help="A page. May be repeated.", negative="", show_default=False)
    ] = (),
    list_: Annotated[
        tuple[Path, ...],
        Parameter(
            name="--list",
            help="File with a URL, domain or host a line.",
            negative="",
            show_default=False,
        ),
    ] = (),
    run: Annotated[
        str | None,
        Parameter(name="--run", help="Only this build: a run, or an artifact of it."),
    ] = None,
    limit: Annotated[int, Parameter(help="Links that are listed; 0: all.")] = 20,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Tell what some pages are to the corpus, the checkpoints and the scores, in every build."""
    from flows.impact import impact_of, read_wanted
    from flows.running import store_of
    from infra.lineage_build import Library

    library = Library(store_of(store))
    builds = library.builds if run is None else [library.build_of(run)]
    answer = impact_of(library, read_wanted(domain, url, list_), builds, limit, _told)
    if json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        from flows.trace_show import impact_trees

        for tree in impact_trees(answer):
            show_answer(tree)


def runs(
    run: str | None = None,
    *,
    limit: Annotated[int, Parameter(help="Runs that are listed; 0: all.")] = 20,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List runs and artifacts with state, size, age and scores. Other commands take their names.

    Args:
        run: show only this one: a run's id, its first letters, or a Prefect flow run's id.
    """
    if run is not None:
        trace(run, store=store, json=json, debug=debug)
        return
    from datetime import UTC, datetime

    from flows.removed import mark_removed
    from flows.running import store_of
    from infra.lineage_runs import take_inventory

    opened = store_of(store)
    found = mark_removed(opened, take_inventory(opened, datetime.now(UTC), limit))
    if json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        from flows.runs_show import print_inventory

        print_inventory(console(), found)


def diff(
    first: str,
    second: str,
    *,
    limit: Annotated[int, Parameter(help="Documents and domains that are listed.")] = 10,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Tell what changed between two runs, and the first stage at which they part.

    Args:
        first: a run's id, the first letters of it, or latest.
        second: another.
    """
    from flows.diff import diff_runs
    from flows.running import store_of
    from infra.lineage_build import Library

    found = diff_runs(Library(store_of(store)), first, second, limit, _told)
    if json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        from flows.diff_show import diff_views

        for view in diff_views(found):
            show_answer(view)


def reproduce(
    score: str,
    *,
    check: Annotated[
        bool,
        Parameter(help="Run the command into a new store and compare every byte.", negative=""),
    ] = False,
    keep: Annotated[
        Path | None, Parameter(help="Where that store is made and kept; else it is removed.")
    ] = None,
    find: Annotated[
        tuple[Path, ...],
        Parameter(
            help="Folders that files are looked for in, by their hash, which are not where they "
            "were.",
            negative="",
            consume_multiple=True,
            show_default=False,
        ),
    ] = (),
    run: RunOption = None,
    store: StoreRequired = Path("runs"),
    json: JsonOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> int:
    """Tell the one command that gives a score again, and all it reads, with hashes.

    Every setting and file is in a profile that is written into the store. What the live web gave
    is not asked for again: the captures of then are taken over. Exits with 1 where something that
    it needs is not there, or with --check where a byte is different.

    Args:
        score: a column (lambada_acc), a benchmark, scores/... with or without :COLUMN, or the first
            digits of its fingerprint.
    """
    from flows.reproduce import recipe_of
    from flows.reproduce_check import check_aside
    from flows.reproduce_show import checked_view, recipe_views
    from flows.running import store_of
    from flows.trace import scores_meant
    from flows.trace_subject import read_subject
    from infra.errors import StoreError
    from infra.lineage_build import Library

    library = Library(store_of(store))
    subject = read_subject(library.store, score)
    if subject.kind != "score":
        raise StoreError(f"{score!r} is no score; `webtext runs` lists those there are")
    recipe = recipe_of(library, scores_meant(library, subject, run), subject.column, find)
    checked = check_aside(library, recipe, keep) if check else None
    if json:
        sys.stdout.write((checked or recipe).model_dump_json(indent=2) + "\n")
    elif checked is not None:
        show_answer(checked_view(checked))
    else:
        for view in recipe_views(recipe):
            show_answer(view)
    return 0 if (checked.equal if checked else not recipe.obstacles()) else 1


def _told(label: str, done: int, total: int) -> None:
    """Say that an index is being made: the first question to a large store waits for it."""
    if done == 1 and total > 1:
        console().print(f"[dim]indexing {label}, once[/]", highlight=False)


def openlineage(
    run: str,
    *,
    url: Annotated[
        str | None,
        Parameter(help="The server, for example http://127.0.0.1:5000. Default: OPENLINEAGE_URL."),
    ] = None,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Send the OpenLineage events of a run, which are in the store, to a server such as Marquez.

    A key that the server wants is read from OPENLINEAGE_API_KEY.

    Args:
        run: the run's id, as `webtext runs` shows it.
    """
    from flows.openlineage import send_again
    from flows.running import store_of

    sent = send_again(store_of(store), run, url)
    console().print(f"{sent} events sent")
