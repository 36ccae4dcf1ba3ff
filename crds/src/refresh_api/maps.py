"""Types of maps from strings to strings, such as labels, with the patterns of their keys and values."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from refresh_api import protected
from refresh_api.values import CONTROLS, SUBDOMAIN, Text, rule

_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_KEY: Final = Text(rf"^({SUBDOMAIN}/)?{_QUALIFIED}$", "write the key of a label, like team or example.org/team", 253)
LABEL_VALUE: Final = Text(
    rf"^({_QUALIFIED})?$",
    "write the value of a label: at most 63 letters, digits, dashes, dots and underscores, with a letter or digit at either end",
    63,
    min_length=0,
)
_ANNOTATION_KEY: Final = Text(LABEL_KEY.pattern, "write the key of an annotation, like note or example.org/note", 253)
_ANNOTATION_VALUE: Final = Text(r"^[^\x00-\x08\x0b-\x1f\x7f]*$", "write text without control characters", 4096, min_length=0)


@dataclass(frozen=True)
class Protected:
    """Keys that are rejected: those that match a pattern and are not in the list of allowed ones."""

    pattern: str
    allowed: tuple[str, ...]
    says: str


@dataclass(frozen=True)
class StringMap:
    """Metadata of a map: patterns of keys and values, and the maximum number of entries, both for the CRD and for the models."""

    key: Text
    value: Text
    max_entries: int = 32
    protected: Protected | None = None

    def __get_pydantic_core_schema__(self, source: type[dict[str, str]], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the entries after pydantic. Null values are dropped first, as the API server does."""
        checked = core_schema.no_info_after_validator_function(self._checked, handler(source))
        return core_schema.no_info_before_validator_function(_without_nulls, checked)

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the same rules as a schema for the CRD."""
        rules = [rule(f"self.all(k, size(k) <= {self.key.max_length} && {self.key.cel('k')})", self.key.says)]
        if self.protected:
            refused = f"k.matches(r'{self.protected.pattern}') && !(k in {list(self.protected.allowed)})"
            rules.append(rule(f"!self.exists(k, {refused})", self.protected.says))
        return {
            "type": "object",
            "maxProperties": self.max_entries,
            "additionalProperties": self.value.schema,
            "x-kubernetes-validations": list(rules),
        }

    def _checked(self, entries: dict[str, str]) -> dict[str, str]:
        if len(entries) > self.max_entries:
            raise ValueError(f"write at most {self.max_entries} entries")
        for key, value in entries.items():
            self._check(key, value)
        return entries

    def _check(self, key: str, value: str) -> None:
        try:
            self.key.checked(key)
            self.value.checked(value)
        except ValueError as error:
            raise ValueError(f"{key!r}: {error}") from None
        if self.protected and re.match(self.protected.pattern, key) and key not in self.protected.allowed:
            raise ValueError(f"{key}: {self.protected.says}")


def _without_nulls(entries: object) -> object:
    return {key: value for key, value in entries.items() if value is not None} if isinstance(entries, dict) else entries


NodeLabels = Annotated[dict[str, str], StringMap(LABEL_KEY, LABEL_VALUE)]
"""Labels of nodes, pods or namespaces to select."""
PodLabels = Annotated[
    dict[str, str],
    StringMap(LABEL_KEY, LABEL_VALUE, protected=Protected(protected.LABEL_PATTERN, protected.ALLOWED_KEYS, protected.LABEL_SAYS)),
]
"""Labels of a run's pod."""
PodAnnotations = Annotated[
    dict[str, str],
    StringMap(
        _ANNOTATION_KEY,
        _ANNOTATION_VALUE,
        protected=Protected(protected.ANNOTATION_PATTERN, protected.ALLOWED_KEYS, protected.ANNOTATION_SAYS),
    ),
]
"""Annotations of a run's pod."""

AlertLabels = Annotated[
    dict[str, str],
    StringMap(
        Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write the name of a Prometheus label: letters, digits and underscores", 64),
        Text(rf"^[^{CONTROLS}]*$", "write one line of text", 256, min_length=0),
        max_entries=16,
        protected=Protected(r"^(alertname|namespace|refresh|__.*)$", (), "alertname, namespace, refresh and __… are set, or reserved"),
    ),
]
"""Additional labels of an alert."""
