"""Names of the contract that were renamed before the first release, each with its new name.

The CRD declares each old field of the spec with a rule that always fails, so that `kubectl apply` prints the new name. `lint`, `run FILE`
and the operator report the same. The models know only the new names. The changelog contains this table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from refresh_api.names import GROUP
from refresh_api.values import rule

_TEXT: Final[dict[str, JsonValue]] = {"type": "string"}
_NUMBER: Final[dict[str, JsonValue]] = {"type": "integer"}
_TEXTS: Final[dict[str, JsonValue]] = {"type": "array", "items": {"type": "string"}}
_OBJECT: Final[dict[str, JsonValue]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True)
class RenamedField:
    """A field of the spec with its old and its new name."""

    path: str
    """Path of the field within the spec, with its old name, and `[]` after a list."""
    new: str
    """New name, in the same object."""
    form: dict[str, JsonValue]
    """Schema of the old field's type: CEL rules need one."""

    @property
    def message(self) -> str:
        """The error message with the new name."""
        return f"renamed: write {self.new} instead"

    @property
    def schema(self) -> dict[str, JsonValue]:
        """Schema that rejects every value of the field with the message."""
        return {**self.form, "description": f"Renamed to {self.new}.", "x-kubernetes-validations": [rule("false", self.message)]}


SPEC_FIELDS: Final = (
    RenamedField("title", "displayName", _TEXT),
    RenamedField("after", "dependsOn", _OBJECT),
    RenamedField("lock.onHeld", "policy", _TEXT),
    RenamedField("lock.wait", "waitTimeout", _TEXT),
    RenamedField("onUnchanged", "unchangedPolicy", _TEXT),
    RenamedField("sources.onStale", "stalePolicy", _TEXT),
    RenamedField("tests.onFailure", "failurePolicy", _TEXT),
    RenamedField("tests.sampleRows", "failedRowsLimit", _NUMBER),
    RenamedField("validation.marts[].keys", "keyColumns", _TEXTS),
    RenamedField("validation.marts[].unique", "uniqueKey", _TEXTS),
    RenamedField("validation.marts[].newest", "recency", _OBJECT),
    RenamedField("validation.marts[].maxRowChange", "maxRowCountChange", _TEXT),
    RenamedField("cache.baseUrl", "baseURL", _TEXT),
)

OTHERS: Final = {
    "status.slotsJudgedUntil": "status.missedRunsEvaluatedUntil",
    "status.requestProblem": "status.requestError",
    "status.nextRun": "status.nextScheduleTime",
    "status.nextRuns": "status.nextScheduleTimes",
    "status.run.validation[].newest": "status.run.validation[].newestDate",
    "status.run.validation[].usualRows": "status.run.validation[].medianRows",
    "reason InvalidOrder": "reason InvalidRunRequest",
    "reason SlotRepeated": "reason ClockChange",
    "reason EverythingPaused": "reason GloballyPaused",
    "reason BeingDeleted": "reason CronJobTerminating",
    f"annotation {GROUP}/token on Jobs": f"annotation {GROUP}/request on Jobs",
    "variable REFRESH_ORDER of the pod": "variable REFRESH_RUN_REQUEST of the pod",
}
"""Renamed names that users read but do not write."""

_BY_PATH: Final = {field.path: field for field in SPEC_FIELDS}


def message_for(location: Sequence[int | str]) -> str | None:
    """Return the message for a renamed field of the spec, given its location in a pydantic error; None if it was never renamed."""
    path = ""
    for part in location[1:] if location[:1] == ("spec",) else location:
        path += "[]" if isinstance(part, int) else f".{part}" if path else part
    field = _BY_PATH.get(path)
    return field.message if field else None


def table() -> list[tuple[str, str]]:
    """Return all old names with their new names, as the changelog lists them."""
    fields = [(f"spec.{each.path}", f"spec.{each.path.rpartition('.')[0]}.{each.new}".replace("..", ".")) for each in SPEC_FIELDS]
    return [*fields, *OTHERS.items()]
