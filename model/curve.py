"""The curve of a training's losses as an SVG: the training loss smoothed, validation as dots.

Drawn from `losses.jsonl` alone and written with fixed decimals, so equal traces give equal bytes.
"""

import math
from collections.abc import Sequence
from typing import Any

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 40
_COLUMNS = 360  # means of the steps; more would not be seen
_TICKS = 5

Point = tuple[float, float]


def loss_curve(trace: Sequence[dict[str, Any]]) -> str:
    """An SVG document of a trace's losses over its steps; non-finite losses leave a gap."""
    train = _thinned([(line["step"], line["loss"]) for line in trace if line["loss"] is not None])
    checks = [
        (line["step"], line["validation_loss"])
        for line in trace
        if line.get("validation_loss") is not None
    ]
    steps = max((line["step"] for line in trace), default=1)
    values = [y for _, y in train + checks] or [0.0, 1.0]
    frame = _Frame(float(max(steps, 2)), min(values), max(values))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'font-family="sans-serif" font-size="11" role="img">',
            "<title>Loss in nats a token over the steps of training</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            *frame.axes(),
            '<polyline fill="none" stroke="#3465a4" stroke-width="1.5" '
            f'points="{frame.path(train)}"/>',
            *(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#cc4400"/>'
                for x, y in map(frame.place, checks)
            ),
            f'<text x="{_WIDTH - _RIGHT}" y="{_TOP + 10}" text-anchor="end" fill="#3465a4">'
            "training loss (nats a token)</text>",
            f'<text x="{_WIDTH - _RIGHT}" y="{_TOP + 26}" text-anchor="end" fill="#cc4400">'
            "validation loss</text>",
            "</svg>\n",
        ]
    )


class _Frame:
    """Where values lie in the picture."""

    def __init__(self, steps: float, low: float, high: float) -> None:
        self.steps = steps
        self.ticks = _round_ticks(low, high)
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])

    def place(self, point: Point) -> Point:
        """Coordinates of (step, loss)."""
        across = (point[0] - 1) / (self.steps - 1)
        up = (point[1] - self.low) / (self.high - self.low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def path(self, points: Sequence[Point]) -> str:
        """Points of a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.place, points))

    def axes(self) -> list[str]:
        """Lines across with their losses, and the steps below."""
        lines = []
        for tick in self.ticks:
            _, y = self.place((1.0, tick))
            lines.append(
                f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
            )
        for number in range(_TICKS):
            step = round(1 + (self.steps - 1) * number / (_TICKS - 1))
            x, _ = self.place((step, self.low))
            lines.append(
                f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
                f"{step:,}</text>"
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        lines.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">step</text>')
        return lines


def _thinned(points: list[Point]) -> list[Point]:
    """At most `_COLUMNS` points, each the mean of its share."""
    count = min(_COLUMNS, len(points))
    shares = [
        points[i * len(points) // count : (i + 1) * len(points) // count] for i in range(count)
    ]
    return [
        (sum(x for x, _ in share) / len(share), sum(y for _, y in share) / len(share))
        for share in shares
    ]


def _round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 × a power of ten that cover the values."""
    span = max(high - low, 1e-6 * max(abs(high), 1.0))
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    size = next(power * m for m in (1, 2, 5, 10) if power * m * _TICKS >= span)
    first = math.floor(low / size)
    count = max(math.ceil(high / size) - first, 1)  # a single value needs two ticks as well
    return [round(size * (first + i), 10) for i in range(count + 1)]
