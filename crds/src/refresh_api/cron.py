"""Parser for cron lines with the rules of Kubernetes.

A line has five fields, with names, `?` for `*`, and 0 for Sunday; if both day fields are restricted, either may match. Kubernetes uses
github.com/robfig/cron v3. This parser follows its documented rules, so that the next runs shown are those that the controller starts.

Kubernetes does not know `H`, by which a schedule leaves the minute or the hour open. `resolve` puts a number in its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from refresh_api.model import in_zone

_MONTHS: Final = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_WEEKDAYS: Final = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}

_OPEN: Final = frozenset({"minute", "hour"})
"""Fields that a schedule may leave open by `H`."""
HORIZON: Final = timedelta(days=366 * 5)
"""How far ahead the next run is searched for: the parser of Kubernetes also stops after five years."""


_FIRST_DAY: Final = date(1, 2, 1)
_LAST_DAY: Final = date(9999, 11, 1)
"""Earliest and latest day of a run. Beyond them, a conversion of zones or the next month could exceed the range of a date."""


@dataclass(frozen=True)
class Field:
    """A field of a cron line: its range and its names for numbers."""

    name: str
    low: int
    high: int
    names: dict[str, int]


FIELDS: Final = (
    Field("minute", 0, 59, {}),
    Field("hour", 0, 23, {}),
    Field("day of month", 1, 31, {}),
    Field("month", 1, 12, _MONTHS),
    Field("day of week", 0, 6, _WEEKDAYS),
)


@dataclass(frozen=True)
class Schedule:
    """A parsed cron line with its time zone."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    zone: ZoneInfo

    def matches(self, day: date) -> bool:
        """Return whether runs start on that day."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.any_day or self.any_weekday else in_month or in_week

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the scheduled times after `moment` in order, in the schedule's time zone, up to HORIZON.

        A wall time that is skipped when clocks go forward does not occur; one that is repeated when clocks go back occurs twice, as in
        the CronJob controller.
        """
        day = max(_FIRST_DAY, min(_LAST_DAY, in_zone(moment, self.zone).date())) - timedelta(days=1)
        last = min(day + HORIZON, _LAST_DAY) if day < _LAST_DAY - HORIZON else _LAST_DAY
        while day < last:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self.matches(day):
                yield from (start for start in self._starts(day) if start > moment)
            day += timedelta(days=1)

    @property
    def fixed_hour(self) -> bool:
        """Whether runs start at certain hours only, so that a repeated or skipped hour matters."""
        return len(self.hours) < 24

    def is_repeat(self, moment: datetime) -> bool:
        """Return whether this wall time occurred before on the same day, because clocks went back.

        Schedules of certain hours skip the repeated time; schedules of every hour run at both.
        """
        return self.fixed_hour and moment.astimezone(self.zone).fold == 1

    def runs_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the scheduled times after `moment` as `after` does, without repeated ones."""
        return (start for start in self.after(moment) if not self.is_repeat(start))

    def gaps(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the times after `first` until `last` that are skipped because clocks go forward, for schedules of certain hours."""
        if not self.fixed_hour:
            return
        day = max(_FIRST_DAY, in_zone(first, self.zone).date()) - timedelta(days=1)
        while day <= min(_LAST_DAY, in_zone(last, self.zone).date()):
            if self.matches(day) and self._changes(day):
                walls = (datetime.combine(day, time(hour, minute), self.zone) for hour in self.hours for minute in self.minutes)
                missing = (wall.astimezone(UTC) for wall in walls if wall.astimezone(UTC).astimezone(self.zone).time() != wall.time())
                yield from (moment.astimezone(self.zone) for moment in missing if first < moment <= last)
            day += timedelta(days=1)

    def _changes(self, day: date) -> bool:
        """Return whether clocks change on that day."""
        begin, end = (datetime.combine(each, time(0), self.zone) for each in (day, day + timedelta(days=1)))
        return begin.utcoffset() != end.utcoffset()

    def _starts(self, day: date) -> list[datetime]:
        found = set()
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    instant = datetime.combine(day, time(hour, minute, fold=fold), self.zone).astimezone(UTC)
                    wall = instant.astimezone(self.zone)
                    if (wall.hour, wall.minute) == (hour, minute):
                        found.add(instant)
        return [instant.astimezone(self.zone) for instant in sorted(found)]


