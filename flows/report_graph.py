"""The pipeline as a graph: its artifacts down the page, rows on the arrows, losses beside them.

The stages that lead from the dumps to the card stand below one another; what else was made stands
beside what it was made from. An arrow past other stages runs along the left. The picture has the
width of a phone, so that nothing in it is ever made smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from flows import stages
from flows.report_source import Source
from infra.lineage_build import Known

WIDTH = 360
_GUTTER, _BOX, _BOX_HEIGHT = 26, 142, 40
_GAP, _LINE = 40, 16
_SIDE_X = _GUTTER + _BOX + 14
_ARC = 7
"""Pixels between two arrows along the left."""

_SPINE = (
    "submissions", "rows", "row-pages", "links", "captures", "pages", "documents", "signatures",
    "duplicates", "corpus", "shards", "series", "model", "scores", "card",
)  # fmt: skip
_TITLES = {"row-pages": "row pages", "card": "model card"}
_COUNTED = {
    stage.name: stage.rows for stage in vars(stages).values() if isinstance(stage, stages.Stage)
}


@dataclass(frozen=True)
class _Node:
    stage: str
    known: Sequence[Known]
    top: float

    @property
    def middle(self) -> float:
        return self.top + _BOX_HEIGHT / 2


def pipeline_graph(source: Source) -> Markup:
    """The graph of a run's artifacts as SVG."""
    by_stage: dict[str, list[Known]] = {}
    for known in source.artifacts:
        by_stage.setdefault(known.stage, []).append(known)
    spine = [stage for stage in _SPINE if stage in by_stage]
    beside = _beside(source, spine)
    parts: list[str] = []
    nodes: dict[str, _Node] = {}
    down = 4.0
    for place, stage in enumerate(spine):
        losses = [] if _only_finds(stage, spine) else _losses(by_stage[stage])
        if place:
            down += max(_GAP, len(losses) * _LINE + 18)
            parts += _arrow(nodes[spine[place - 1]], down, by_stage, stage, losses)
        elif losses:
            parts += _entry(by_stage[stage], losses)
            down += 24 + max(_GAP - 24, len(losses) * _LINE)
        nodes[stage] = _Node(stage, by_stage[stage], down)
        down += max(_BOX_HEIGHT, len(beside.get(stage, [])) * 20)
    parts += _arcs(spine, nodes)
    for node in nodes.values():
        parts.append(_box(node))
        parts += _chips(node, beside.get(node.stage, []))
    height = down + 8
    name = "The pipeline: stages from top to bottom with rows on the arrows and losses beside them"
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    head = (
        f'<svg class="graph" role="group" aria-label="{name}" {size}><defs>'
        '<marker id="tip" viewBox="0 0 8 8" refX="7" '
        'refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
        "</defs>"
    )
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704  every text in it is escaped


def anchor(label: str) -> str:
    """The id of the section of an artifact on the page."""
    return "artifact-" + label.replace("/", "-")


def _only_finds(stage: str, spine: Sequence[str]) -> bool:
    """Whether what a stage counts as lost is lost at a later one: duplicates, at the corpus."""
    return stage == stages.DUPLICATES.name and stages.CORPUS.name in spine


def _beside(source: Source, spine: Sequence[str]) -> dict[str, list[Known]]:
    """What stands beside each stage of the spine: what was made from it last."""
    found: dict[str, list[Known]] = {}
    for known in source.artifacts:
        if known.stage in spine:
            continue
        above = set(_stages_above(source, known, spine))
        mothers = [stage for stage in spine if stage in above]
        users = {user.stage for user in source.library.users.get(known.label, ())}
        daughters = [stage for stage in spine if stage in users]
        host = (mothers[-1:] or daughters[:1] or spine[-1:])[0]
        found.setdefault(host, []).append(known)
    return found


def _stages_above(source: Source, known: Known, spine: Sequence[str]) -> Iterator[str]:
    """The stages of the spine that an artifact was made from, whatever lies between."""
    for entry in known.manifest.identity.inputs:
        above = source.library.known.get(entry.name)
        if above is None:
            continue
        if above.stage in spine:
            yield above.stage
        else:
            yield from _stages_above(source, above, spine)


def _losses(known: Iterable[Known]) -> list[tuple[str, int]]:
    losses: dict[str, int] = {}
    for one in known:
        for reason, rows in one.manifest.counts.get("losses", {}).items():
            losses[reason] = losses.get(reason, 0) + rows
    return sorted(((r, n) for r, n in losses.items() if n), key=lambda loss: (-loss[1], loss[0]))


def _entry(known: Sequence[Known], losses: Sequence[tuple[str, int]]) -> list[str]:
    """What comes in at the top."""
    counts = known[-1].manifest.counts
    x = _GUTTER + _BOX / 2
    bottom = 24 + max(_GAP - 24, len(losses) * _LINE) + 4
    counted = _COUNTED.get(known[-1].stage, "rows")
    return [
        f'<text class="count" x="{_GUTTER}" y="14">{counts["rows_in"]:,} {escape(counted)}</text>',
        f'<line class="flow" x1="{x}" x2="{x}" y1="20" y2="{bottom - 2:.0f}" '
        'marker-end="url(#tip)"/>',
        *_loss_lines(x, 24, losses),
    ]


def _arrow(
    above: _Node,
    top: float,
    by_stage: Mapping[str, Sequence[Known]],
    stage: str,
    losses: Sequence[tuple[str, int]],
) -> list[str]:
    x, start = _GUTTER + _BOX / 2, above.top + _BOX_HEIGHT
    flow = _flow(by_stage[above.stage], by_stage[stage])
    parts = [
        f'<line class="flow" x1="{x}" x2="{x}" y1="{start:.0f}" y2="{top - 2:.0f}" '
        'marker-end="url(#tip)"/>'
    ]
    if flow:
        parts.append(
            f'<text class="count" x="{x - 6}" y="{start + 16:.0f}" text-anchor="end">{flow}</text>'
        )
    return [*parts, *_loss_lines(x, start + 8, losses)]


