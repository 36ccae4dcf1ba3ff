"""Builds the page of one preview, and its line on the page of its refresh."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation

from refresh_api.model import Model, Time
from refresh_api.preview import PreviewState
from refresh_api.preview_report import ColumnReport, Difference, MartReport, PreviewReport
from refresh_page.kube.previews import Preview


class PreviewSummary(Model):
    """A preview on the page of its refresh."""

    name: str
    change: str
    """The commit in short form, or the branch or tag until it is known."""
    state: str
    message: str
    """What differs, or what it does or waits for, or why it failed."""
    created: Time


class Pair(Model):
    """A figure before and after, as shares of the larger one, for a plot."""

    is_sum: bool
    """Whether the figure is the sum of a column, and not its number of distinct values."""
    before: float
    after: float


class ColumnView(Model):
    """A column that differs."""

    column: ColumnReport
    pair: Pair | None = None
    """None for a column that is added or dropped."""
    share: float | None = None
    """Share of the rows whose value changed."""


class MartView(Model):
    """A mart before and after."""

    mart: MartReport
    pair: Pair
    """Its numbers of rows."""
    columns: tuple[ColumnView, ...] = ()


class PreviewView(Model):
    """The page of a preview."""

    namespace: str
    refresh: str
    title: str
    preview: PreviewSummary
    revision: str | None = None
    base: str | None = None
    started: Time | None = None
    seconds: float | None = None
    unexpected: tuple[Difference, ...] = ()
    report: PreviewReport | None = None
    marts: tuple[MartView, ...] = ()
    is_sampled: bool = False
    """Whether a sample of a mart was compared instead of all its rows."""


def preview_summaries(previews: Iterable[Preview]) -> tuple[PreviewSummary, ...]:
    """Return the lines of previews."""
    return tuple(_summary(each) for each in previews)


def preview_view(preview: Preview, title: str, now: datetime) -> PreviewView:
    """Return the page of a preview; `title` is that of its refresh."""
    status = preview.status
    end = (status.completion_time or now) if status.start_time else None
    return PreviewView(
        namespace=preview.ref.namespace,
        refresh=preview.refresh,
        title=title,
        preview=_summary(preview),
        revision=status.revision,
        base=status.base_revision,
        started=status.start_time,
        seconds=max(0.0, (end - status.start_time).total_seconds()) if status.start_time and end else None,
        unexpected=tuple(status.unexpected),
        report=status.report,
        marts=tuple(_mart(mart) for mart in status.report.marts) if status.report else (),
        is_sampled=any(mart.sample for mart in status.report.marts) if status.report else False,
    )


def _summary(preview: Preview) -> PreviewSummary:
    status = preview.status
    return PreviewSummary(
        name=preview.ref.name,
        change=status.short_revision or preview.change,
        state=(status.state or PreviewState.PENDING).value,
        message=status.message or "",
        created=preview.created,
    )


def _mart(mart: MartReport) -> MartView:
    rows = _pair(float(mart.rows_before or 0), float(mart.rows_after), is_sum=True)
    compared = mart.sample or mart
    matched = min(compared.rows_before or 0, compared.rows_after)
    return MartView(mart=mart, pair=rows, columns=tuple(_column(column, matched) for column in mart.columns))


def _column(column: ColumnReport, rows: int) -> ColumnView:
    share = min(1.0, column.changed / rows) if column.changed is not None and rows else None
    if column.before is None or column.after is None:
        return ColumnView(column=column, share=share)
    before, after = _number(column.before.total), _number(column.after.total)
    if before is not None and after is not None and min(before, after) >= 0:
        return ColumnView(column=column, pair=_pair(before, after, is_sum=True), share=share)
    return ColumnView(column=column, pair=_pair(float(column.before.distinct), float(column.after.distinct), is_sum=False), share=share)


def _pair(before: float, after: float, *, is_sum: bool) -> Pair:
    top = max(before, after) or 1.0
    return Pair(is_sum=is_sum, before=before / top, after=after / top)


def _number(text: str | None) -> float | None:
    """Return a sum as PostgreSQL writes it; None for none, for NaN and for infinity."""
    try:
        found = Decimal(text) if text else None
    except InvalidOperation:
        return None
    return float(found) if found is not None and found.is_finite() and abs(found) < Decimal("1e300") else None
