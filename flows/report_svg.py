"""Plots of a report as inline SVG: columns, curves and scores that fill their place at any width.

Places across are per cent and places down are pixels, so that letters keep their size on a phone. A
curve lies in an inner picture that is stretched, with lines of constant width. Colours come from
the page's style, light or dark. Every plot is an image with a name for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from flows.report_corpus import Bin

_TOP, _BOTTOM = 18, 22
_MOST_LABELS = 8
_COLUMN_SHARE = 0.86
"""Of its place, what a column fills."""
_INNER = 1000
"""Units across a stretched picture."""


@dataclass(frozen=True)
class Mark:
    """A step of a curve that leads somewhere."""

    step: int
    value: float
    href: str
    name: str


@dataclass(frozen=True)
class Curve:
    """A loss over its steps: lines as (step, lowest, mean, highest), checks as (step, loss)."""

    steps: int
    line: Sequence[tuple[float, float, float, float]]
    checks: Sequence[tuple[int, float]]
    marks: Sequence[Mark]


def columns(bins: Sequence[Bin], name: str, height: int = 190) -> Markup:
    """A histogram: a column a bin, its label below and its number above where there is room."""
    most = max((one.count for one in bins), default=0) or 1
    wide = 100 / max(len(bins), 1)
    floor = height - _BOTTOM
    every = math.ceil(len(bins) / _MOST_LABELS)
    numbered = len(bins) <= 2 * _MOST_LABELS
    parts = [_open(name, height)]
    for place, one in enumerate(bins):
        up = round((floor - _TOP) * one.count / most, 1)
        left = place * wide + wide * (1 - _COLUMN_SHARE) / 2
        parts.append(
            f'<rect class="column" x="{left:.2f}%" y="{floor - up:.1f}" '
            f'width="{wide * _COLUMN_SHARE:.2f}%" height="{up:.1f}">'
            f"<title>{escape(one.label)}: {one.count:,}</title></rect>"
        )
        middle = place * wide + wide / 2
        if numbered and one.count:
            parts.append(_text(middle, floor - up - 5, _compact(one.count), "middle"))
        if place % every == 0:
            parts.append(_text(middle, height - 6, one.tick or one.label, "middle", "soft"))
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/></svg>')
    return Markup("".join(parts))  # noqa: S704  every text in it is escaped


def share_bar(value: float, most: float, inner: float | None = None) -> Markup:
    """A bar beside a number in a table; `inner` fills a part of it."""
    whole = 100 * value / most if most else 0
    parts = ['<svg class="bar" aria-hidden="true" focusable="false" width="100%" height="10">']
    kind = "ground" if inner is not None else "column"
    parts.append(f'<rect class="{kind}" width="{_at_least(whole):.2f}%" height="10"/>')
    if inner:
        filled = 100 * inner / most if most else 0
        parts.append(f'<rect class="column" width="{_at_least(filled):.2f}%" height="10"/>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  numbers alone


def loss_curve(curve: Curve, name: str, height: int = 300) -> Markup:
    """The loss of a training, its checks on held-out text as dots, and marks that are links."""
    values = [v for _, low, _, high in curve.line for v in (low, high)]
    values += [value for _, value in curve.checks] + [mark.value for mark in curve.marks]
    ticks = _ticks(min(values), max(values))
    frame = _Frame(curve.steps, ticks[0], ticks[-1], height)
    parts = [_open(name, height)]
    for tick in ticks:
        y = frame.down(tick)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(0, y - 4, f"{tick:g}", "start", "soft"))
    parts.append(_step_labels(frame))
    parts += [_stretched(curve, frame)]
    for step, value in curve.checks:
        across, down = frame.across(step), frame.down(value)
        parts.append(
            f'<circle class="check" cx="{across:.2f}%" cy="{down:.1f}" r="3.5">'
            f"<title>step {step:,}: held-out loss {value:.4f}</title></circle>"
        )
    parts += [_mark(mark, frame) for mark in curve.marks]
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  every text in it is escaped


def score_range(
    value: float, low: float | None, high: float | None, published: Sequence[tuple[str, float]]
) -> Markup:
    """A score with its interval on a scale that the published ones stand on as ticks."""
    ends = [value, *(v for v in (low, high) if v is not None), *(v for _, v in published)]
    use_log = min(ends) > 0 and max(ends) / min(ends) > 3
    scaled = [math.log(v) if use_log else v for v in ends]
    first, last = min(scaled), max(scaled)

    def across(number: float) -> float:
        place = math.log(number) if use_log else number
        return 3 + 94 * (place - first) / (last - first) if last > first else 50

    parts = ['<svg class="range" aria-hidden="true" focusable="false" width="100%" height="18">']
    parts.append('<line class="grid" x1="0" x2="100%" y1="9" y2="9"/>')
    for name, number in published:
        x = across(number)
        parts.append(
            f'<line class="tick" x1="{x:.2f}%" x2="{x:.2f}%" y1="4" y2="14">'
            f"<title>GPT-2 {escape(name)}: {number:g}</title></line>"
        )
    if low is not None and high is not None:
        parts.append(
            f'<line class="interval" x1="{across(low):.2f}%" x2="{across(high):.2f}%" '
            'y1="9" y2="9"/>'
        )
    parts.append(f'<circle class="ours" cx="{across(value):.2f}%" cy="9" r="4.5"/></svg>')
    return Markup("".join(parts))  # noqa: S704  every text in it is escaped


@dataclass(frozen=True)
class _Frame:
    steps: int
    low: float
    high: float
    height: int

    def across(self, step: float) -> float:
        """Per cent of the width; room is left for the labels of the losses."""
        return 5 + 93 * (step - 1) / max(self.steps - 1, 1)

    def down(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.height - _BOTTOM - share * (self.height - _BOTTOM - _TOP), 2)


def _stretched(curve: Curve, frame: _Frame) -> str:
    """The line and the band between lowest and highest, in units that are stretched across."""
    scale = _INNER / 100
    means = " ".join(
        f"{frame.across(s) * scale:.1f},{frame.down(m):.1f}" for s, _, m, _ in curve.line
    )
    above = [f"{frame.across(s) * scale:.1f},{frame.down(h):.1f}" for s, _, _, h in curve.line]
    below = [f"{frame.across(s) * scale:.1f},{frame.down(w):.1f}" for s, w, _, _ in curve.line]
    return (
        f'<svg width="100%" height="{frame.height}" viewBox="0 0 {_INNER} {frame.height}" '
        'preserveAspectRatio="none">'
        f'<polygon class="band" points="{" ".join([*above, *reversed(below)])}"/>'
        f'<polyline class="line" vector-effect="non-scaling-stroke" points="{means}"/></svg>'
    )


def _mark(mark: Mark, frame: _Frame) -> str:
    across, down = frame.across(mark.step), frame.down(mark.value)
    return (
        f'<a href="{escape(mark.href)}" aria-label="{escape(mark.name)}">'
        f'<circle class="mark" cx="{across:.2f}%" cy="{down:.1f}" r="7">'
        f"<title>{escape(mark.name)}</title></circle></a>"
    )


def _step_labels(frame: _Frame) -> str:
    ends = [(1, "start"), (math.ceil(frame.steps / 2), "middle"), (frame.steps, "end")]
    shown = ends if frame.steps > 2 else ends[::2]
    y = frame.height - 5
    return "".join(
        _text(frame.across(step), y, f"step {step:,}" if step == 1 else f"{step:,}", anchor, "soft")
        for step, anchor in shown
    )


def _open(name: str, height: int) -> str:
    return (
        f'<svg class="plot" role="group" aria-label="{escape(name)}" width="100%" '
        f'height="{height}">'
    )


def _text(across: float, down: float, text: str, anchor: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    place = f'x="{across:.2f}%" y="{down:.1f}" text-anchor="{anchor}"'
    return f"<text{styled} {place}>{escape(text)}</text>"


def _at_least(share: float) -> float:
    """What is there is seen, however little."""
    return max(share, 0.4) if share > 0 else 0


def _compact(number: int) -> str:
    """A number as short as a column is wide: 950, 12k, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            divided = number / (1e3 if unit == "k" else size)
            return f"{divided:.1f}{unit}" if divided < 10 else f"{divided:.0f}{unit}"
    return f"{number:,}"


def _ticks(low: float, high: float) -> list[float]:
    """Four to six round numbers that hold the values between them."""
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / 4))
    size = next(power * m for m in (1, 2, 2.5, 5, 10) if span / (power * m) <= 5)
    first, last = math.floor(low / size), math.ceil(high / size)
    last = max(last, first + 1)
    return [round(size * number, 10) for number in range(first, last + 1)]
