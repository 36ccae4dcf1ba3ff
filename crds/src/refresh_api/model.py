"""The base of every model of the contract."""

from collections.abc import Hashable
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUseDefault


class Model(BaseModel):
    """A frozen value, camelCase outside; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


_WHOLE: Final = (int, int | None)
_SWITCH: Final = (bool, bool | None)


class SpecModel(Model):
    """A part of what users write, read as the API server reads it: both take and refuse the same."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:  # noqa: ANN401 - as pydantic has it
        """Return what was written, by the names that the CRD knows: a field has no second name."""
        return super().model_validate(obj, **{"by_alias": True, "by_name": False, **options})

    @field_validator("*", mode="before")
    @classmethod
    def _as_json_has_it(cls, value: object, info: ValidationInfo) -> object:
        """The API server drops a null and then fills in the default; it takes no text for a number, and neither for a switch."""
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
        """A list that is a set, or whose entries are told apart by a key, holds each once."""
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
    """Return a moment in UTC; the first or last one that there is where it lies beyond, as its own zone may have it."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return (datetime.min if moment.year == 1 else datetime.max).replace(microsecond=0, tzinfo=UTC)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment in a zone, or in UTC where the zone has no such day: before the year 1, after 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return in_utc(moment)


def time_text(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: UTC, to the second, with a Z."""
    return in_utc(moment).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


Time = Annotated[AwareDatetime, AfterValidator(in_utc), PlainSerializer(time_text, return_type=str, when_used="json")]
"""A moment; in JSON as Kubernetes writes it."""