def _flow(above: Sequence[Known], below: Sequence[Known]) -> str:
    """What the arrow between two stages carries."""
    counts, stage = below[-1].manifest.counts, below[-1].stage
    if "rows_in" in counts:
        return f"{counts['rows_in']:,}"
    if stage == stages.MODEL.name and "facts" in above[-1].manifest.counts:
        return f"{_brief(above[-1].manifest.counts['facts'].get('train_tokens', 0))} tokens"
    if stage == stages.SCORES.name:
        return f"{above[-1].manifest.counts.get('steps', 0):,} steps"
    return ""


def _loss_lines(x: float, top: float, losses: Sequence[tuple[str, int]]) -> list[str]:
    """The losses of a stage, each with its name, and the branch that leads to them."""
    if not losses:
        return []
    left = _SIDE_X + 44
    first, last = top + 5, top + 5 + (len(losses) - 1) * _LINE
    trunk = left - 38
    parts = [f'<path class="loss" d="M{x} {first:.0f}H{trunk}V{last:.0f}"/>']
    for place, (reason, rows) in enumerate(losses):
        y = first + place * _LINE
        shown = reason.replace("_", " ")
        parts.append(
            f'<path class="loss" d="M{trunk} {y:.0f}h6"/>'
            f'<text class="lost" x="{left}" y="{y + 4:.0f}" text-anchor="end">{rows:,}</text>'
            f'<text class="soft" x="{left + 6}" y="{y + 4:.0f}">{escape(shown)}</text>'
        )
    return parts


def _box(node: _Node) -> str:
    known = node.known[-1]
    many = f" ({len(node.known)})" if len(node.known) > 1 else ""
    title = _TITLES.get(node.stage, node.stage) + many
    told = _told(node.known)
    return (
        f'<a href="#{escape(anchor(node.known[0].label))}"><title>{escape(known.label)}</title>'
        f'<rect class="box" x="{_GUTTER}" y="{node.top:.0f}" width="{_BOX}" height="{_BOX_HEIGHT}" '
        'rx="3"/>'
        f'<text class="stage" x="{_GUTTER + 10}" y="{node.top + 17:.0f}">{escape(title)}</text>'
        f'<text class="soft" x="{_GUTTER + 10}" y="{node.top + 32:.0f}">{escape(told)}</text></a>'
    )


def _told(known: Sequence[Known]) -> str:
    """What a box says below its name: the rows that came out, or what the stage counts."""
    counts, stage = known[-1].manifest.counts, known[-1].stage
    if stage == stages.MODEL.name:
        return f"{_brief(counts.get('parameters', 0))} parameters"
    if stage == stages.DUPLICATES.name and "rows_in" in counts:
        return f"{counts['rows_in'] - counts['rows_out']:,} copies found"
    if stage == stages.SCORES.name:
        return f"{sum(len(one.manifest.counts.get('columns', ())) for one in known):,} numbers"
    if stage == stages.SHARDS.name and "facts" in counts:
        return f"{counts['facts'].get('sequences', 0):,} sequences"
    if "rows_out" in counts:
        rows = _OUT.get(stage, _COUNTED.get(stage, "rows"))
        return f"{counts['rows_out']:,} {rows}"
    return known[-1].manifest.fingerprint[:12]


def _brief(number: int) -> str:
    """A number in the place that a box has: from ten millions on in millions."""
    return f"{number:,}" if number < 10_000_000 else f"{number / 1e6:,.0f} M"


_OUT = {"submissions": "submissions", "links": "links", "captures": "pages"}
"""What comes out of a stage, where that is not what it counts."""


def _chips(node: _Node, known: Sequence[Known]) -> list[str]:
    parts = []
    mothers = {entry.name for one in node.known for entry in one.manifest.identity.inputs}
    for place, one in enumerate(known):
        shown = f"from {one.stage}" if one.label in mothers else one.stage
        y = node.top + 14 + place * 20
        x = _SIDE_X + 12
        branch = (
            f"M{x - 8} {y - 20:.0f}V{y:.0f}h4" if place else f"M{_GUTTER + _BOX} {y:.0f}H{x - 4}"
        )
        parts.append(f'<path class="side" d="{branch}"/>')
        parts.append(
            f'<a href="#{escape(anchor(one.label))}"><title>{escape(one.label)}</title>'
            f'<text class="chip" x="{x}" y="{y + 4:.0f}">{escape(shown)}</text></a>'
        )
    return parts


def _arcs(spine: Sequence[str], nodes: Mapping[str, _Node]) -> list[str]:
    """Arrows to stages that also read one further up than that above them."""
    arcs = []
    for place, stage in enumerate(spine):
        read = {
            entry.name.split("/")[0]
            for known in nodes[stage].known
            for entry in known.manifest.identity.inputs
            if entry.kind == "artifact"
        }
        if stage == stages.CARD.name:
            continue  # it reads them all
        arcs += [(above, stage) for above in spine[: max(place - 1, 0)] if above in read]
    parts = []
    for number, (above, below) in enumerate(arcs):
        x = _GUTTER - 8 - _ARC * (number % 3)
        start, end = nodes[above].middle + 8, nodes[below].middle - 6
        parts.append(
            f'<path class="side" d="M{_GUTTER} {start:.0f}H{x + 4}q-4 0 -4 4V{end - 4:.0f}q0 4 4 4'
            f'H{_GUTTER - 2}" marker-end="url(#tip)"><title>{escape(above)} to {escape(below)}'
            "</title></path>"
        )
    return parts
