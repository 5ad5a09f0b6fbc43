"""What changed between two runs, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.markup import escape
from rich.tree import Tree

from eval.compare import Comparison
from flows.diff import RunsDiff
from infra.lineage_diff import Change, CurveDiff, StageDiff
from infra.lineage_diff_documents import DocumentsDiff

_MOST = 12
"""Changes of a kind that are shown; JSON has all."""


def diff_views(found: RunsDiff) -> Iterator[RenderableType]:
    """The parting, the stages, and what came of it."""
    tree = Tree(f"[bold]{found.first}[/] → [bold]{found.second}[/]", highlight=False)
    parting = f"they part at {found.parting}" if found.parting else "what both have is the same"
    tree.add(f"[yellow]{parting}[/]" if found.parting else f"[green]{parting}[/]")
    for stage in found.stages:
        _add_stage(tree, stage)
    if found.documents is not None:
        _add_documents(tree, found.documents)
    if found.losses is not None:
        _add_losses(tree, found.losses)
    for one in found.scores:
        tree.add(_comparison(one))
    for reason in found.not_compared:
        tree.add(f"[dim]not compared: {escape(reason)}[/]")
    yield tree


def _add_stage(tree: Tree, stage: StageDiff) -> None:
    if stage.first is None or stage.second is None:
        which = "second" if stage.first is None else "first"
        tree.add(f"{stage.stage}: only the {which} run has {stage.first or stage.second}")
        return
    if stage.same:
        tree.add(f"[dim]{stage.stage}: the same, {stage.first}[/]")
        return
    branch = tree.add(f"{stage.stage}: {stage.first} → {stage.second}")
    _add_changes(branch, "", stage.causes)
    if stage.follows:
        branch.add(f"[dim]follows from other {', '.join(stage.follows)}[/]")
    _add_changes(branch, "counts: ", stage.counts)
    _add_changes(branch, "made with: ", stage.made_by)


def _add_changes(tree: Tree, title: str, changes: tuple[Change, ...]) -> None:
    for change in changes[:_MOST]:
        tree.add(escape(f"{title}{change.what}: {_value(change.first)} → {_value(change.second)}"))
    if len(changes) > _MOST:
        tree.add(f"and {len(changes) - _MOST} changes more")


def _add_documents(tree: Tree, found: DocumentsDiff) -> None:
    (before, after), (tokens, tokens_after) = found.documents, found.tokens
    branch = tree.add(f"documents: {before:,} → {after:,}, tokens {tokens:,} → {tokens_after:,}")
    branch.add(f"{found.added:,} came{_reasons(found.added_why, 'before: ')}")
    branch.add(f"{found.removed:,} went{_reasons(found.removed_why, 'now: ')}")
    branch.add(f"{sum(found.changed.values()):,} changed{_reasons(found.changed, '')}")
    for document in found.examples[:_MOST]:
        branch.add(f"[dim]{escape(document.url or document.link_id)}: {document.why}[/]")
    for domain in found.domains[:_MOST]:
        branch.add(
            f"{escape(domain.domain)}: {domain.first:.3%} → {domain.second:.3%} of the tokens, "
            f"{domain.first_documents:,} → {domain.second_documents:,} documents"
        )


def _add_losses(tree: Tree, found: CurveDiff) -> None:
    first, second = found.last_losses
    steps = f"steps {found.steps[0]:,} and {found.steps[1]:,}"
    branch = tree.add(f"loss at the last step: {_loss(first)} → {_loss(second)} ({steps})")
    before, after = found.validation_losses
    if before is not None and after is not None:
        branch.add(f"validation loss: {before:.4f} → {after:.4f}")
    if found.first_different_step is None:
        branch.add("equal at every common step")
    else:
        most = f", at most by {found.largest_difference:+.4f}" if found.largest_at else ""
        where = f" at step {found.largest_at:,}" if found.largest_at else ""
        branch.add(f"differs from step {found.first_different_step:,} on{most}{where}")


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _comparison(one: Comparison) -> str:
    known = one.low is not None and one.high is not None
    interval = f" ({one.low:+.3g} to {one.high:+.3g})" if known else ""
    name = f"{one.column} {one.variant}"
    change = f"{one.change:+.3g} {one.unit}{interval}"
    return f"{name}: {one.first:,.4g} → {one.second:,.4g}, {change}: {one.verdict}"


def _reasons(why: Mapping[str, int], title: str) -> str:
    shown = ", ".join(f"{number:,} {reason}" for reason, number in list(why.items())[:_MOST])
    return f" ({title}{shown})" if shown else ""


def _value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
