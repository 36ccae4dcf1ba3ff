"""The verdict on a mart, from its counts."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from refresh_api.status import Verdict
from refresh_api.steps import Recency
from refresh_runner.model.steps import MartCheck
from refresh_runner.validation.checks import MartCounts, NewestRecord, mart_status

CHECK = MartCheck("dwh", "mart", ("zone_id", "mois"))
TENTH = Decimal("0.1")
AS_OF = date(2026, 6, 30)
NONE = {"zone_id": 0, "mois": 0}


def verdict(rows: int, nulls: int, limit: Decimal = TENTH) -> Verdict:
    return mart_status(replace(CHECK, max_null_share=limit), MartCounts(rows, NONE | {"zone_id": nulls}), AS_OF).verdict


@pytest.mark.parametrize(
    ("rows", "nulls", "expected"),
    [
        (10, 0, Verdict.VALID),
        (10, 1, Verdict.WARNING),
        (10_000, 999, Verdict.VALID),
        (10_000, 1_000, Verdict.WARNING),
        (10_000, 1_200, Verdict.WARNING),
        (3, 3, Verdict.WARNING),
        # A float's tenth of this is below the number of NULLs, the exact one is not.
        (9_007_199_254_740_993 * 10, 9_007_199_254_740_992, Verdict.VALID),
    ],
)
def test_exactly_ten_percent_is_a_warning_and_just_below_is_not(rows: int, nulls: int, expected: Verdict):
    """Computed with integers, so that rounding has no effect."""
    assert verdict(rows, nulls) is expected


def test_a_limit_of_zero_allows_no_null_and_wants_none():
    """Without NULLs a mart is valid, even if the limit is zero."""
    assert verdict(10, 0, Decimal(0)) is Verdict.VALID
    assert verdict(10, 1, Decimal(0)) is Verdict.WARNING


def test_a_mart_without_rows_or_table_failed():
    """The message says which of the two."""
    empty = mart_status(CHECK, MartCounts(0, NONE), AS_OF)
    gone = mart_status(CHECK, MartCounts(error="table does not exist"), AS_OF)
    assert (empty.verdict, empty.rows, empty.message) == (Verdict.FAILED, 0, "it has no rows")
    assert (gone.verdict, gone.rows, gone.message) == (Verdict.FAILED, None, "table does not exist")


@pytest.mark.parametrize(
    ("least", "rows", "expected"),
    [
        (0, 0, Verdict.VALID),
        (1, 0, Verdict.FAILED),
        (1, 1, Verdict.VALID),
        (5, 4, Verdict.FAILED),
        (5, 5, Verdict.VALID),
    ],
)
def test_a_mart_may_be_as_empty_as_is_said(least: int, rows: int, expected: Verdict):
    """Without rows, NULLs and dates are not checked."""
    check = replace(CHECK, min_rows=least, unique_key=("zone_id",), recency=Recency(column="jour", max_age_days=1))
    newest = NewestRecord("2026-06-30", AS_OF.toordinal()) if rows else None
    status = mart_status(check, MartCounts(rows, NONE, 0, newest), AS_OF)
    assert (status.verdict, status.rows, "minRows: 5" in (status.message or "")) == (expected, rows, rows == 4)


def test_an_empty_mart_that_is_usually_full_is_a_warning():
    """Even if it is allowed to be empty."""
    check = replace(CHECK, min_rows=0, max_row_count_change=Decimal("0.5"))
    assert mart_status(check, MartCounts(0, NONE), AS_OF, median_rows=100).verdict is Verdict.WARNING


def test_a_share_below_the_limit_never_reads_as_the_limit():
    """9.9999 % is printed as 9.99 %."""
    status = mart_status(CHECK, MartCounts(1_000_000, {"zone_id": 99_999, "mois": 0}), AS_OF)
    assert [share.share for share in status.null_shares] == ["9.99%", "0%"]


def test_doubled_rows_are_a_warning():
    """With their number, and the columns of the unique key."""
    check = replace(CHECK, unique_key=("zone_id", "mois"))
    assert mart_status(check, MartCounts(10, NONE, duplicates=0), AS_OF).verdict is Verdict.VALID
    found = mart_status(check, MartCounts(10, NONE, duplicates=2), AS_OF)
    assert (found.verdict, found.message) == (Verdict.WARNING, "2 rows duplicate the zone_id, mois of another row")


def test_a_newest_record_may_be_as_old_as_is_said_and_no_older():
    """Counted from the run's date. A mart without any date is also a warning."""
    check = replace(CHECK, recency=Recency(column="jour", max_age_days=30))
    may = NewestRecord("2026-05-31", date(2026, 5, 31).toordinal())
    too_old = NewestRecord("2026-05-30", date(2026, 5, 30).toordinal())
    verdicts = [mart_status(check, MartCounts(10, NONE, newest=found), AS_OF) for found in (may, too_old, None)]
    assert [each.verdict for each in verdicts] == [Verdict.VALID, Verdict.WARNING, Verdict.WARNING]
    assert verdicts[1].message == "its newest jour is 2026-05-30, 31 days before 2026-06-30"
    assert verdicts[2].message == "no row has a jour"


@pytest.mark.parametrize(("rows", "expected"), [(150, Verdict.VALID), (151, Verdict.WARNING), (50, Verdict.VALID), (49, Verdict.WARNING)])
def test_a_number_of_rows_far_from_the_usual_is_a_warning(rows: int, expected: Verdict):
    """In both directions, and only beyond the limit."""
    check = replace(CHECK, max_row_count_change=Decimal("0.5"))
    assert mart_status(check, MartCounts(rows, NONE), AS_OF, median_rows=100).verdict is expected
    assert mart_status(check, MartCounts(rows, NONE), AS_OF).verdict is Verdict.VALID
