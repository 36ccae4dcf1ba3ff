"""Cron lines with the rules of Kubernetes. The expected times were computed with the parser that Kubernetes vendors."""

from datetime import UTC, datetime
from itertools import islice

import pytest

from refresh_api import cron


def starts(line: str, after: str, zone: str = "Etc/UTC", count: int = 3) -> list[str]:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    return [start.astimezone(UTC).strftime("%m-%d %H:%M") for start in islice(cron.parse(line, zone).after(moment), count)]


@pytest.mark.parametrize(
    ("line", "after", "expected"),
    [
        ("30 2,5,8,11,14,17,20,23 * * *", "2026-11-23 23:30", ["11-24 02:30", "11-24 05:30", "11-24 08:30"]),
        ("*/10 * * * *", "2026-11-23 12:00", ["11-23 12:10", "11-23 12:20", "11-23 12:30"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["02-29 00:00"]),
        ("0 0 13 * fri", "2026-11-01 00:00", ["11-06 00:00", "11-13 00:00", "11-20 00:00"]),
        ("0 0 */2 * 1", "2026-11-01 00:00", ["11-02 00:00", "11-03 00:00", "11-05 00:00"]),
        ("0 0 ? * 1", "2026-11-01 00:00", ["11-02 00:00", "11-09 00:00", "11-16 00:00"]),
        ("5/20 1 1 JAN *", "2026-06-01 00:00", ["01-01 01:05", "01-01 01:25", "01-01 01:45"]),
    ],
)
def test_the_starts_are_those_of_the_controller(line, after, expected):
    """Lists, steps, names, `?`, and day-of-month or day-of-week."""
    assert starts(line, after, count=len(expected)) == expected


def test_the_spring_night_skips_a_start():
    """02:30 does not exist in Paris on 29 March 2026."""
    assert starts("30 2 * * *", "2026-03-27 12:00", "Europe/Paris") == ["03-28 01:30", "03-30 00:30", "03-31 00:30"]


def test_the_autumn_night_starts_twice():
    """02:30 comes twice in Paris on 25 October 2026, and the controller fires both times."""
    assert starts("30 2 * * *", "2026-10-24 12:00", "Europe/Paris") == ["10-25 00:30", "10-25 01:30", "10-26 01:30"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("* * * *", "five fields"),
        ("61 * * * *", "minute: '61' is not between 0 and 59"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of month: '0'"),
        ("* * * 13 *", "month: '13'"),
        ("* * * * 7", "day of week: '7' is not between 0 and 6"),
        ("*/0 * * * *", "the step of"),
        ("9-3 * * * *", "begins after its end"),
        ("x * * * *", "'x' is invalid"),
        ("0 0 30 2 *", "never matches"),
    ],
)
def test_a_bad_line_is_refused_by_the_name_of_its_field(line, says):
    """The message names the field to change."""
    with pytest.raises(ValueError, match=says):
        cron.parse(line)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe/Pari"])
def test_an_unknown_zone_is_refused(zone):
    """The message names it."""
    with pytest.raises(LookupError, match="unknown time zone"):
        cron.parse("* * * * *", zone)


def test_the_second_time_of_the_autumn_night_is_left_out_at_certain_hours():
    """In Paris, 02:30 occurs twice on 25 October 2026. `after` yields both times, as the controller does."""
    schedule = cron.parse("30 2 * * *", "Europe/Paris")
    evening = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    assert [each.astimezone(UTC).hour for each in islice(schedule.after(evening), 2)] == [0, 1]
    first, second = islice(schedule.runs_after(evening), 2)
    assert (first.isoformat(), second.isoformat()) == ("2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00")


def test_runs_of_every_hour_have_both_hours_of_the_autumn_night():
    """Two hours pass, so both runs are wanted."""
    schedule = cron.parse("30 * * * *", "Europe/Paris")
    starts = islice(schedule.runs_after(datetime(2026, 10, 25, 0, 0, tzinfo=UTC)), 2)
    assert [each.isoformat() for each in starts] == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]


@pytest.mark.parametrize(
    ("line", "zone", "gaps"),
    [
        ("30 2 * * *", "Europe/Paris", ["2026-03-29T01:30:00+00:00"]),
        ("30 1 * * *", "Europe/Paris", []),
        ("30 2 * * 1", "Europe/Paris", []),
        ("*/20 2 * * *", "Etc/UTC", []),
        ("* * * * *", "Europe/Paris", []),
    ],
)
def test_the_spring_gap_has_the_times_that_clocks_skip(line, zone, gaps):
    """Only on days on which runs start, and only for schedules of certain hours."""
    march = datetime(2026, 3, 1, tzinfo=UTC)
    found = cron.parse(line, zone).gaps(march, datetime(2026, 4, 1, tzinfo=UTC))
    assert [each.astimezone(UTC).isoformat() for each in found] == gaps


NAMES = [f"team-{number % 7}/refresh-{number}" for number in range(600)]


def test_open_minutes_are_spread_over_the_hour():
    """600 refreshes start in all minutes of the hour, and not more than a few times as many in one as on average."""
    minutes = [cron.parse(cron.resolve("H * * * *", name)).minutes for name in NAMES]
    counts = [minutes.count((minute,)) for minute in range(60)]
    assert sum(counts) == len(NAMES)
    assert min(counts) > 0
    assert max(counts) < 3 * len(NAMES) / 60


def test_an_open_schedule_is_always_the_same_for_one_name():
    """Otherwise runs would move at each restart of the operator. Minute and hour are independent."""
    assert cron.resolve("H H * * *", "analytics/phase2") == cron.resolve("H H * * *", "analytics/phase2")
    assert len({cron.resolve("H H * * *", name) for name in NAMES}) > 400


@pytest.mark.parametrize("step", [2, 3, 4, 5, 6, 10, 12, 15, 20, 30])
def test_open_steps_are_as_far_apart_across_the_hour(step):
    """Also between the last run of an hour and the first of the next."""
    for name in NAMES[:50]:
        minutes = cron.parse(cron.resolve(f"H/{step} * * * *", name)).minutes
        assert len(minutes) == 60 // step
        assert {(later - earlier) % 60 for earlier, later in zip(minutes, (*minutes[1:], minutes[0]), strict=True)} == {step}


@pytest.mark.parametrize("line", ["30 2,5 * * *", "*/10 * * MAR THU", "* * * *", "H/x * * * *", "H/0 * * * *", "H-3 * * * *", "* * H * *"])
def test_other_lines_stay_as_they_are(line):
    """An invalid use of `H` is left for the parser to reject."""
    assert cron.resolve(line, "analytics/phase2") == line
