"""Quiet hours: when a channel is not notified, across midnight, weekends and changes of the clock."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from refresh_api.quiet_hours import QuietHours, QuietPeriod, last_quiet, quiet_now

NIGHT = {"start": "22:00", "end": "07:00"}
WEEKEND = {"start": "00:00", "end": "24:00", "days": ["Sat", "Sun"]}


def hours(*entries: dict[str, Any]) -> list[QuietHours]:
    return [QuietHours.model_validate(each) for each in entries]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def period(found: QuietPeriod | None) -> tuple[str, str] | None:
    return (f"{found.start:%d %H:%M}", f"{found.end:%d %H:%M}") if found else None


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-03-03T21:59:59", "Etc/UTC", None),
        ("2026-03-03T22:00", "Etc/UTC", ("03 22:00", "04 07:00")),
        ("2026-03-04T06:59:59", "Etc/UTC", ("03 22:00", "04 07:00")),
        ("2026-03-04T07:00", "Etc/UTC", None),
        ("2026-03-03T21:30", "Europe/Paris", ("03 21:00", "04 06:00")),
    ],
)
def test_a_night_goes_across_midnight(now: str, zone: str, expected: tuple[str, str] | None):
    """In the time zone of the refresh. The start is quiet, and the end is not."""
    assert period(quiet_now(hours(NIGHT), zone, at(now))) == expected


def test_a_weekend_and_its_nights_are_one_period():
    """From Friday evening until Monday morning, nobody is notified in between. 6 March 2026 is a Friday."""
    both = hours(NIGHT, WEEKEND)
    assert period(quiet_now(both, "Etc/UTC", at("2026-03-07T12:00"))) == ("06 22:00", "09 07:00")
    assert period(last_quiet(both, "Etc/UTC", at("2026-03-09T12:00"))) == ("06 22:00", "09 07:00")
    assert period(last_quiet(both, "Etc/UTC", at("2026-03-09T06:59"))) == ("05 22:00", "06 07:00")


def test_days_are_those_on_which_quiet_hours_start():
    """The night after Friday ends on Saturday."""
    friday = hours({**NIGHT, "days": ["Fri"]})
    assert period(quiet_now(friday, "Etc/UTC", at("2026-03-07T03:00"))) == ("06 22:00", "07 07:00")
    assert quiet_now(friday, "Etc/UTC", at("2026-03-08T03:00")) is None
    assert period(last_quiet(friday, "Etc/UTC", at("2026-03-12T03:00"))) == ("06 22:00", "07 07:00")


@pytest.mark.parametrize(
    ("night", "start", "end", "expected"),
    [
        ("2026-03-29", "22:00", "07:00", ("28 21:00", "29 05:00")),
        ("2026-10-25", "22:00", "07:00", ("24 20:00", "25 06:00")),
        ("2026-03-29", "01:00", "02:30", ("29 00:00", "29 01:30")),
        ("2026-10-25", "01:00", "02:30", ("24 23:00", "25 00:30")),
        ("2026-03-29", "02:30", "03:10", None),
    ],
    ids=["shorter", "longer", "an end that is skipped", "an end that comes twice", "nothing but the skipped hour"],
)
def test_clocks_that_change_move_the_ends(night: str, start: str, end: str, expected: tuple[str, str] | None):
    """Paris loses the hour from 2 to 3 on 29 March 2026, and has it twice on 25 October. Quiet hours end nevertheless."""
    found = last_quiet(hours({"start": start, "end": end}), "Europe/Paris", at(f"{night}T12:00"))
    assert period(found) == (expected or ("28 01:30", "28 02:10"))


def test_quiet_hours_that_never_end_are_none():
    """Together, these two cover each day. A channel that is never notified would look like one without problems."""
    always = hours({"start": "00:00", "end": "12:00"}, {"start": "12:00", "end": "24:00"})
    assert quiet_now(always, "Etc/UTC", at("2026-03-03T03:00")) is None
    assert last_quiet(always, "Etc/UTC", at("2026-03-03T03:00")) is None
    assert quiet_now(hours({"start": "00:00", "end": "12:00"}), "Etc/UTC", at("2026-03-03T03:00"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"start": "22:00", "end": "22:00"}, "different times"),
        ({"start": "00:00", "end": "24:00"}, "at most six"),
        ({"start": "24:00", "end": "07:00"}, "time of day like 22:00"),
        ({"start": "22:00", "end": "7:00"}, "07:00, or 24:00"),
        ({**NIGHT, "days": []}, "at least 1"),
        ({**NIGHT, "days": ["Mon", "Mon"]}, "listed twice"),
        ({**NIGHT, "days": ["Monday"]}, "'Mon'"),
    ],
)
def test_what_makes_no_sense_is_refused(entry: dict[str, Any], says: str):
    """With what to write instead."""
    with pytest.raises(ValidationError, match=says):
        QuietHours.model_validate(entry)
