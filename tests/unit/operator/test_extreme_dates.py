"""Dates at the ends of the calendar in specs and statuses must not fail a reconciliation."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from refresh_api import cron
from refresh_api.model import in_utc, in_zone, time_text
from refresh_api.status import OperatorStatus
from support.snapshots import (
    NOW,
    build_job,
    build_managed_objects,
    build_refresh,
    build_run_status,
    build_snapshot,
    condition_of,
    decision_for,
    status_after,
)

FOR_GOOD = ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z", "9999-12-31T00:00:00+14:00")
PAST = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z")
BEYOND = ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00")
"""In UTC, they are in the year 10000 and 0. A spec with one of them is refused."""
ZONES = ("Etc/UTC", "Pacific/Kiritimati", "America/Los_Angeles")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("until", FOR_GOOD)
def test_a_suspension_until_year_9999_is_stable(until, zone):
    """No run is planned, and the second reconciliation writes nothing."""
    seen = build_refresh(suspendUntil=until, timeZone=zone)
    share = status_after(build_snapshot(seen))
    assert condition_of(share, "Suspended")[:2] == ("True", "SuspendedUntil")
    assert (share.next_schedule_time, share.next_schedule_times) == (None, [])
    again = decision_for(build_snapshot(build_refresh(share, suspendUntil=until, timeZone=zone)))
    assert again.status is None
    assert timedelta(0) < again.requeue_after <= timedelta(hours=1)
    assert OperatorStatus.model_validate_json(share.model_dump_json(by_alias=True, exclude_none=True)) == share


@pytest.mark.parametrize("until", PAST)
def test_a_suspension_until_a_past_time_has_no_effect(until):
    """The next run follows the schedule."""
    share = status_after(build_snapshot(build_refresh(suspendUntil=until)))
    assert (condition_of(share, "Suspended")[0], share.next_schedule_time is not None) == ("False", True)


@pytest.mark.parametrize("moment", [*FOR_GOOD, *PAST, *BEYOND])
@pytest.mark.parametrize(
    "field", ["missedRunsEvaluatedUntil", "nextScheduleTime", "lastSuccessTime", "suspendedSince", "suspendedUntil", "lastMissedTime"]
)
def test_extreme_dates_in_the_status_do_not_fail_a_reconciliation(field, moment):
    """A wrong clock or a user with write access to statuses can produce them."""
    share = status_after(build_snapshot(build_refresh()))
    raw = {**share.model_dump(mode="json", by_alias=True, exclude_none=True), field: moment}
    seen = build_refresh(OperatorStatus.model_validate(raw), freshness={"maxStaleness": "1h"}, schedule="* * * * *")
    before = build_snapshot(seen, objects=build_managed_objects(build_refresh(schedule="* * * * *")))
    found = status_after(before)
    assert found.phase == "Scheduled"
    assert NOW - timedelta(days=32) < found.missed_runs_evaluated_until <= NOW
    assert found.next_schedule_time == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("moment", [*FOR_GOOD, *PAST, *BEYOND])
def test_extreme_dates_of_a_runner_do_not_prevent_the_end_of_its_run(moment):
    """Start, heartbeat and end come from the runner's own clock."""
    seen = build_refresh(run=build_run_status("phase2-29541600", startTime=moment, heartbeatTime=moment, completionTime=moment))
    share = status_after(build_snapshot(seen, jobs=(build_job("phase2-29541600", end="Complete"),)))
    assert share.last_run.id == "phase2-29541600"


def test_missed_runs_are_counted_for_a_month_at_most():
    """An operator that was down for a year would need minutes for all of them."""
    share = status_after(build_snapshot(build_refresh()))
    raw = {**share.model_dump(mode="json", by_alias=True, exclude_none=True), "missedRunsEvaluatedUntil": "2025-03-03T12:00:00Z"}
    seen = build_refresh(OperatorStatus.model_validate(raw), schedule="0 12 * * *")
    found = status_after(build_snapshot(seen, objects=build_managed_objects(build_refresh(schedule="0 12 * * *"))))
    assert found.missed_runs in (30, 31)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", ["* * * * *", "0 0 1 1 *", "30 2 29 2 *", "0 0 31 12 *"])
@pytest.mark.parametrize("moment", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_a_schedule_ends_at_the_last_day_of_the_calendar_without_an_error(moment, line, zone):
    """There is no run after year 9999, and no error either."""
    schedule = cron.parse(line, zone)
    assert next(schedule.runs_after(moment), None) is None or moment.year == 1
    assert moment.year == 1 or next(schedule.gaps(moment, NOW), None) is None


def test_a_time_beyond_the_calendar_becomes_its_end():
    """A time zone can move the last moment of year 9999 beyond the calendar in UTC."""
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))
    assert time_text(datetime(9999, 12, 31, 23, tzinfo=west)) == "9999-12-31T23:59:59Z"
    assert time_text(datetime(1, 1, 1, tzinfo=east)) == "0001-01-01T00:00:00Z"
    assert time_text(datetime(987, 6, 5, 4, 3, 2, 1, tzinfo=UTC)) == "0987-06-05T04:03:02Z"
    assert in_zone(datetime(9999, 12, 31, 23, tzinfo=UTC), east) == in_utc(datetime(9999, 12, 31, 23, tzinfo=UTC))
