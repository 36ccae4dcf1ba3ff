"""Checks of a mart: pure functions that give a verdict on its counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal

from refresh_api.status import MartStatus, NullShare, Verdict
from refresh_api.steps import Recency
from refresh_runner.model.steps import MartCheck


@dataclass(frozen=True)
class NewestRecord:
    """The date of a mart's newest record, or why it is unknown."""

    text: str = ""
    """The date in PostgreSQL's text form. PostgreSQL has dates that Python lacks: infinity, before year 1, after year 9999."""
    ordinal: int | None = None
    """The day number as in `date.toordinal`; None if the date is not finite."""
    problem: str = ""

    @property
    def day(self) -> date | None:
        """The day as a Python date, if Python can represent it."""
        return date.fromordinal(self.ordinal) if self.ordinal and 1 <= self.ordinal <= date.max.toordinal() else None

    def __str__(self) -> str:
        """Return the date for messages."""
        return str(self.day or self.text)


@dataclass(frozen=True)
class MartCounts:
    """The counts of one scan of a mart, or the error of that scan."""

    rows: int = 0
    nulls: Mapping[str, int] | None = None
    duplicates: int | None = None
    """Rows beyond the first of each key; None if not counted."""
    newest: NewestRecord | None = None
    """None if not requested, or if no record has a date."""
    error: str | None = None


def mart_status(check: MartCheck, counts: MartCounts, as_of: date, median_rows: int | None = None) -> MartStatus:
    """Return a mart's verdict: FAILED if it has no table or too few rows, WARNING if a check fails.

    `median_rows` is the median number of rows in the last published runs; None if there were too few runs.
    """
    if counts.error is not None:
        return MartStatus(relation=check.relation, verdict=Verdict.FAILED, message=counts.error)
    if counts.rows < check.min_rows:
        message = f"it has {counts.rows} rows, fewer than minRows: {check.min_rows}" if counts.rows else "it has no rows"
        return MartStatus(relation=check.relation, verdict=Verdict.FAILED, rows=counts.rows, message=message)
    keys = check.key_columns if counts.rows else ()
    shares = [NullShare(column=key, share=percentage((counts.nulls or {})[key], counts.rows)) for key in keys]
    warnings = list(_warnings(check, counts, as_of, median_rows))
    return MartStatus(
        relation=check.relation,
        verdict=Verdict.WARNING if warnings else Verdict.VALID,
        rows=counts.rows,
        null_shares=shares,
        duplicates=counts.duplicates,
        newest_date=str(counts.newest) or None if counts.newest else None,
        median_rows=median_rows,
        message=", ".join(warnings) or None,
    )


def _warnings(check: MartCheck, counts: MartCounts, as_of: date, median_rows: int | None) -> Iterator[str]:
    nulls = counts.nulls or {}
    for key in check.key_columns:
        # Integers and decimals, because 0.1 is not exact as a float, and exactly 10 % is a WARNING. A limit of 0 % warns from the first
        # NULL.
        if nulls[key] and nulls[key] >= check.max_null_share * counts.rows:
            yield f"{key} is NULL in {percentage(nulls[key], counts.rows)} of the rows"
    if counts.duplicates:
        yield f"{counts.duplicates} rows duplicate the {', '.join(check.unique_key)} of another row"
    if check.recency and counts.rows:
        yield from _recency_warnings(check.recency, counts.newest, as_of)
    if check.max_row_count_change is not None and median_rows and abs(counts.rows - median_rows) > check.max_row_count_change * median_rows:
        less = "fewer" if counts.rows < median_rows else "more"
        yield f"{counts.rows} rows are {percentage(abs(counts.rows - median_rows), median_rows)} {less} than the usual {median_rows}"


def _recency_warnings(recency: Recency, found: NewestRecord | None, as_of: date) -> Iterator[str]:
    if found is None:
        yield f"no row has a {recency.column}"
    elif found.problem:
        yield found.problem
    elif found.ordinal is None:
        yield f"its newest {recency.column} is {found}, which has no age"
    elif (days := as_of.toordinal() - found.ordinal) > recency.max_age_days:
        yield f"its newest {recency.column} is {found}, {days} days before {as_of}"


def percentage(part: int, whole: int) -> str:
    """Return a percentage with at most two decimals, rounded down: 9.999 % must not be shown as 10 %, which would be a warning."""
    exact = (Decimal(part) * 100 / whole).quantize(Decimal("0.01"), rounding=ROUND_FLOOR)
    return f"{exact.normalize():f}%"
