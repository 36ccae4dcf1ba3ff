"""The geometry of the page's plots; pure. Templates draw them as SVG, style sheets colour them, for light and dark.

A plotting library would bring its own styles, which the page's Content-Security-Policy forbids, and tens of megabytes;
bars, one line and a median are a page of arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 600.0
HEIGHT: Final = 100.0
_GAP: Final = 2.0
_MAX_BAR: Final = 26.0


@dataclass(frozen=True)
class Point:
    """One value to be shown; None leaves a gap."""

    value: float | None
    tone: str
    label: str
    """What it is, in words."""
    href: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar, in a plot of WIDTH by HEIGHT."""

    x: float
    y: float
    width: float
    height: float
    point: Point


@dataclass(frozen=True)
class BarPlot:
    """A plot of bars, with a line at what is reference."""

    bars: tuple[Bar, ...]
    reference: float | None
    """Height of the line; None for no line."""
    top: float
    """The value at the upper end."""


def bar_plot(points: Sequence[Point], reference: float | None = None) -> BarPlot:
    """Return bars from zero, newest at the right end."""
    top = max([1e-9, *(point.value or 0.0 for point in points), *([reference] if reference else [])])
    room = min(WIDTH / max(1, len(points)), _MAX_BAR)
    start = WIDTH - room * len(points)
    found = []
    for number, point in enumerate(points):
        if point.value is not None:
            height = max(1.5, point.value / top * (HEIGHT - 4))
            found.append(Bar(_round(start + number * room + _GAP / 2), _round(HEIGHT - height), _round(room - _GAP), _round(height), point))
    return BarPlot(tuple(found), None if reference is None else _round(HEIGHT - reference / top * (HEIGHT - 4)), top)


@dataclass(frozen=True)
class LinePlot:
    """A plot of one line."""

    path: str
    """The points of a polyline, each run of values without a gap one path."""
    dots: tuple[Bar, ...]
    """Each value, as a place to point at."""
    low: float
    high: float


def line_plot(points: Sequence[Point], floor: float | None = None) -> LinePlot:
    """Return a line through the points, newest at the right end; its scale begins at `floor`, or a little below the lowest value."""
    values = [point.value for point in points if point.value is not None]
    high = max(values, default=1.0)
    low = min(values, default=0.0) if floor is None else floor
    span = (high - low) or max(abs(high), 1.0)
    step = WIDTH / max(1, len(points))
    path, dots, pen = [], [], "M"
    for number, point in enumerate(points):
        if point.value is None:
            pen = "M"
            continue
        x, y = _round((number + 0.5) * step), _round(HEIGHT - 8 - (point.value - low) / span * (HEIGHT - 16))
        path.append(f"{pen}{x} {y}")
        dots.append(Bar(x, y, _round(step), 0.0, point))
        pen = "L"
    return LinePlot("".join(path), tuple(dots), low, high)


def _round(number: float) -> float:
    return round(number, 1)
