"""Texts that users write into a spec, with what they may be and the words that refuse them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema

from refresh_api import cron
from refresh_api.model import Model
from refresh_api.values import Text, rule, string_schema

_NAME = "write lower-case letters, digits and dashes"
StepName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", _NAME, 40)]
ObjectName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", f"{_NAME}, as in the name of an object", 253)]
SecretKey = Annotated[str, Text(r"^[-._a-zA-Z0-9]+$", "write letters, digits, dashes, dots and underscores, as in a key of a Secret", 253)]
Identifier = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write a PostgreSQL name: letters, digits and underscores", 63)]
Relation = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$", "write a table as schema.name", 127)]
Endpoint = Annotated[str, Text(r"^/[^\s]*$", "write a path that begins with a slash", 512)]
Url = Annotated[str, Text(r"^https?://[^\s/?#]+[^\s]*$", "write an address that begins with http:// or https://", 512)]
Email = Annotated[str, Text(r"^[^@\s,<>]+@[^@\s,<>]+$", "write one mail address, like name@example.org", 254)]
HeaderName = Annotated[str, Text(r"^[A-Za-z0-9-]+$", "write the name of a header, like X-Data-Version", 64)]
JsonPath = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$", "write a field, like meta.version", 128)]
Channel = Annotated[str, Text(r"^[#@][^\s]+$", "write a channel like #alerts or a person like @name", 80)]
Selector = Annotated[str, Text(r"^[^\s-][^\s]*$", "write one dbt selector: a model's name, tag:name or path:folder; never an option", 256)]


def _checked_schedule(line: str) -> str:
    if len(line) > 256:
        raise ValueError("write at most 256 characters")
    if line.startswith(("TZ=", "CRON_TZ=")):
        raise ValueError("the zone belongs into timeZone")
    cron.parse(line)
    return line


def _checked_zone(name: str) -> str:
    if name == "Local" or not re.match(_ZONE_PATTERN, name):
        raise ValueError(_ZONE_SAYS)
    try:
        cron.zone_of(name)
    except LookupError as error:
        raise ValueError(str(error)) from None
    return name


def _cron_field(number: str, names: str = "") -> str:
    value = f"({number}|{names})" if names else number
    return rf"([*?]|{value}(-{value})?)(/0*[1-9][0-9]{{0,3}})?"


def _cron_pattern() -> str:
    items = (
        _cron_field("0*[1-5]?[0-9]"),
        _cron_field("0*(1?[0-9]|2[0-3])"),
        _cron_field("0*([1-9]|[12][0-9]|3[01])"),
        _cron_field("0*([1-9]|1[0-2])", "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"),
        _cron_field("0*[0-6]", "(?i:sun|mon|tue|wed|thu|fri|sat)"),
    )
    return "^" + " +".join(f"{item}(,{item})*" for item in items) + "$"


_SCHEDULE_SAYS = 'write a cron line of five fields (minute, hour, day of month, month, day of week 0-6), like "30 2,5,8 * * *"'
_ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_ZONE_SAYS = "write the IANA name of a time zone, like Etc/UTC or Europe/Paris"

CronLine = Annotated[
    str,
    AfterValidator(_checked_schedule),
    WithJsonSchema(string_schema(256, rule(f"self.matches(r'{_cron_pattern()}')", _SCHEDULE_SAYS))),
]
TimeZone = Annotated[
    str,
    AfterValidator(_checked_zone),
    WithJsonSchema(
        string_schema(
            64,
            # The second rule fails in the evaluation itself where the API server knows no such zone, and its answer names the zone.
            rule(f"self != 'Local' && self.matches(r'{_ZONE_PATTERN}')", _ZONE_SAYS),
            rule("timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0", _ZONE_SAYS),
        )
    ),
]


def map_list(key: str) -> dict[str, JsonValue]:
    """Schema of a list whose items are told apart by a key: the API server refuses a doubled one and names it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}


class SecretRef(Model):
    """A Secret in the refresh's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")


class SecretKeyRef(Model):
    """One key of a Secret in the refresh's namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: SecretKey = Field(description="Key within the Secret.")
