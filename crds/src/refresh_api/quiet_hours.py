"""Quiet hours of a channel: times of day at which it is not notified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import SET
from refresh_api.model import SpecModel, in_zone
from refresh_api.values import Text, rule


class Day(StrEnum):
    """A day of the week."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


_EVERY_DAY: Final = tuple(Day)
_LAST: Final = "24:00"
_TIME: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_NO_TIME_SAYS: Final = "quiet hours need different times for start and end"
_ALWAYS_SAYS: Final = "quiet hours from 00:00 to 24:00 need days, at most six: otherwise this channel is never notified"
_AROUND: Final = timedelta(days=9)
"""How far around a moment periods are computed: those of a whole week are complete."""
_LONGEST: Final = timedelta(days=7)
"""Quiet hours that last longer would never end."""


class QuietHours(SpecModel):
    """A time of day, in the time zone of the refresh. It ends on the next day if `end` is earlier than `start`."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self.start != self.end", _NO_TIME_SAYS),
                rule("self.start != '00:00' || self.end != '24:00' || (has(self.days) && size(self.days) < 7)", _ALWAYS_SAYS),
            ]
        }
    )

    start: Annotated[str, Text(f"^{_TIME}$", "write a time of day like 22:00", 5)] = Field(description="When quiet hours start.")
    end: Annotated[str, Text(f"^({_TIME}|{_LAST})$", "write a time of day like 07:00, or 24:00", 5)] = Field(
        description="When they end; on the next day if that is earlier than start."
    )
    days: list[Day] = Field(
        default_factory=lambda: list(_EVERY_DAY),
        min_length=1,
        max_length=len(_EVERY_DAY),
        json_schema_extra=SET,
        description="Days on which they start: Mon, Tue, Wed, Thu, Fri, Sat or Sun. Defaults to every day.",
    )

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.start == self.end:
            raise ValueError(_NO_TIME_SAYS)
        if (self.start, self.end, len(self.days)) == ("00:00", _LAST, len(_EVERY_DAY)):
            raise ValueError(_ALWAYS_SAYS)
        return self

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """Return start and end of the quiet hours that start on a day, in UTC; None if there are none.

        A time that the clock change skips is as much later; of one that it repeats, the first counts.
        """
        if _EVERY_DAY[day.weekday()] not in self.days:
            return None
        is_next_day = self.end <= self.start or self.end == _LAST
        end = time(0) if self.end == _LAST else time.fromisoformat(self.end)
        found = (
            datetime.combine(day, time.fromisoformat(self.start), zone).astimezone(UTC),
            datetime.combine(day + timedelta(days=1) if is_next_day else day, end, zone).astimezone(UTC),
        )
        return found if found[0] < found[1] else None


@dataclass(frozen=True)
class QuietPeriod:
    """One night, or weekend, of quiet hours."""

    start: datetime
    end: datetime


def quiet_now(hours: Sequence[QuietHours], zone: str, now: datetime) -> QuietPeriod | None:
    """Return the quiet period at this moment, or None."""
    return next((each for each in _periods(hours, zone, now) if each.start <= now < each.end), None)


def last_quiet(hours: Sequence[QuietHours], zone: str, now: datetime) -> QuietPeriod | None:
    """Return the last quiet period that is over, or None."""
    return max((each for each in _periods(hours, zone, now) if each.end <= now), key=lambda each: each.end, default=None)


def _periods(hours: Sequence[QuietHours], zone: str, now: datetime) -> Iterator[QuietPeriod]:
    """Yield the periods around a moment. Those that touch are one; one that would never end is left out."""
    here, first = ZoneInfo(zone), in_zone(now - _AROUND, ZoneInfo(zone)).date()
    days = [first + timedelta(days=number) for number in range(2 * _AROUND.days + 1)]
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted(found for each in hours for day in days if (found := each.on(day, here))):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return (QuietPeriod(*each) for each in joined if each[1] - each[0] <= _LONGEST)
