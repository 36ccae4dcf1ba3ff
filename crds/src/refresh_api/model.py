"""Base classes of all models of the contract, and the form of times."""

from collections.abc import Hashable
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUseDefault


class Model(BaseModel):
    """A frozen model with camelCase names in JSON; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


_WHOLE: Final = (int, int | None)
_SWITCH: Final = (bool, bool | None)


class SpecModel(Model):
    """A part of a manifest. It accepts and rejects the same values as the API server."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:  # noqa: ANN401 - as pydantic has it
        """Return the validated model. Fields are accepted only by their names in the CRD."""
        return super().model_validate(obj, **{"by_alias": True, "by_name": False, **options})

    @field_validator("*", mode="before")
    @classmethod
    def _as_json_has_it(cls, value: object, info: ValidationInfo) -> object:
        """Handle nulls and types as the API server does: a null becomes the default, and a string is neither a number nor a boolean."""
        field = cls.model_fields[info.field_name or ""]
        if value is None and not field.is_required():
            raise PydanticUseDefault
        if field.annotation in _WHOLE and isinstance(value, bool | str | bytes):
            raise ValueError("write a whole number, without quotes")
        if field.annotation in _SWITCH and not isinstance(value, bool):
            raise ValueError("write true or false, without quotes")
        return value

    @field_validator("*")
    @classmethod
    def _entries_once(cls, value: object, info: ValidationInfo) -> object:
        """Reject duplicates in a list that is a set, or whose entries are identified by a key."""
        extra = cls.model_fields[info.field_name].json_schema_extra if info.field_name else None
        if not isinstance(value, list) or not isinstance(extra, dict) or "x-kubernetes-list-type" not in extra:
            return value
        keys = extra.get("x-kubernetes-list-map-keys")
        key = str(keys[0]) if isinstance(keys, list) else ""
        seen: set[Hashable] = set()
        for entry in value:
            told_by = getattr(entry, key) if key else entry
            if told_by in seen:
                raise ValueError(f"the {key} {str(told_by)!r} is used twice" if key else f"{told_by!r} is listed twice")
            seen.add(told_by)
        return value


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; the earliest or latest possible time if it is out of range in UTC."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return (datetime.min if moment.year == 1 else datetime.max).replace(microsecond=0, tzinfo=UTC)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a time in a time zone, or in UTC if it is out of range there: before the year 1, or after 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return in_utc(moment)


def time_text(moment: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, to the second, with a Z."""
    return in_utc(moment).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


Time = Annotated[AwareDatetime, AfterValidator(in_utc), PlainSerializer(time_text, return_type=str, when_used="json")]
"""A time; in JSON as Kubernetes writes it."""