def resolve(line: str, name: str) -> str:
    """Return a cron line with a number in place of each `H`: a hash of the name, so that it is always the same for one name.

    `H` is any minute or any hour, `H/15` every quarter of an hour from any minute on. Other fields and lines without it stay as they are.
    """
    fields = line.split()
    for place, field in enumerate(FIELDS[: len(fields)]):
        if field.name in _OPEN and "H" in fields[place]:
            number = int.from_bytes(sha256(f"{field.name} {name}".encode()).digest()[:8])
            fields[place] = ",".join(_resolved(item, field, number) for item in fields[place].split(","))
    return " ".join(fields)


def _resolved(item: str, field: Field, number: int) -> str:
    span, slash, step = item.partition("/")
    if span != "H":
        return item
    if not slash:
        return str(number % (field.high + 1))
    return f"{number % int(step)}-{field.high}/{step}" if step.isdecimal() and int(step) else item


@lru_cache(maxsize=4096)
def parse(line: str, zone: str = "Etc/UTC") -> Schedule:
    """Return the schedule of a cron line; ValueError if a field is invalid, LookupError if the time zone does not exist."""
    parts = line.split()
    if len(parts) != len(FIELDS):
        raise ValueError(f"a schedule has five fields (minute, hour, day of month, month, day of week), {line!r} has {len(parts)}")
    sets = [_values(part, field) for part, field in zip(parts, FIELDS, strict=True)]
    schedule = Schedule(
        minutes=tuple(sorted(sets[0])),
        hours=tuple(sorted(sets[1])),
        days=sets[2],
        months=sets[3],
        weekdays=sets[4],
        any_day=_unrestricted(parts[2]),
        any_weekday=_unrestricted(parts[4]),
        zone=zone_of(zone),
    )
    if not any(schedule.matches(date(2024, 1, 1) + timedelta(days=offset)) for offset in range(HORIZON.days)):
        raise ValueError(f"{line!r} never matches: no year has such a day")
    return schedule


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name; LookupError if it does not exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LookupError(f"unknown time zone {name!r}; write an IANA name like Europe/Paris") from None


def _unrestricted(text: str) -> bool:
    """Return whether a day field is unrestricted: one of its items is a star without a step, or with a step of 1."""
    spans = (item.partition("/") for item in text.split(","))
    return any(span in {"*", "?"} and (not step or int(step) == 1) for span, _, step in spans)


def _values(text: str, field: Field) -> frozenset[int]:
    return frozenset(value for item in text.split(",") for value in _item(item, field))


def _item(item: str, field: Field) -> range:
    span, _, step_text = item.partition("/")
    low_text, dash, high_text = span.partition("-")
    step = _number(step_text, field, item) if "/" in item else 1
    if step == 0:
        raise ValueError(f"{field.name}: the step of {item!r} must be at least 1")
    if low_text in {"*", "?"} and not dash:
        low, high = field.low, field.high
    else:
        low = _value(low_text, field, item)
        high = _value(high_text, field, item) if dash else (field.high if "/" in item else low)
    if low > high:
        raise ValueError(f"{field.name}: {item!r} begins after its end")
    if low < field.low or high > field.high:
        raise ValueError(f"{field.name}: {item!r} is not between {field.low} and {field.high}")
    return range(low, high + 1, step)


def _value(text: str, field: Field, item: str) -> int:
    named = field.names.get(text.lower())
    return named if named is not None else _number(text, field, item)


def _number(text: str, field: Field, item: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{field.name}: {item!r} is invalid")
    return int(text)
