"""Types of values that users write as strings: durations, percentages, quantities and names.

Each type defines its pattern and its error message once, for the CRD (as a CEL rule, so that `kubectl apply` prints a readable message)
and for the models (for the runner's command line).
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

LONGEST: Final = timedelta(days=7)
"""Maximum of all durations."""

_DURATION = re.compile(r"^(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?$")
_PERCENTAGE = re.compile(r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$")
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_WRITTEN_QUANTITY: Final = r"^[0-9]{1,18}(m|(\.[0-9]{1,3})?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$"
"""Pattern of a quantity with at most three decimals: the API server rounds others."""
_QUANTITY_UNITS: Final = {"m": Decimal("0.001")} | {
    unit: base**power
    for base, units in ((Decimal(1000), "kMGTPE"), (Decimal(1024), ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
    for power, unit in enumerate(units, 1)
}

_DURATION_SAYS = "write a duration like 90s, 15m or 1h30m, between 1s and 168h"
_PERCENTAGE_SAYS = "write a percentage like 10% or 2.5%, between 0% and 100%"
_LARGEST_QUANTITY: Final = "1Ei"
"""Maximum quantity. The API server changes much larger ones."""
_QUANTITY_SAYS: Final = f"write a quantity like 250m, 2, 512Mi or 4Gi, at most {_LARGEST_QUANTITY}"


def duration(text: str) -> timedelta:
    """Return a duration such as `90s`, `15m` or `1h30m`; ValueError unless it is between a second and LONGEST."""
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(seconds=1) <= length <= LONGEST:
        raise ValueError(_DURATION_SAYS)
    return length


def duration_text(length: timedelta) -> str:
    """Return a duration as text: `3m20s`, `1h05m`, `0s`; fractions of a second are dropped."""
    seconds = max(0, int(length.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def share(text: str) -> Decimal:
    """Return a percentage such as `10%` as an exact share between 0 and 1; ValueError for anything else."""
    if not _PERCENTAGE.fullmatch(text):
        raise ValueError(_PERCENTAGE_SAYS)
    return Decimal(text[:-1]) / 100


def quantity(text: str) -> Decimal:
    """Return a Kubernetes quantity such as `250m` or `4Gi` in its base unit (cores, bytes); ValueError for anything else."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(_QUANTITY_SAYS)
    number, unit = match.groups()
    return Decimal(number) * _QUANTITY_UNITS.get(unit, Decimal(1))


def rule(expression: str, message: str) -> dict[str, JsonValue]:
    """Return a CEL rule of the CRD."""
    return {"rule": expression, "message": message}


def number_set(*fields: str) -> str:
    """Return the CEL expression that counts how many of these fields of an object are set."""
    return f"[{', '.join(f'has(self.{each})' for each in fields)}].filter(x, x).size()"


SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""Pattern of a DNS subdomain, as most names in Kubernetes are."""
BLANKS: Final = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u206f\u3000\ufeff"
"""Characters of a class in a pattern: white space and invisible characters. `\\s` differs between Python and the API server."""
CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Characters of a class in a pattern: control characters and line separators."""


def string_schema(max_length: int, *rules: dict[str, JsonValue]) -> JsonSchemaValue:
    """Return the schema of a string of at most `max_length` characters with these rules."""
    return {"type": "string", "minLength": 1, "maxLength": max_length, "x-kubernetes-validations": list(rules)}


@dataclass(frozen=True)
class Text:
    """Metadata of a string that must match `pattern`, with the error message `says`, for the CRD and the models."""

    pattern: str
    says: str
    max_length: int
    min_length: int = 1

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the string after pydantic."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the same rule as a schema for the CRD."""
        return self.schema

    @property
    def schema(self) -> JsonSchemaValue:
        """The same rule as a schema for the CRD."""
        return {**string_schema(self.max_length, rule(self.cel(), self.says)), "minLength": self.min_length}

    def cel(self, of: str = "self") -> str:
        """Return the CEL expression that is true if a text matches."""
        # Python writes \u2028, CEL \x{2028}
        pattern = re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", self.pattern)
        return f"{of}.matches(r'{pattern}')"

    def checked(self, value: str) -> str:
        """Return the text; ValueError if it is invalid."""
        if not self.min_length <= len(value) <= self.max_length:
            raise ValueError(f"write between {self.min_length} and {self.max_length} characters")
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.says)
        return value


def _text(says: str) -> BeforeValidator:
    """Return a validator that rejects a number with the same error as an invalid text: YAML reads `10` as a number."""

    def check(value: object) -> object:
        if isinstance(value, int | float):
            raise ValueError(says)
        return value

    return BeforeValidator(check)


def _checked_duration(value: str) -> str:
    duration(value)
    return value


def _checked_share(value: str) -> str:
    share(value)
    return value


def _quantity_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked_quantity(value: str) -> str:
    if not re.fullmatch(_WRITTEN_QUANTITY, value) or quantity(value) > quantity(_LARGEST_QUANTITY):
        raise ValueError(_QUANTITY_SAYS)
    return value


Duration = Annotated[
    str,
    _text(_DURATION_SAYS),
    AfterValidator(_checked_duration),
    WithJsonSchema(
        string_schema(
            16,
            rule(
                f"self.matches(r'{_DURATION.pattern.replace('?:', '')}')"
                " && duration(self) >= duration('1s') && duration(self) <= duration('168h')",
                _DURATION_SAYS,
            ),
        )
    ),
]
"""A duration, written like `90s`, `15m` or `1h30m`."""

Percentage = Annotated[
    str,
    _text(_PERCENTAGE_SAYS),
    AfterValidator(_checked_share),
    WithJsonSchema(string_schema(9, rule(f"self.matches(r'{_PERCENTAGE.pattern}')", _PERCENTAGE_SAYS))),
]
"""A share, written like `10%`."""

Quantity = Annotated[
    str,
    BeforeValidator(_quantity_text),
    AfterValidator(_checked_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "x-kubernetes-validations": [
                # One rule, without conversions of dyn values: Kubernetes 1.33 counts these as if they were megabytes long.
                rule(
                    f"type(self) == int ? self >= 0 && self < {10**18} : self.matches(r'{_WRITTEN_QUANTITY}')"
                    f" && quantity(self).compareTo(quantity('{_LARGEST_QUANTITY}')) <= 0",
                    _QUANTITY_SAYS,
                )
            ],
        }
    ),
]
"""A Kubernetes quantity, written like `250m`, `2` or `4Gi`."""
