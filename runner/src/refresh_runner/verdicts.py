"""What the counts of a mart say: its verdict, pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal

from refresh_api.status import MartStatus, NullShare, Verdict, clip
from refresh_runner.plan import MartCheck


@dataclass(frozen=True)
class MartCounts:
    """What one scan of a mart counted; an error says why it could not be scanned."""

    rows: int = 0
    nulls: Mapping[str, int] | None = None
    duplicates: int | None = None
    """Rows beyond the first of each key; None if nobody asked."""
    newest: date | None = None
    """Date of the newest record; None if nobody asked, or no record has one."""
    error: str | None = None


def mart_status(check: MartCheck, counts: MartCounts, as_of: date, usual: int | None = None) -> MartStatus:
    """Return a mart's verdict: FAILED without table or rows, WARNING where something is not as it should be.

    `usual` is the median of the rows in the last published runs; None where there are too few.
    """
    if counts.error is not None:
        return MartStatus(relation=check.relation, verdict=Verdict.FAILED, message=clip(counts.error))
    if counts.rows == 0:
        return MartStatus(relation=check.relation, verdict=Verdict.FAILED, rows=0, message="it has no rows")
    shares = [NullShare(column=key, share=percentage((counts.nulls or {})[key], counts.rows)) for key in check.keys]
    doubts = list(_doubts(check, counts, as_of, usual))
    return MartStatus(
        relation=check.relation,
        verdict=Verdict.WARNING if doubts else Verdict.VALID,
        rows=counts.rows,
        null_shares=shares,
        duplicates=counts.duplicates,
        newest=counts.newest.isoformat() if counts.newest else None,
        usual_rows=usual,
        message=clip(", ".join(doubts)) or None,
    )


def _doubts(check: MartCheck, counts: MartCounts, as_of: date, usual: int | None) -> Iterator[str]:
    nulls = counts.nulls or {}
    for key in check.keys:
        # Integers and decimals: a tenth is no exact float, and exactly 10 % is a WARNING. A limit of 0% allows no NULL, yet none is fine.
        if nulls[key] and nulls[key] >= check.max_null_share * counts.rows:
            yield f"{key} is NULL in {percentage(nulls[key], counts.rows)} of the rows"
    if counts.duplicates:
        yield f"{counts.duplicates} rows repeat the {', '.join(check.unique)} of another one"
    if check.newest and counts.newest is None:
        yield f"no row has a {check.newest.column}"
    elif check.newest and counts.newest and (as_of - counts.newest).days > check.newest.max_age_days:
        yield f"its newest {check.newest.column} is {counts.newest}, {(as_of - counts.newest).days} days before {as_of}"
    if check.max_row_change is not None and usual and abs(counts.rows - usual) > check.max_row_change * usual:
        less = "fewer" if counts.rows < usual else "more"
        yield f"{counts.rows} rows are {percentage(abs(counts.rows - usual), usual)} {less} than the usual {usual}"


def percentage(part: int, whole: int) -> str:
    """Return a share with two decimals at most, rounded down: 9.999 % must not read as the 10 % that it stays under."""
    exact = (Decimal(part) * 100 / whole).quantize(Decimal("0.01"), rounding=ROUND_FLOOR)
    return f"{exact.normalize():f}%"
