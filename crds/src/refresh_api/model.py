"""The base of every model of the contract."""

from datetime import UTC, datetime, tzinfo
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A frozen value, camelCase outside; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


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
