"""Cron lines of other tools, as Kubernetes reads them: five fields, weekdays from 0 to 6, no names for whole lines."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from pydantic import TypeAdapter, ValidationError

from refresh_api import cron
from refresh_api.cron_line import CronLine
from refresh_runner.importers.description import UnreadableError

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for lines. Kubernetes knows all but `@quarterly`, which is Airflow's."""
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
_EVERY: Final = re.compile(r"@every\s+(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_TO_SUNDAY: Final = re.compile(r"(?:([0-6])-)?7(?:/([1-7]))?")
_LONGEST: Final = 100
"""Maximum length of a line that is read; `spec.schedule` has at most 256 characters, and a message should have fewer."""
_BY_HAND: Final = "give one by --schedule"


class Seconds(Enum):
    """Where a line of six fields has its seconds."""

    NOWHERE = "nowhere"
    FIRST = "first"
    """As the Go library robfig/cron reads it."""
    LAST = "last"
    """As the Python library croniter reads it, which Airflow, Dagster and the dbt platform use."""


def zone_and_line(text: str) -> tuple[str | None, str]:
    """Return the time zone before a line, `TZ=Europe/Paris 0 6 * * *`, None without one; and the line."""
    found = _ZONE.fullmatch(text.strip())
    return (found[1], found[2].strip()) if found else (None, text.strip())


def cron_line(text: str, place: str, seconds: Seconds = Seconds.NOWHERE) -> str:
    """Return a line as Kubernetes reads it. Raise UnreadableError if no line of five fields says the same."""
    line = " ".join(text.split())[:_LONGEST]
    if every := _EVERY.fullmatch(line):
        hours, minutes, rest = (int(each or 0) for each in every.groups())
        return interval_line(timedelta(hours=hours, minutes=minutes, seconds=rest), None, place)
    if line.startswith("@"):
        if line not in MACROS:
            raise UnreadableError(f"{place}: {line} is not a time of day that a cron line says; {_BY_HAND}")
        return MACROS[line]
    fields = line.split()
    if len(fields) == 6 and seconds is not Seconds.NOWHERE:
        second = fields.pop(0 if seconds is Seconds.FIRST else 5)
        if second != "0":
            raise UnreadableError(f"{place}: {line!r} starts at second {second}, and a refresh starts at second 0; {_BY_HAND}")
    if len(fields) == 5:
        fields[4] = ",".join(_weekday(item) for item in fields[4].split(","))
    return checked(" ".join(fields), place, line)


def checked(line: str, place: str, written: str | None = None) -> str:
    """Return a line of five fields. Raise UnreadableError if Kubernetes does not accept it."""
    try:
        cron.parse(cron.resolve(line, ""))
        return TypeAdapter(CronLine).validate_python(line)
    except ValidationError as error:
        why = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
    except ValueError as invalid:
        why = str(invalid)
    raise UnreadableError(f"{place}: {written or line!r} is no schedule of a refresh: {why}; {_BY_HAND}")


def interval_line(interval: timedelta, start: datetime | None, place: str) -> str:
    """Return the line that says an interval, counted from `start`. Raise UnreadableError if none does.

    Where the start is unknown, `H` leaves open the minute and the hour.
    """
    minutes, rest = divmod(interval, _MINUTE)
    if interval <= timedelta(0) or rest or (start is not None and (start.second or start.microsecond)):
        raise UnreadableError(f"{place}: no cron line says every {interval}; {_BY_HAND}")
    minute, hour = (str(start.minute), start.hour) if start is not None else ("H", None)
    if interval == _DAY:
        return f"{minute} {'H' if hour is None else hour} * * *"
    if interval == 7 * _DAY and start is not None:
        return f"{minute} {hour} * * {start.isoweekday() % 7}"
    if interval < _HOUR and 60 % minutes == 0:
        return _within_an_hour(minutes, start)
    hours, rest = divmod(interval, _HOUR)
    if not rest and 24 % hours == 0 and interval < _DAY:
        if hours == 1:
            return f"{minute} * * * *"
        if hour is not None:
            first = hour % hours
            return f"{minute} {','.join(str(each) for each in range(first, 24, hours))} * * *"
    raise UnreadableError(f"{place}: no cron line says every {interval}{'' if start else ' from an unknown time on'}; {_BY_HAND}")


def _within_an_hour(minutes: int, start: datetime | None) -> str:
    if minutes == 1:
        return "* * * * *"
    if start is None:
        # the spec takes those steps of H that divide an hour, and these are they
        return f"H/{minutes} * * * *"
    first = start.minute % minutes
    return f"{f'*/{minutes}' if first == 0 else f'{first}-59/{minutes}'} * * * *"


def _weekday(item: str) -> str:
    """Return an item of the day of the week with 0 for Sunday, where others also write 7."""
    found = _TO_SUNDAY.fullmatch(item)
    if found is None:
        return item
    first, step = int(found[1] or 7), int(found[2] or 1)
    return ",".join(str(day) for day in sorted({day % 7 for day in range(first, 8, step)}))
