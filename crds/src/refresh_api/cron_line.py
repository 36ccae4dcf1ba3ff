"""The type of a schedule in a spec: cron lines that Kubernetes accepts and that match at least one day; for the CRD and the models."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from refresh_api import cron
from refresh_api.values import rule, string_schema

_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS: Final = "sun mon tue wed thu fri sat".split()
_STEP: Final = "0*[1-9][0-9]{0,3}"


_OPEN_STEP: Final = "(/([2-6]|10|12|15|20|30))?"
"""Steps of `H`: those that divide an hour, so that the times between runs are all the same."""


def _field(number: str, names: str = "", *, open_by: str = "") -> str:
    value = f"({number}|{names})" if names else number
    return rf"([*?]|{value}(-{value})?)(/{_STEP})?{open_by}"


_FIELDS: Final = (
    _field("0*[1-5]?[0-9]", open_by=f"|H{_OPEN_STEP}"),
    _field("0*(1?[0-9]|2[0-3])", open_by="|H"),
    _field("0*([1-9]|[12][0-9]|3[01])"),
    _field("0*([1-9]|1[0-2])", f"(?i:{'|'.join(_MONTHS)})"),
    _field("0*[0-6]", f"(?i:{'|'.join(_WEEKDAYS)})"),
)
_PATTERN: Final = "^" + " +".join(f"({item})(,({item}))*" for item in _FIELDS) + "$"
_SAYS: Final = (
    'write a cron line of five fields (minute, hour, day of month, month, day of week 0-6), like "30 2,5,8 * * *"; '
    "H leaves the minute or the hour open"
)

_NUMBERS: Final = "self.lowerAscii()" + "".join(
    f".replace('{name}', '{number}')" for name, number in [*zip(_MONTHS, range(1, 13), strict=True), *zip(_WEEKDAYS, range(7), strict=True)]
)
"""CEL expression for the line with numbers instead of names."""
_FORWARDS: Final = f"{_NUMBERS}.findAll('[0-9]+-[0-9]+').all(r, int(r.split('-')[0]) <= int(r.split('-')[1]))"


def _months_outside(wanted: frozenset[int]) -> str:
    """Return a pattern of items of the month field that include none of these months."""
    return "|".join(_months_from(first, wanted) for first in range(1, 13) if first not in wanted)


def _months_from(first: int, wanted: frozenset[int]) -> str:
    ends = []
    for last in range(first, 13):
        steps = [str(step) for step in range(1, 13) if not wanted & set(range(first, last + 1, step))]
        stepped = f"/0*({'|'.join([*steps, '1[3-9]', '[2-9][0-9]', '[1-9][0-9]{2,3}'])})"
        ends.append(f"-0*{last}({stepped}){'?' if '1' in steps else ''}")
        if last == 12:
            ends.append(stepped)  # without an end the range extends to December
    return f"0*{first}({'|'.join(ends)})?"


def _never() -> str:
    """Return a pattern of lines, with numbers instead of names, that never match: no month has the day, and the weekday is unrestricted."""
    weekdays = r"([^ ]+,)?[*?](/0*1)?(,[^ ]+)?"
    long_months = frozenset({1, 3, 5, 7, 8, 10, 12})
    whens = []
    for day, months in (("31", _months_outside(long_months)), ("3[01]", _months_outside(frozenset(range(1, 13)) - {2}))):
        item = f"0*{day}(-0*3[01])?(/{_STEP})?"
        whens.append(f"{item}(,{item})* +({months})(,({months}))*")
    return rf"^[^ ]+ +[^ ]+ +({'|'.join(whens)}) +{weekdays}$"


def _checked(line: str) -> str:
    if len(line) > 256:
        raise ValueError("write at most 256 characters")
    if line.startswith(("TZ=", "CRON_TZ=")):
        raise ValueError("write the time zone in timeZone")
    cron.parse(cron.resolve(line, ""))
    if not re.fullmatch(_PATTERN, line):
        raise ValueError(_SAYS)
    return line


CronLine = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema(
        string_schema(
            256,
            rule(f"self.matches(r'{_PATTERN}')", _SAYS),
            rule(_FORWARDS, "a range begins after its end: write the smaller value first, like 1-5"),
            rule(f"!{_NUMBERS}.matches(r'{_never()}')", "this schedule never matches: no year has such a day"),
        )
    ),
]
"""A schedule in cron format."""
