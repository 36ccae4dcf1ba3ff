"""Cron lines of other tools become lines that Kubernetes reads the same way, or are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from refresh_api import cron
from refresh_runner.importers.description import UnreadableError
from refresh_runner.importers.schedules import MACROS, Seconds, cron_line, interval_line, zone_and_line

FIRST, LAST, NOWHERE = Seconds.FIRST, Seconds.LAST, Seconds.NOWHERE


@pytest.mark.parametrize(
    ("written", "seconds", "read"),
    [
        ("30 2,5 * * MON-FRI", NOWHERE, "30 2,5 * * MON-FRI"),
        ("  0   6 * * * ", NOWHERE, "0 6 * * *"),
        ("0 0 */6 * * *", FIRST, "0 */6 * * *"),
        ("15 6 * * 1 0", LAST, "15 6 * * 1"),
        ("0 6 * * 7", LAST, "0 6 * * 0"),
        ("0 6 * * 5-7", LAST, "0 6 * * 0,5,6"),
        ("0 6 * * 1-7/2", LAST, "0 6 * * 0,1,3,5"),
        ("0 6 * * 1,7", LAST, "0 6 * * 1,0"),
        ("@daily", NOWHERE, "0 0 * * *"),
        ("@midnight", NOWHERE, "0 0 * * *"),
        ("@hourly", NOWHERE, "0 * * * *"),
        ("@weekly", NOWHERE, "0 0 * * 0"),
        ("@monthly", NOWHERE, "0 0 1 * *"),
        ("@quarterly", NOWHERE, "0 0 1 */3 *"),
        ("@annually", NOWHERE, "0 0 1 1 *"),
        ("@every 15m", NOWHERE, "H/15 * * * *"),
        ("@every 1h0m0s", NOWHERE, "H * * * *"),
        ("@every 24h", NOWHERE, "H H * * *"),
    ],
)
def test_a_line_is_read_as_its_tool_reads_it(written, seconds, read):
    """Six fields begin or end with the seconds, 7 is Sunday, and names stand for lines."""
    assert cron_line(written, "here", seconds) == read
    cron.parse(cron.resolve(read, "x"))


@pytest.mark.parametrize(
    ("written", "seconds", "says"),
    [
        ("0 0 6 * * *", NOWHERE, "five fields"),
        ("30 0 6 * * *", FIRST, "starts at second 30"),
        ("*/10 * * * * *", FIRST, "starts at second */10"),
        ("0 6 * * * 30", LAST, "starts at second 30"),
        ("0 6 * *", LAST, "five fields"),
        ("0 0 6 * * * 2027", LAST, "five fields"),
        ("0 6 * * MON#1", LAST, "day of week"),
        ("0 6 L * *", LAST, "day of month"),
        ("0 6 * * FRI-MON", LAST, "begins after its end"),
        ("0 6 31 2 *", LAST, "never matches"),
        ("61 * * * *", LAST, "minute"),
        ("@once", LAST, "not a time of day"),
        ("@continuous", LAST, "not a time of day"),
        ("@reboot", NOWHERE, "not a time of day"),
        ("@every 7h", NOWHERE, "no cron line says every 7:00:00"),
        ("@every 90s", NOWHERE, "no cron line says every 0:01:30"),
        (f"@every {'9' * 80}h", NOWHERE, "not a time of day"),
        (f"{'9' * 90} * * * *", NOWHERE, "minute"),
        ("{{ schedule }}", NOWHERE, "five fields"),
        ("", NOWHERE, "five fields"),
    ],
)
def test_a_line_that_kubernetes_would_read_otherwise_is_refused(written, seconds, says):
    """The message names the place, and the way out."""
    with pytest.raises(UnreadableError) as error:
        cron_line(written, "spec.schedule", seconds)
    assert says in str(error.value)
    assert str(error.value).startswith("spec.schedule: ")
    assert "--schedule" in str(error.value)


START = datetime(2026, 3, 4, 7, 20)


@pytest.mark.parametrize(
    ("interval", "start", "line"),
    [
        (timedelta(days=1), START, "20 7 * * *"),
        (timedelta(weeks=1), START, "20 7 * * 3"),
        (timedelta(hours=6), START, "20 1,7,13,19 * * *"),
        (timedelta(hours=1), START, "20 * * * *"),
        (timedelta(minutes=15), START, "5-59/15 * * * *"),
        (timedelta(minutes=20), START, "*/20 * * * *"),
        (timedelta(minutes=1), START, "* * * * *"),
        (timedelta(minutes=10), None, "H/10 * * * *"),
        (timedelta(hours=1), None, "H * * * *"),
        (timedelta(days=1), None, "H H * * *"),
    ],
)
def test_an_interval_that_a_line_says_becomes_that_line(interval, start, line):
    """Counted from the start, as Airflow does. With an unknown start, H leaves open when."""
    assert interval_line(interval, start, "here") == line


def test_times_of_an_interval_are_those_of_its_line():
    """The control: the first runs by the line are the start and what is counted from it."""
    for interval in (timedelta(hours=n) for n in (1, 2, 3, 4, 6, 8, 12, 24)):
        runs = cron.parse(interval_line(interval, START, "here")).after(datetime(2026, 3, 4, 7, 19, tzinfo=UTC))
        assert [next(runs) for _ in range(5)] == [START.replace(tzinfo=UTC) + interval * n for n in range(5)]


@pytest.mark.parametrize(
    ("interval", "start"),
    [
        (timedelta(minutes=45), START),
        (timedelta(hours=5), START),
        (timedelta(days=2), START),
        (timedelta(seconds=30), START),
        (timedelta(0), START),
        (-timedelta(hours=1), START),
        (timedelta(hours=1), START.replace(second=30)),
        (timedelta(hours=6), None),
        (timedelta(weeks=1), None),
    ],
)
def test_an_interval_that_no_line_says_is_refused(interval, start):
    """A line near it would run at other times."""
    with pytest.raises(UnreadableError, match="no cron line says"):
        interval_line(interval, start, "here")


def test_a_time_zone_in_the_line_is_taken_out():
    """Kubernetes' own field for it is spec.timeZone."""
    assert zone_and_line("CRON_TZ=Europe/Paris 0 6 * * *") == ("Europe/Paris", "0 6 * * *")
    assert zone_and_line("TZ=Asia/Tokyo @daily") == ("Asia/Tokyo", "@daily")
    assert zone_and_line("0 6 * * *") == (None, "0 6 * * *")


def test_every_name_of_a_line_is_valid():
    """Each is used as it stands."""
    for line in MACROS.values():
        cron.parse(line)
