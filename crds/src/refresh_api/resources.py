"""Compute resources of the pods of runs and previews."""

from typing import Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from refresh_api.model import SpecModel
from refresh_api.values import Quantity, quantity, rule


class ComputeResources(SpecModel):
    """CPU, memory and ephemeral storage."""

    cpu: Quantity | None = Field(default=None, description="CPU, for example 250m or 2.")
    memory: Quantity | None = Field(default=None, description="Memory, for example 512Mi.")
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage", description="Ephemeral storage, for example 10Gi.")


def _within(field: str) -> dict[str, JsonValue]:
    """Return the CEL rule that a request must not exceed its limit; otherwise the API server would reject each pod of the refresh."""
    request, limit = (f"self.{side}.{field.replace('-', '__dash__')}" for side in ("requests", "limits"))
    return rule(
        f"!has({request}) || !has({limit}) || quantity(string({request})).compareTo(quantity(string({limit}))) <= 0",
        f"requests.{field} must not exceed limits.{field}",
    )


class Resources(SpecModel):
    """Compute resources of a run's pod."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [_within(field) for field in ("cpu", "memory", "ephemeral-storage")]}
    )

    requests: ComputeResources = Field(
        default=ComputeResources(cpu="250m", memory="512Mi"), description="Requested resources. Defaults to 250m CPU and 512Mi memory."
    )
    limits: ComputeResources = Field(
        default=ComputeResources(cpu="2", memory="4Gi", **{"ephemeral-storage": "10Gi"}),
        description="Resource limits. Defaults to 2 CPU, 4Gi memory and 10Gi ephemeral storage.",
    )

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name, field in ComputeResources.model_fields.items():
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if request is not None and limit is not None and quantity(request) > quantity(limit):
                raise ValueError(f"requests.{field.alias or name} must not exceed limits.{field.alias or name}")
        return self
