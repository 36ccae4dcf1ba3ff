"""Values that users write as strings and the code reads as numbers: durations, percentages, quantities, names.

Each type states its rule once: the same pattern and the same words stand in the CRD (as a CEL rule, so that `kubectl apply` answers with
words a person understands) and in the models (for the runner's command line).
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
"""Upper bound of every duration."""

_DURATION = re.compile(r"^(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,6})s)?$")
_PERCENTAGE = re.compile(r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$")
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_QUANTITY_UNITS: Final = {"m": Decimal("0.001")} | {
    unit: base**power
    for base, units in ((Decimal(1000), "kMGTPE"), (Decimal(1024), ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
    for power, unit in enumerate(units, 1)
}

_DURATION_SAYS = "write a duration like 90s, 15m or 1h30m, between 1s and 168h"
_PERCENTAGE_SAYS = "write a percentage like 10% or 2.5%, between 0% and 100%"
_QUANTITY_SAYS = "write a quantity like 250m, 2, 512Mi or 4Gi"


def duration(text: str) -> timedelta:
    """Return a duration such as `90s`, `15m` or `1h30m`; ValueError unless it is between a second and LONGEST."""
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(seconds=1) <= length <= LONGEST:
        raise ValueError(_DURATION_SAYS)
    return length


def duration_text(length: timedelta) -> str:
    """Return a duration as a person reads it: `3m20s`, `1h05m`, `0s`; fractions of a second are dropped."""
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
    """Return one CEL rule as the CRD holds it."""
    return {"rule": expression, "message": message}


def string_schema(max_length: int, *rules: dict[str, JsonValue]) -> JsonSchemaValue:
    """Return the schema of a string of at most `max_length` characters that keeps to the rules."""
    return {"type": "string", "minLength": 1, "maxLength": max_length, "x-kubernetes-validations": list(rules)}


@dataclass(frozen=True)
class Text:
    """Metadata of a string that matches `pattern`; anything else is answered with `says`, by the CRD as by the models."""

    pattern: str
    says: str
    max_length: int

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the string after pydantic did."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """State the same rule for the CRD."""
        return string_schema(self.max_length, rule(f"self.matches(r'{self.pattern}')", self.says))

    def _checked(self, value: str) -> str:
        if not 1 <= len(value) <= self.max_length:
            raise ValueError(f"write between 1 and {self.max_length} characters")
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.says)
        return value


def _text(says: str) -> BeforeValidator:
    """A number in a text's place, as YAML reads `10`, is answered in the same words as a text that is none."""

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
    quantity(value)
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
"""A length of time, written like `90s`, `15m` or `1h30m`."""

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
                rule(f"type(self) == int ? self >= 0 : self.matches(r'{_QUANTITY.pattern.replace('?:', '')}')", _QUANTITY_SAYS)
            ],
        }
    ),
]
"""A Kubernetes quantity, written like `250m`, `2` or `4Gi`."""
