"""How to have a score again, and whether it was had, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from eval.table import format_score
from flows.reproduce import Recipe
from flows.reproduce_check import Checked
from flows.reproduce_inputs import OutsideInput
from flows.reproduce_made import MadeWith


def recipe_views(recipe: Recipe) -> Iterator[RenderableType]:
    """The command, and under it all it reads and was made with."""
    tree = Tree(f"[bold]{escape(recipe.score)}[/]", highlight=False)
    for line in recipe.lines:
        tree.add(f"{line.column} {line.variant}: [bold]{format_score(line.value)}[/]")
    inputs = tree.add("inputs")
    inputs.add(f"profile {escape(recipe.profile)} [dim]sha256 {recipe.profile_sha256}[/]")
    for one in recipe.inputs:
        inputs.add(_input(one))
    for taken in recipe.taken:
        text = f"{escape(taken.artifact)} is taken over: {taken.files:,} files, {taken.bytes:,} B"
        branch = inputs.add(f"{text} [dim]fingerprint {taken.fingerprint}[/]")
        branch.add(escape(taken.why))
    tree.add(f"made again: {escape(', '.join(recipe.made_again))}")
    _add_made_with(tree, recipe.made_with)
    for note in recipe.notes:
        tree.add(f"[yellow]{escape(note)}[/]")
    yield tree
    yield Text(f"\n{recipe.shell}\n", style="bold", no_wrap=True, overflow="ignore")
    obstacles = recipe.obstacles()
    if obstacles:
        yield Text("First mend what stands in its way:", style="red")
        for obstacle in obstacles:
            yield Text(f"  {obstacle}")


def checked_view(checked: Checked) -> RenderableType:
    """What was compared, and where the two part."""
    tree = Tree(f"[bold]{escape(checked.score)}[/] beside {escape(checked.store)}", highlight=False)
    for one in checked.artifacts:
        if one.different is None:
            equal = f"{one.files:,} files, {one.bytes:,} B equal"
            tree.add(f"[green]=[/] {escape(one.artifact)} [dim]{one.how}, {equal}[/]")
        else:
            tree.add(f"[red]≠ {escape(one.artifact)}[/]: {escape(one.different)}")
    first = checked.first_different
    if first is None:
        tree.add("[green]every byte is the same[/]")
    else:
        where = escape(f"{first.artifact}: {first.different}")
        tree.add(f"[red]they part at {where}[/]")
    return tree


def _input(one: OutsideInput) -> str:
    where = escape(one.path or one.name)
    size = "" if one.bytes is None else f", {one.bytes:,} B"
    hashed = f"[dim]sha256 {one.sha256}{size}[/]"
    if one.advice is not None:
        return f"[red]{one.role} {where}: {escape(one.advice)}[/] {hashed}"
    return f"{one.role} {where} {hashed}" + (
        " [dim]not read[/]" if one.state == "not needed" else ""
    )


def _add_made_with(tree: Tree, made: MadeWith) -> None:
    commits = ", ".join(made.commits) or "not known"
    branch = tree.add(f"made with {', '.join(made.pythons)}, commit {commits}")
    packages = [f"{name} {' and '.join(versions)}" for name, versions in made.packages.items()]
    branch.add(f"[dim]{escape(', '.join(packages))}[/]")
    for one in made.differences:
        style = "red" if one.stands_in_the_way else "yellow"
        told = escape(f"{one.what} was {one.made_with}, here {one.here}: {one.advice}")
        branch.add(f"[{style}]{told}[/] [dim]{', '.join(one.stages)}[/]")
