"""Answers of `webtext trace` and `webtext impact` as trees for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from infra.lineage_answers import (
    ArtifactTrace,
    Capture,
    Dropped,
    Link,
    LinkTrace,
    PlaceTrace,
    Reading,
    RunTrace,
    ScoreLine,
    ScoreTrace,
    Span,
    StepTrace,
)
from infra.lineage_impact import DomainTrace, Fate, ListedLink

if TYPE_CHECKING:
    from flows.impact import Impact

_MOST = 10
"""Entries that a list shows; JSON has all."""


def trace_tree(
    answer: LinkTrace
    | DomainTrace
    | PlaceTrace
    | StepTrace
    | ScoreTrace
    | ArtifactTrace
    | RunTrace,
) -> Tree:
    """An answer, for the terminal."""
    match answer:
        case LinkTrace():
            return _link_tree(answer)
        case DomainTrace():
            return _domain_tree(answer)
        case PlaceTrace():
            return _place_tree(answer)
        case StepTrace():
            return _step_tree(answer)
        case ScoreTrace():
            return _score_tree(answer)
        case ArtifactTrace():
            return _artifact_tree(answer)
        case RunTrace():
            return run_tree(answer)


def _link_tree(found: LinkTrace) -> Tree:
    link = found.link
    tree = _tree(f"[bold]{escape(link.url)}[/]")
    known = f"{link.link_id}, partition {link.partition}, domain {escape(link.domain)}"
    tree.add(f"link {known}" + (f", karma {link.karma:,}" if link.karma is not None else ""))
    _add_posts(tree, link)
    if found.origin is not None:
        of = found.origin
        named = escape(of.origin or (of.sha256 or "")[:12])
        tree.add(f"row {of.row:,} of file {of.file} {named}")
    if found.capture is not None:
        _add_capture(tree, found.capture, found.build.get("captures", ""))
    if found.document is not None:
        text = found.document
        shown = f"document: {text.tokens:,} tokens, {text.language}, {text.split or 'not kept'}"
        branch = tree.add(shown + (f", “{escape(text.title)}”" if text.title else ""))
        for copy in found.copies:
            branch.add(f"kept in place of {copy.link_id} ({copy.kind}, {copy.similarity:.2f})")
        if found.copies_in_all > len(found.copies):
            branch.add(f"and of {found.copies_in_all - len(found.copies):,} more")
    if found.taken_down is not None:
        tree.add(f"[red]taken down {escape(found.taken_down)}[/]")
    if found.dropped is not None:
        _add_dropped(tree, found.dropped)
    _add_spans(tree, found.spans)
    _add_readings(tree, found.readings)
    _add_scores(tree, found.scores)
    return tree


def _add_posts(tree: Tree, link: Link) -> None:
    for post in link.submissions[:_MOST]:
        place, when = escape(post.subreddit), _time(post.created_utc)
        tree.add(f"submission {post.id} in r/{place}, karma {post.karma:,}, {when}")
    if len(link.submissions) > _MOST:
        tree.add(f"and {len(link.submissions) - _MOST:,} submissions more")


def _add_capture(tree: Tree, capture: Capture, label: str) -> None:
    status = f" {capture.status}" if capture.status else ""
    branch = tree.add(f"capture: {capture.outcome}{status}, from {capture.source}")
    if capture.detail:
        branch.add(escape(capture.detail))
    if capture.redirects:
        branch.add(f"{capture.redirects} redirects, to {escape(capture.final_url or '')}")
    if capture.warc_file:
        place = f"{label}/{capture.warc_file} at {capture.warc_offset:,}"
        when = f", captured {capture.captured_at:%Y-%m-%d %H:%M}" if capture.captured_at else ""
        branch.add(f"{place}, {capture.warc_length:,} bytes{when}")
        if capture.payload_offset != capture.warc_offset:
            branch.add(f"its body is that of the record at {capture.payload_offset:,}")


def _add_dropped(tree: Tree, end: Dropped) -> None:
    detail = f": {escape(end.detail)}" if end.detail else ""
    branch = tree.add(f"[yellow]dropped by {end.stage}, {end.reason}[/]{detail}")
    if end.kept is not None:
        kept = end.kept
        branch.add(f"kept in its place: {escape(kept.url or kept.link_id)}")
        branch.add(f"{kept.kind}, similarity {kept.similarity:.2f}, of {kept.artifact or '?'}")


def _add_spans(tree: Tree, spans: Sequence[Span]) -> None:
    for span in spans[:_MOST]:
        last = span.start + span.length - 1
        tree.add(f"tokens {span.start:,}–{last:,} of {span.shard}")
    if len(spans) > _MOST:
        tree.add(f"and {len(spans) - _MOST:,} spans more")


def _add_readings(tree: Tree, readings: Iterable[Reading]) -> None:
    for reading in readings:
        model = f"{escape(reading.model)}, of {reading.of_steps:,} steps"
        if not reading.steps:
            tree.add(f"[dim]read by no step of {model}[/]")
            continue
        shown = ", ".join(f"{step:,}" for step in reading.steps[:_MOST])
        more = f" and {len(reading.steps) - _MOST:,} more" if len(reading.steps) > _MOST else ""
        branch = tree.add(f"read by {len(reading.steps):,} steps of {model}: {shown}{more}")
        lasting = sorted({*reading.steps} - {*reading.without_update})
        if lasting:
            branch.add(f"in every checkpoint since step {lasting[0]:,}")
        if reading.without_update:
            branch.add(f"{len(reading.without_update):,} of these steps were taken back or skipped")


def _add_scores(tree: Tree, scores: Sequence[ScoreLine]) -> None:
    if not scores:
        return
    branch = tree.add("scores that stand on it")
    for line in scores:
        branch.add(_score(line))


def _score(line: ScoreLine) -> str:
    interval = (
        "" if line.low is None or line.high is None else f" ({line.low:,.4g}–{line.high:,.4g})"
    )
    return f"{line.column} {line.variant} {line.value:,.4g}{interval} [dim]{line.artifact}[/]"


def _domain_tree(found: DomainTrace) -> Tree:
    tree = _tree(f"[bold]{escape(found.domain)}[/], partition {found.partition}")
    _add_fate(tree, found.fate)
    _add_links(tree, found.fate.links, found.shown)
    return tree


def impact_trees(found: Impact) -> Iterator[Tree]:
    """A tree a build."""
    for one in found.builds:
        tip = list(one.build.values())[-1]
        tree = _tree(f"[bold]{escape(tip)}[/], {found.hosts:,} hosts and {found.urls:,} URLs")
        _add_fate(tree, one.fate)
        for shared in one.overlaps:
            many = f"{len(shared.items):,} items of {shared.benchmark}"
            tree.add(f"shares {shared.ngrams:,} n-grams with {many} [dim]{shared.artifact}[/]")
        _add_links(tree, one.fate.links, one.shown)
        if one.unknown:
            more = f" and {one.unknown - _MOST:,} more" if one.unknown > _MOST else ""
            names = ", ".join(map(escape, one.unknown_shown[:_MOST]))
            tree.add(f"[yellow]no link of {names}{more}[/]")
        yield tree


def _add_links(tree: Tree, links: int, shown: Sequence[ListedLink]) -> None:
    branch = tree.add("links")
    for link in shown:
        tokens = f", {link.tokens:,} tokens" if link.tokens else ""
        branch.add(f"{escape(link.url)} [dim]karma {link.karma:,}, {link.fate}{tokens}[/]")
    if links > len(shown):
        branch.add(f"and {links - len(shown):,} more")


def _add_fate(tree: Tree, fate: Fate) -> None:
    """Add what some links add up to."""
    tree.add(f"{fate.links:,} links of {fate.submissions:,} submissions")
    branch = tree.add("ended as")
    for end, links in fate.ends.items():
        branch.add(f"{links:,} {end}")
    tree.add(
        f"{fate.documents:,} documents ({fate.share_of_documents:.4%} of the corpus), "
        f"{fate.tokens:,} tokens ({fate.share_of_tokens:.4%})"
    )
    if fate.shards:
        names = list(fate.shards)
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        tree.add(f"in {len(names)} shards: {', '.join(names[:_MOST])}{more}")
    _add_readings(tree, fate.readings)
    _add_scores(tree, fate.scores)


def _place_tree(found: PlaceTrace) -> Tree:
    tree = _tree(f"[bold]token {found.offset:,} of {found.shard}[/], sequence {found.row:,}")
    if found.span is None or found.document is None:
        tree.add("padding: no document's token")
        return tree
    tree.add(f"token {found.token_of_document:,} of its document")
    tree.add(_link_tree(found.document))
    return tree


def _step_tree(found: StepTrace) -> Tree:
    last = "" if found.last_step == found.first_step else f"–{found.last_step:,}"
    steps = f"step {found.first_step:,}{last} of {found.of_steps:,}"
    tree = _tree(f"[bold]{escape(found.model)}[/], {steps}, {found.sequences:,} sequences")
    for line in found.losses[:_MOST]:
        measured = line.get("validation_loss")
        validation = f", validation {measured:.4f}" if measured is not None else ""
        loss = "not finite" if line["loss"] is None else f"{line['loss']:.4f}"
        tree.add(f"step {line['step']:,}: loss {loss}{validation}")
    for line in found.spikes[:_MOST]:
        tree.add(f"[yellow]spike at step {line['step']:,}: {line['kind']}, {line['action']}[/]")
    branch = tree.add("read")
    for read in found.documents:
        where = f"{read.shard} row {read.row:,}"
        branch.add(f"{escape(read.url or read.link_id)} [dim]step {read.step:,}, {where}[/]")
    if more := found.sequences - found.sequences_shown:
        branch.add(f"and the documents of {more:,} sequences more")
    _add_removed(tree, found.removed_documents)
    _add_scores(tree, found.scores)
    return tree


def _score_tree(found: ScoreTrace) -> Tree:
    tree = _tree(f"[bold]{escape(found.artifact)}[/]")
    for line in found.scores:
        tree.add(_score(line))
    for item in found.items:
        shown = ", ".join(f"{name} {value}" for name, value in item.items() if value is not None)
        tree.add(f"item: {escape(shown)}")
    if found.overlaps:
        branch = tree.add("documents of its training text that share n-grams with it")
        for shared in found.overlaps:
            branch.add(f"{shared.ngrams:,} n-grams: {escape(shared.url)} [dim]{shared.link_id}[/]")
    tree.add(f"made on {escape(', '.join(found.benchmark))}")
    settings = ", ".join(f"{name} {value}" for name, value in found.training.items())
    branch = tree.add(f"of {escape(found.model)}" + (f" [dim]{settings}[/]" if settings else ""))
    for made in found.made_from:
        kept = "" if made.rows_in is None else f": {made.rows_out:,} of {made.rows_in:,}"
        lost = ", ".join(f"{rows:,} {reason}" for reason, rows in list(made.losses.items())[:4])
        losses = f" [dim]lost {lost}[/]" if lost else ""
        branch = branch.add(f"{escape(made.artifact)}{kept}{losses}")
    for dump in found.dumps:
        branch.add(escape(dump))
    _add_removed(tree, found.removed_documents)
    _add_runs(tree, found.runs)
    return tree


def _artifact_tree(found: ArtifactTrace) -> Tree:
    tree = _tree(f"[bold]{escape(found.artifact)}[/]")
    for title, names in (("made from", found.made_from), ("made of it", found.made_of_it)):
        if names:
            branch = tree.add(title)
            for name in names:
                branch.add(escape(name))
    _add_removed(tree, found.removed_documents)
    _add_scores(tree, found.scores)
    _add_runs(tree, found.runs)
    tree.add(f"made by run {found.made_by}{_prefect(found.prefect_flow_run_id)}")
    return tree


def run_tree(found: RunTrace) -> Tree:
    """A run, for the terminal."""
    tree = _tree(f"[bold]run {found.run}[/]{_prefect(found.prefect_flow_run_id)}")
    ended = f", ended {found.ended_at}" if found.ended_at else ""
    told = f"{found.flow} of {found.profile}: {found.state}, began {found.began_at}{ended}"
    tree.add(escape(told))
    if found.message:
        tree.add(escape(found.message))
    for title, labels in (("made", found.made), ("reused", found.reused)):
        if labels:
            branch = tree.add(title)
            for label in labels:
                gone = " [red]no longer in the store[/]" if label in found.gone else ""
                branch.add(escape(label) + gone)
    _add_scores(tree, found.scores)
    return tree


def _prefect(identifier: str | None) -> str:
    return f", Prefect flow run {identifier}" if identifier else ""


def _add_removed(tree: Tree, documents: int) -> None:
    if documents:
        tree.add(f"[red]{documents:,} documents of its training text were taken down since[/]")


def _add_runs(tree: Tree, runs: Sequence[str]) -> None:
    if runs:
        more = f" and {len(runs) - _MOST} more" if len(runs) > _MOST else ""
        tree.add(f"runs: {', '.join(runs[-_MOST:])}{more}")


def _tree(label: str) -> Tree:
    return Tree(label, highlight=False)


def _time(seconds: int) -> str:
    if not seconds:
        return "at no known time"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
