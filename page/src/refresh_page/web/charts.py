"""Chooses the plots of a refresh and labels their points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median_high

from refresh_page.i18n.locale import Locale
from refresh_page.views.calendar import SPAN, CalendarRow, ComingRun, Overlap
from refresh_page.views.node import NodeDetail, NodeRun
from refresh_page.views.refresh import MAX_POINTS, MartSeries, RefreshDetail, StepPoint, StepSeries
from refresh_page.views.run_models import RunSummary
from refresh_page.web.svg import BarPlot, LinePlot, Point, bar_plot, line_plot, marks
from refresh_page.web.tones import TONES


@dataclass(frozen=True)
class ComingMarks:
    """The SVG paths of a row of the calendar."""

    plain: str
    """Runs that overlap no other."""
    overlap: str
    """Runs that overlap another one; they are higher, so that nobody depends on the colour."""
    running: str
    """What is left of the run in progress."""


def coming_marks(row: CalendarRow, begin: datetime) -> ComingMarks:
    """Return the marks of a row, each as long as its run usually takes. `begin` is the left edge."""
    usual, span = row.usual_seconds or 0.0, SPAN.total_seconds()

    def mark(run: ComingRun) -> tuple[float, float]:
        length = usual if run.overlap in (None, Overlap.WAITS) else 0.0
        return (run.start - begin).total_seconds() / span, length / span

    left = usual - (begin - row.running_since).total_seconds() if row.running_since else 0.0
    return ComingMarks(
        marks((mark(run) for run in row.runs if run.overlap is None), 2, 8),
        marks((mark(run) for run in row.runs if run.overlap), 0, 10),
        marks([(0.0, max(0.0, left) / span)], 2, 8) if row.running_since else "",
    )


@dataclass(frozen=True)
class Charts:
    """The plots for one reader."""

    locale: Locale
    run_url: Callable[[str], str]
    """Function that returns the address of a run of the refresh, by its id."""

    def runs(self, detail: RefreshDetail) -> BarPlot:
        """Return the durations of the last runs, with the median of the successful ones."""
        shown = [run for run in reversed(detail.runs[:MAX_POINTS]) if run.seconds is not None]
        successful = [run.seconds for run in shown if run.seconds is not None and run.outcome in ("Succeeded", "Warned")]
        return bar_plot([self._run(run) for run in shown], median_high(successful) if successful else None)

    def step(self, series: StepSeries) -> BarPlot:
        """Return the durations of a step in the last runs."""
        points = [Point(each.seconds, TONES[each.state], self._step(each)) for each in series.points]
        return bar_plot(points, series.median)

    def node(self, detail: NodeDetail) -> BarPlot:
        """Return the durations of a node in its last runs."""
        return bar_plot([self._node(each) for each in reversed(detail.runs)], detail.usual_seconds)

    def rows(self, series: MartSeries) -> LinePlot:
        """Return the row counts of a mart."""
        return line_plot([self._mart(each.rows, each.verdict, each.run, self._number(each.rows)) for each in series.points])

    def nulls(self, series: MartSeries) -> LinePlot:
        """Return the largest share of NULL among the key columns of a mart, in percent."""
        shares = [(each, None if each.null_share is None else 100 * each.null_share) for each in series.points]
        return line_plot([self._mart(share, each.verdict, each.run, self.percent(share)) for each, share in shares], floor=0.0)

    def percent(self, share: float | None) -> str:
        """Return a percentage with at most one decimal; empty for None."""
        if share is None:
            return ""
        text = f"{share:.1f}".rstrip("0").rstrip(".")
        return (text.replace(".", ",") + "\u202f%") if self.locale.language == "fr" else text + "%"

    def last(self, values: Sequence[float | None]) -> float | None:
        """Return the newest value that is not None."""
        return next((value for value in reversed(values) if value is not None), None)

    def _step(self, point: StepPoint) -> str:
        return f"{point.run}: {self._state(point.state, point.seconds)}"

    def _node(self, run: NodeRun) -> Point:
        text = f"{run.run}: {self._state(run.state, run.seconds)}"
        return Point(run.seconds, TONES[run.state], text, self.run_url(run.run))

    def _state(self, state: str, seconds: float | None) -> str:
        text = self.locale.label(state)
        return text if seconds is None else f"{text}, {self.locale.seconds(seconds)}"

    def _run(self, run: RunSummary) -> Point:
        text = f"{run.run}: {self.locale.label(run.outcome or '')}, {self.locale.seconds(run.seconds or 0.0)}"
        return Point(run.seconds, TONES[run.outcome or ""], text, self.run_url(run.run))

    def _mart(self, value: float | None, verdict: str, run: str, text: str) -> Point:
        return Point(value, TONES[verdict], f"{run}: {self.locale.label(verdict)} {text}")

    def _number(self, number: int | None) -> str:
        return "" if number is None else self.locale.number(number)
