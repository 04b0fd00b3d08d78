"""Curves of values by step as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from markupsafe import Markup

from shardtune.report.scale import Scale, format_number, format_ticks

WIDTH, HEIGHT = 420, 230  # of the drawing; the page scales it, and its text stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 8, 22
LABEL_WIDTH = 105  # of the last step, right of which there is no place for another number
MAX_POINTS = 600  # of a line: three for two pixels of its width are enough
MAX_MARKS = 40  # a line of more points is drawn without marks
COLORS = 8  # that the style has


@dataclass(frozen=True)
class Line:
    """Values of one run. NaN breaks the line.

    Attributes:
        color: number of its colour and dashes.
        points: step and value, by step.
    """

    name: str
    color: int
    points: tuple[tuple[int, float], ...]

    @staticmethod
    def of(name: str, color: int, metrics: Sequence[Mapping[str, Any]], key: str) -> "Line":
        """The values of `key` in the lines of metrics.jsonl."""
        found = ((line["step"], line[key]) for line in metrics if isinstance(line.get(key), int | float))
        return Line(name, color, thin(tuple((step, float(value)) for step, value in found)))

    @property
    def finite(self) -> list[tuple[int, float]]:
        return [(step, value) for step, value in self.points if math.isfinite(value)]

    def describe(self) -> str:
        """The line in words, for those who do not see it."""
        (first, start), (last, end) = self.finite[0], self.finite[-1]
        low, high = min(value for _, value in self.finite), max(value for _, value in self.finite)
        if first == last:
            return f"{self.name}: {format_number(start)} at step {first}."
        return (
            f"{self.name}: {format_number(start)} at step {first}, {format_number(end)} at step {last}; "
            f"between {format_number(low)} and {format_number(high)}."
        )


def thin(points: tuple[tuple[int, float], ...], limit: int = MAX_POINTS) -> tuple[tuple[int, float], ...]:
    """At most `limit` points that look like all: the first and the last, and of equally long parts what `_extremes` takes."""
    if len(points) <= limit:
        return points
    inner, parts = points[1:-1], (limit - 2) // 3
    ends = [part * len(inner) // parts for part in range(parts + 1)]
    return (points[0], *(point for start, end in pairwise(ends) for point in _extremes(inner[start:end])), points[-1])


def _extremes(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The lowest and the highest point, and the first one that breaks the line, by step."""
    finite = [point for point in points if math.isfinite(point[1])]
    lowest = min(finite, key=lambda point: point[1], default=None)
    highest = max(finite, key=lambda point: point[1], default=None)
    gap = next((point for point in points if not math.isfinite(point[1])), None)
    return [point for point in points if point is lowest or point is highest or point is gap]


def line_chart(title: str, lines: Sequence[Line], *, is_share: bool = False) -> Markup | None:
    """The lines over one another; None where no line has a finite value.

    Args:
        is_share: whether values are from 0 to 1; then the axis ends there.
    """
    lines = [line for line in lines if line.finite]
    if not lines:
        return None
    x = Scale.from_zero(max(1, *(step for line in lines for step, _ in line.finite)), LEFT, WIDTH - RIGHT)
    shares = (0.9, 1.0) if is_share else ()
    y = Scale.over([*shares, *(value for line in lines for _, value in line.finite)], HEIGHT - BOTTOM, TOP)
    text = f"{title} by step. {' '.join(line.describe() for line in lines)}"
    parts = [_axes(x, y), *(_draw(line, x, y) for line in lines)]
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, text, Markup("").join(parts)
    )


def _axes(x: Scale, y: Scale) -> Markup:
    grid = [
        Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text class="end" x="{3}" y="{4}">{5}</text>').format(
            LEFT, WIDTH - RIGHT, y(tick), LEFT - 6, y(tick) + 4, text
        )
        for tick, text in zip(y.ticks, format_ticks(y.ticks), strict=True)
    ]
    steps = [
        Markup('<text class="middle" x="{}" y="{}">{}</text>').format(x(tick), HEIGHT - BOTTOM + 16, format_number(tick))
        for tick in x.ticks
        if x(tick) < WIDTH - RIGHT - LABEL_WIDTH
    ]
    name = Markup('<text class="end" x="{}" y="{}">step {}</text>').format(
        WIDTH - RIGHT, HEIGHT - BOTTOM + 16, format_number(x.high)
    )
    return Markup("").join([*grid, *steps, name])


def _draw(line: Line, x: Scale, y: Scale) -> Markup:
    color = line.color % COLORS
    pieces = [list(points) for is_finite, points in groupby(line.points, lambda point: math.isfinite(point[1])) if is_finite]
    paths = [
        Markup('<polyline class="line s{}" points="{}"/>').format(
            color, " ".join(f"{x(step):g},{y(value):g}" for step, value in points)
        )
        for points in pieces
    ]
    # A point between two gaps would be invisible as a line.
    marked = [points for points in pieces if len(points) == 1 or len(line.points) <= MAX_MARKS]
    marks = [
        Markup('<circle class="mark s{}" cx="{}" cy="{}" r="3"><title>{}, step {}: {}</title></circle>').format(
            color, x(step), y(value), line.name, step, format_number(value)
        )
        for points in marked
        for step, value in points
    ]
    return Markup("").join([*paths, *marks])
