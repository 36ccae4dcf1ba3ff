"""Which plots are drawn of a refresh, and the words that go with each point; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refresh_page.i18n.words import Locale
from refresh_page.views.refresh import MAX_POINTS, MartSeries, RefreshDetail, RunSummary, StepPoint, StepSeries
from refresh_page.web.svg import BarPlot, LinePlot, Point, bar_plot, line_plot

_TONES = {"Succeeded": "good", "Warned": "warn", "Failed": "bad", "Skipped": "none", "VALID": "good", "WARNING": "warn", "FAILED": "bad"}


@dataclass(frozen=True)
class Charts:
    """Plots for one reader."""

    words: Locale
    address: Callable[[str], str]
    """The address of a run of the refresh, by its id."""

    def runs(self, detail: RefreshDetail) -> BarPlot:
        """How long the last runs took."""
        shown = [run for run in reversed(detail.runs[:MAX_POINTS]) if run.seconds is not None]
        good = sorted(run.seconds for run in shown if run.seconds is not None and run.outcome in ("Succeeded", "Warned"))
        return bar_plot([self._run(run) for run in shown], good[len(good) // 2] if good else None)

    def step(self, series: StepSeries) -> BarPlot:
        """How long a step took in the last runs."""
        points = [Point(each.seconds, _TONES.get(each.state, "none"), self._took(each)) for each in series.points]
        return bar_plot(points, series.median)

    def rows(self, series: MartSeries) -> LinePlot:
        """How many rows a mart had."""
        return line_plot([self._mart(each.rows, each.verdict, each.run, self._number(each.rows)) for each in series.points])

    def nulls(self, series: MartSeries) -> LinePlot:
        """The largest share of NULL among a mart's keys."""
        shares = [(each, None if each.null_share is None else 100 * each.null_share) for each in series.points]
        return line_plot([self._mart(share, each.verdict, each.run, self.percent(share)) for each, share in shares], floor=0.0)

    def percent(self, share: float | None) -> str:
        """A share as it is read; empty where there is none."""
        if share is None:
            return ""
        text = f"{share:.1f}".rstrip("0").rstrip(".")
        return (text.replace(".", ",") + "\u202f%") if self.words.language == "fr" else text + "%"

    def last(self, values: Sequence[float | None]) -> float | None:
        """The newest value that there is."""
        return next((value for value in reversed(values) if value is not None), None)

    def _took(self, point: StepPoint) -> str:
        text = f"{point.run}: {self.words.known(point.state)}"
        return text if point.seconds is None else f"{text}, {self.words.seconds(point.seconds)}"

    def _run(self, run: RunSummary) -> Point:
        text = f"{run.run}: {self.words.known(run.outcome or '')}, {self.words.seconds(run.seconds or 0.0)}"
        return Point(run.seconds, _TONES.get(run.outcome or "", "none"), text, self.address(run.run))

    def _mart(self, value: float | None, verdict: str, run: str, text: str) -> Point:
        return Point(value, _TONES.get(verdict, "none"), f"{run}: {self.words.known(verdict)} {text}")

    def _number(self, number: int | None) -> str:
        return "" if number is None else self.words.number(number)
