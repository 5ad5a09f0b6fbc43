"""The joins part of `webtext verify`: whether what the store holds fits together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rich.console import Console
from rich.markup import escape

from infra.errors import CorruptArtifact
from infra.lineage_build import Build, Library
from infra.lineage_joins import check_joins
from infra.lineage_ledger import check_inputs, check_ledger
from infra.lineage_training import check_models
from infra.store import Store

_MOST = 50
"""Problems of a build that are told; more of them would say no more."""


def verify_joins(console: Console, store: Store, labels: Sequence[str] = ()) -> int:
    """Check every build, or those with one of these artifacts in them; 1 if something is amiss."""
    try:
        library = Library(store)
    except CorruptArtifact as error:
        console.print(f"[red]no joins were checked:[/] {escape(str(error))}", highlight=False)
        return 1
    wrong = _tell(console, "inputs", check_inputs(library)) if not labels else 0
    for build in library.builds:
        if not labels or not set(labels).isdisjoint(_labels(build)):
            wrong |= _tell(console, f"joins     {build.tip.label}", _problems(library, build))
    if wrong:
        console.print("Remove the artifacts that are wrong and run again: they are made anew.")
    return wrong


def _problems(library: Library, build: Build) -> Iterator[str]:
    try:
        yield from check_ledger(build)
        yield from check_joins(build)
        yield from check_models(library, build)
    except (CorruptArtifact, OSError, ValueError, KeyError) as error:
        yield f"a table or record cannot be read: {error}"


def _tell(console: Console, title: str, problems: Iterator[str]) -> int:
    found = list(islice(problems, _MOST))
    mark = "[red]WRONG[/]     " if found else "[green]ok[/]        "
    console.print(f"{mark} {title}", highlight=False)
    for problem in found:
        console.print(f"           {escape(problem)}", highlight=False)
    return 1 if found else 0


def _labels(build: Build) -> set[str]:
    return {known.label for known in build.members()}
