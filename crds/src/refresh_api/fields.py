"""Types of the strings in a spec, with their patterns and error messages."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, JsonValue, PlainSerializer, WithJsonSchema

from refresh_api import cron
from refresh_api.model import SpecModel, time_text
from refresh_api.values import BLANKS, CONTROLS, SUBDOMAIN, Text, rule, string_schema

_NAME = "write lower-case letters, digits and dashes"
StepName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", _NAME, 40)]
NamespaceName = Annotated[str, Text(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "write the name of a namespace", 63)]
ObjectName = Annotated[str, Text(f"^{SUBDOMAIN}$", f"{_NAME}, as in the name of an object", 253)]
SecretKey = Annotated[
    str, Text(r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", "write letters, digits, dashes, dots and underscores, as in a key of a Secret", 253)
]
Identifier = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write a PostgreSQL name: letters, digits and underscores", 63)]
_QUOTED = r'"\x00-\x1f\x7f-\x9f'
"""Characters that names cannot contain: quotes, so that nobody quotes a name, and control characters, which would reach logs."""
Column = Annotated[str, Text(f"^[^{_QUOTED}]+$", "write a column's name as PostgreSQL stores it, without quotes", 63)]
Relation = Annotated[
    str,
    Text(rf"^[^.{_QUOTED}]{{1,63}}\.[^{_QUOTED}]{{1,63}}$", "write a table as schema.name, as PostgreSQL stores it, without quotes", 127),
]
Endpoint = Annotated[str, Text(rf"^/[^{BLANKS}]*$", "write a path that begins with a slash", 512)]
Url = Annotated[str, Text(rf"^https?://[^{BLANKS}/?#]+[^{BLANKS}]*$", "write an address that begins with http:// or https://", 512)]
Image = Annotated[
    str,
    Text(
        r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:[0-9]+)?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?$",
        "write an image, like registry.example.org/runner:1.2 or registry.example.org/runner@sha256:…",
        512,
    ),
]
Email = Annotated[str, Text(rf"^[^@{BLANKS},<>]+@[^@{BLANKS},<>]+$", "write one mail address, like name@example.org", 254)]
HeaderName = Annotated[str, Text(r"^[A-Za-z0-9-]+$", "write the name of a header, like X-Data-Version", 64)]
JsonPath = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$", "write a field, like meta.version", 128)]
Channel = Annotated[str, Text(rf"^[#@][^{BLANKS}]+$", "write a channel like #alerts or a person like @name", 80)]
# No dash at the start. A shorter pattern than with two classes: layers have up to 4,000 selectors, and the API server counts its length.
Selector = Annotated[
    str, Text(rf"^([^{BLANKS}-]-*)+$", "write one dbt selector: a model's name, tag:name or path:folder, not an option", 256)
]
Title = Annotated[str, Text(rf"^[^{CONTROLS}]+$", "write one line of text", 80)]
_MOMENT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"  # RFC 3339, in capitals
)
_MOMENT_SAYS = "write a time like 2026-12-24T18:00:00Z"


def _moment_text(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(_MOMENT_PATTERN, value):
        raise ValueError(_MOMENT_SAYS)
    return value


def _checked_moment(moment: datetime) -> datetime:
    # The API server has no times before the year 1 or after 9999, in UTC.
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(_MOMENT_SAYS) from None


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment_text),
    AfterValidator(_checked_moment),
    PlainSerializer(time_text, return_type=str, when_used="json"),
    WithJsonSchema(
        string_schema(
            40,
            # Not `format: date-time`, with which the API server also accepts an empty list. For a day that does not exist, the
            # evaluation of the second rule itself fails.
            rule(f"self.matches(r'{_MOMENT_PATTERN}')", _MOMENT_SAYS),
            rule("timestamp(self).getFullYear() >= 0", _MOMENT_SAYS),
        )
    ),
]
"""A time in a spec."""

_ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_NO_ZONE_PATTERN = r"^(Local|localtime|posixrules|Factory|(posix|right)/.*)$"
"""Names of files in some systems' time zone databases that are not IANA names."""
_ZONE_SAYS = "write the IANA name of a time zone, like Etc/UTC or Europe/Paris"


def _checked_zone(name: str) -> str:
    if len(name) > 64 or re.fullmatch(_NO_ZONE_PATTERN, name) or not re.fullmatch(_ZONE_PATTERN, name):
        raise ValueError(_ZONE_SAYS)
    try:
        cron.zone_of(name)
    except LookupError as error:
        raise ValueError(str(error)) from None
    return name


TimeZone = Annotated[
    str,
    AfterValidator(_checked_zone),
    WithJsonSchema(
        string_schema(
            64,
            # If the API server does not know the zone, the evaluation of the second rule itself fails, and its error names the zone.
            rule(f"!self.matches(r'{_NO_ZONE_PATTERN}') && self.matches(r'{_ZONE_PATTERN}')", _ZONE_SAYS),
            rule("timestamp('2026-01-01T00:00:00Z').getFullYear(self) > 0", _ZONE_SAYS),
        )
    ),
]


def map_list(key: str) -> dict[str, JsonValue]:
    """Return the schema of a list whose items are identified by a key: the API server rejects duplicates and names them."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}


_WHO_MAY: Final = (
    "A user who can write a refresh can use any Secret of its namespace and send its values elsewhere, "
    "unless secrets.policy of the operator's chart allows only some."
)


class SecretRef(SpecModel):
    """A Secret in the refresh's namespace."""

    name: ObjectName = Field(description=f"Name of the Secret. {_WHO_MAY}")


class SecretKeyRef(SpecModel):
    """One key of a Secret in the refresh's namespace."""

    name: ObjectName = Field(description=f"Name of the Secret. {_WHO_MAY}")
    key: SecretKey = Field(description="Key within the Secret.")
