"""Computes the geometry of the plots. Templates draw them as SVG; the style sheet colours them for light and dark mode.

A plotting library would add tens of megabytes, and inline styles that the page's Content-Security-Policy forbids;
bars, a line and a median need only a page of arithmetic.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from refresh_page.views.graph import Graph, GraphNode

WIDTH: Final = 600.0
HEIGHT: Final = 100.0
_GAP: Final = 2.0
_MAX_BAR: Final = 26.0


@dataclass(frozen=True)
class Point:
    """One value of a plot; None leaves a gap."""

    value: float | None
    tone: str
    label: str
    """The tooltip."""
    href: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar in a plot of WIDTH by HEIGHT."""

    x: float
    y: float
    width: float
    height: float
    point: Point


@dataclass(frozen=True)
class BarPlot:
    """A plot of bars with a reference line."""

    bars: tuple[Bar, ...]
    reference: float | None
    """The y coordinate of the reference line; None for no line."""
    top: float
    """The value at the top edge."""


def bar_plot(points: Sequence[Point], reference: float | None = None) -> BarPlot:
    """Return bars that start at zero; the last point is at the right edge."""
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
    """An SVG path; a gap starts a new subpath."""
    dots: tuple[Bar, ...]
    """The area of each value in which its tooltip appears."""
    low: float
    high: float


def line_plot(points: Sequence[Point], floor: float | None = None) -> LinePlot:
    """Return a line through the points; the last one is at the right edge. The scale starts at `floor`, or at the lowest value."""
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


_MARK: Final = 6
_MARK_HEIGHTS: Final = {"bad": 20, "warn": 14, "good": 8, "none": 3}
"""Heights by tone, so that nobody depends on the colour."""


@dataclass(frozen=True)
class VerdictMarks:
    """A strip with a mark for each run."""

    width: int
    paths: Mapping[str, str]
    """One SVG path for each tone that occurs."""


def verdict_marks(tones: Sequence[str | None]) -> VerdictMarks:
    """Return the marks of these tones from left to right; None leaves a gap."""
    paths: dict[str, str] = {}
    for number, tone in enumerate(tones):
        if tone is not None:
            height = _MARK_HEIGHTS.get(tone, _MARK_HEIGHTS["none"])
            paths[tone] = f"{paths.get(tone, '')}M{number * _MARK} {21 - height}h{_MARK - 1}v{height}h-{_MARK - 1}z"
    return VerdictMarks(max(1, len(tones)) * _MARK, paths)


ROW: Final = 1000.0
"""Width of a row of a timeline, in the units of its picture."""
_LEAST_MARK: Final = 4.0


def marks(spans: Iterable[tuple[float, float]], top: float, bottom: float) -> str:
    """Return one SVG path with a rectangle for each span, whose beginning and length are shares of a row; empty without spans."""
    found = []
    for begin, length in spans:
        width = max(_LEAST_MARK, length * ROW)
        left = min(begin * ROW, ROW - _LEAST_MARK)
        found.append(f"M{_round(left):g} {top:g}h{_round(min(width, ROW - left)):g}V{bottom:g}h-{_round(min(width, ROW - left)):g}z")
    return "".join(found)


BOX_WIDTH: Final = 230
BOX_HEIGHT: Final = 44
_COLUMN: Final = BOX_WIDTH + 60
_LINE: Final = BOX_HEIGHT + 14
_EDGE: Final = 4
"""Room around the boxes for the outline of the one with the focus."""


@dataclass(frozen=True)
class Box:
    """A node of a graph, with its upper left corner."""

    x: float
    y: float
    node: GraphNode


@dataclass(frozen=True)
class GraphDrawing:
    """A graph in pixels."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: str
    """An SVG path with a curve from each box to each that reads it."""


def graph_drawing(graph: Graph) -> GraphDrawing:
    """Return where to draw the nodes of a graph: columns from left to right, each in the middle."""
    sizes = Counter(column for node in graph.nodes for column in range(node.column, node.column + len(node.lanes) + 1))
    most = max(sizes.values(), default=0)

    def corner(column: int, row: int) -> tuple[float, float]:
        return _EDGE + column * _COLUMN, _EDGE + (row + (most - sizes[column]) / 2) * _LINE

    nodes = {node.id: node for node in graph.nodes}
    # Edges of one node share the lanes: each piece is drawn once.
    pieces = dict.fromkeys(piece for node in graph.nodes for each in node.parents for piece in _pieces(_path(nodes[each], node, corner)))
    width = 2 * _EDGE + max(sizes, default=0) * _COLUMN + BOX_WIDTH
    height = 2 * _EDGE + most * _LINE - (_LINE - BOX_HEIGHT)
    return GraphDrawing(width, height, tuple(Box(*corner(node.column, node.row), node) for node in graph.nodes), "".join(pieces))


def _path(begin: GraphNode, end: GraphNode, corner: Callable[[int, int], tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of what an edge joins: the node that is read, the places in its lanes, and the node that reads it."""
    lanes = zip(range(begin.column + 1, end.column), begin.lanes, strict=False)
    return [corner(column, row) for column, row in ((begin.column, begin.row), *lanes, (end.column, end.row))]


def _pieces(corners: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Yield a curve from each place to the next one, and a line through each place between the first and the last."""
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(corners)):
        begin, middle = x + BOX_WIDTH, x + BOX_WIDTH + (_COLUMN - BOX_WIDTH) / 2
        y, to_y = y + BOX_HEIGHT / 2, to_y + BOX_HEIGHT / 2
        if number:
            yield f"M{x:g} {y:g}H{begin:g}"
        yield f"M{begin:g} {y:g}C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"


def text_width(text: str) -> int:
    """Return about how wide a text is in a sans-serif font of 11 pixels; a picture cannot measure it."""
    return round(sum(11.0 if unicodedata.east_asian_width(each) in "WF" else 6.6 for each in text))


def _round(number: float) -> float:
    return round(number, 1)
