"""Learning curves: the scores of many checkpoints, a panel a column, as one SVG file.

Perplexities have a logarithmic axis. The band is the 95 % interval, the dashed line the published
score of the nearest size. The drawing needs no script and no font of its own; the same scores give
the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from eval.protocols import COLUMNS, Column, Variant
from eval.published import PublishedRow, nearest_row
from eval.scores import Score
from eval.table import TITLES, format_score

PANEL_WIDTH, PANEL_HEIGHT = 300, 210
ACROSS = 4
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 30
LINE, BAND, DASHED, GREY = "#1f5fa8", "#1f5fa8", "#b5482a", "#666"


@dataclass(frozen=True)
class CurvePoint:
    """One checkpoint and its scores."""

    name: str
    step: int | None
    """Training steps; where one of the points has none, all are drawn in the order given."""
    scores: Sequence[Score]


@dataclass(frozen=True)
class _Mark:
    x: float
    value: float
    low: float
    high: float
    name: str


def draw_curves(
    points: Sequence[CurvePoint], *, parameters: int, variant: Variant = "paper", note: str = ""
) -> str:
    """The SVG of all columns that some point has a score of; `note` stands below them."""
    places, axis = _places(points)
    published = nearest_row(parameters)
    panels = [
        (column, marks) for column in COLUMNS if (marks := _marks(points, places, column, variant))
    ]
    rows = max(1, math.ceil(len(panels) / ACROSS))
    across = min(ACROSS, max(1, len(panels)))
    width, height = across * PANEL_WIDTH, rows * PANEL_HEIGHT
    below = f'<text x="8" y="{height + 12}">{escape(note)}</text>\n' if note else ""
    height += 20 if note else 0
    drawn = [
        _panel(column, marks, published, axis, number % ACROSS, number // ACROSS)
        for number, (column, marks) in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="10">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join(drawn)
        + f"\n{below}</svg>\n"
    )


def _places(points: Sequence[CurvePoint]) -> tuple[list[float], str]:
    """Where each point is drawn, and what the axis is."""
    steps = [point.step for point in points]
    known = [float(step) for step in steps if step is not None]
    if len(known) == len(steps) and len(set(known)) == len(known):
        return known, "training step"
    return [float(i + 1) for i in range(len(points))], "in the order given"


def _marks(
    points: Sequence[CurvePoint], places: Sequence[float], column: Column, variant: Variant
) -> list[_Mark]:
    marks = []
    for point, x in zip(points, places, strict=True):
        for score in point.scores:
            if score.column == column and score.variant == variant:
                low = score.value if score.low is None else score.low
                high = score.value if score.high is None else score.high
                marks.append(_Mark(x, score.value, low, high, point.name))
    return sorted(marks, key=lambda mark: mark.x)


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def at(self, value: float) -> float:
        a, b, v = (self._scaled(x) for x in (self.low, self.high, value))
        share = 0.5 if a == b else (v - a) / (b - a)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """The ends and the middle."""
        a, b = self._scaled(self.low), self._scaled(self.high)
        middle = (a + b) / 2
        return [self.low, math.exp(middle) if self.is_log else middle, self.high]

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.is_log else value


def _panel(
    column: Column,
    marks: list[_Mark],
    published: PublishedRow,
    axis: str,
    place_x: int,
    place_y: int,
) -> str:
    target = published.scores[column]
    values = [target, *(value for mark in marks for value in (mark.low, mark.high))]
    y = _Axis(
        min(values),
        max(values),
        PANEL_HEIGHT - BOTTOM,
        TOP,
        is_log=TITLES[column].endswith("(PPL)"),
    )
    x = _Axis(marks[0].x, marks[-1].x, LEFT, PANEL_WIDTH - RIGHT, is_log=False)
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    parts = [
        f'<g transform="translate({place_x * PANEL_WIDTH} {place_y * PANEL_HEIGHT})">',
        f'<text x="{LEFT}" y="18" font-size="12" font-weight="bold">{TITLES[column]}</text>',
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="{GREY}"/>',
        *(
            f'<text x="{LEFT - 5}" y="{y.at(tick) + 3}" text-anchor="end" fill="{GREY}">'
            f"{format_score(tick)}</text>"
            for tick in y.ticks()
        ),
        *(
            f'<text x="{x.at(tick)}" y="{bottom + 12}" text-anchor="middle" fill="{GREY}">'
            f"{tick:,.0f}</text>"
            for tick, _ in groupby([marks[0].x, marks[-1].x])
        ),
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 24}" text-anchor="middle" fill="{GREY}">'
        f"{axis}</text>",
        f'<path d="M{LEFT} {y.at(target)}H{right}" stroke="{DASHED}" stroke-dasharray="4 3"/>',
        f'<text x="{right}" y="{y.at(target) - 3}" text-anchor="end" fill="{DASHED}">'
        f"GPT-2 {published.name}: {format_score(target)}</text>",
        _band(marks, x, y),
        f'<polyline fill="none" stroke="{LINE}" stroke-width="1.5" points="'
        + " ".join(f"{x.at(mark.x)},{y.at(mark.value)}" for mark in marks)
        + '"/>',
        *(
            f'<circle cx="{x.at(mark.x)}" cy="{y.at(mark.value)}" r="2.5" fill="{LINE}">'
            f"<title>{escape(mark.name)}: {format_score(mark.value)}</title></circle>"
            for mark in marks
        ),
        "</g>",
    ]
    return "\n".join(parts)


def _band(marks: list[_Mark], x: _Axis, y: _Axis) -> str:
    above = [f"{x.at(mark.x)},{y.at(mark.high)}" for mark in marks]
    below = [f"{x.at(mark.x)},{y.at(mark.low)}" for mark in reversed(marks)]
    return f'<polygon fill="{BAND}" fill-opacity="0.15" points="{" ".join([*above, *below])}"/>'
