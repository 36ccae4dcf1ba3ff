"""What users may change in the pods of their runs: where they go, what surrounds them. What makes a run a run is protected."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from refresh_api import names
from refresh_api.fields import ObjectName, SecretRef, map_list
from refresh_api.model import Model
from refresh_api.values import Text, rule

PROTECTED_ENV: Final = (
    names.ORDER_ENV,
    names.RUN_ID_ENV,
    names.RUN_FAILURES_ENV,
    names.POD_NAME_ENV,
    names.API_BASE_URL_ENV,
    names.RUN_URL_TEMPLATE_ENV,
)
"""Variables that are the run's own."""
_PROTECTED_SAYS: Final = f"{', '.join(PROTECTED_ENV)} are the run's own: choose another name"

VariableName = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write a variable's name: letters, digits and underscores", 128)]
_OWN_LABELS: Final = (names.REFRESH_LABEL, "app.kubernetes.io/managed-by")


class ContainerName(StrEnum):
    """The containers of a run's pod."""

    RUNNER = "runner"


class Variable(Model):
    """An environment variable."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [rule(f"!(self.name in {list(PROTECTED_ENV)})", _PROTECTED_SAYS)]}
    )

    name: VariableName = Field(description="Name of the variable, for example HTTPS_PROXY.")
    value: str = Field(default="", max_length=4096, description="Its value; no secret belongs here.")

    @model_validator(mode="after")
    def _is_not_ours(self) -> Self:
        if self.name in PROTECTED_ENV:
            raise ValueError(_PROTECTED_SAYS)
        return self


class Container(Model):
    """Additions to one container, by its name."""

    name: ContainerName = Field(description="runner: the container of the run.")
    env: list[Variable] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=map_list("name"),
        description="Further variables, such as a proxy's.",
    )


class PodMetadata(Model):
    """Additions to the pod's metadata."""

    labels: dict[str, str] = Field(default_factory=dict, max_length=32, description="Further labels; the run's own stay as they are.")
    annotations: dict[str, str] = Field(
        default_factory=dict, max_length=32, description="Further annotations, for example for a service mesh."
    )


class PodSpec(Model):
    """Additions to the pod's spec."""

    node_selector: dict[str, str] = Field(default_factory=dict, max_length=32, description="Labels of the nodes that may run it.")
    tolerations: list[dict[str, JsonValue]] = Field(default_factory=list, max_length=32, description="Taints that it tolerates.")
    affinity: dict[str, JsonValue] = Field(default_factory=dict, max_length=8, description="Which nodes and neighbours it likes.")
    priority_class_name: ObjectName | None = Field(default=None, description="Its PriorityClass.")
    image_pull_secrets: list[SecretRef] = Field(
        default_factory=list, max_length=8, description="Secrets for the registry of the image, beside those of the chart."
    )
    containers: list[Container] = Field(
        default_factory=list,
        max_length=1,
        json_schema_extra=map_list("name"),
        description="Additions to the container, by its name.",
    )


class PodTemplate(Model):
    """Additions to the pods of the runs; command, order, identity and security are protected."""

    metadata: PodMetadata = Field(default=PodMetadata(), description="Labels and annotations.")
    spec: PodSpec = Field(default=PodSpec(), description="Where the pod goes, and what surrounds it.")

    @property
    def environment(self) -> list[Variable]:
        """The further variables of the run's container."""
        return [variable for container in self.spec.containers for variable in container.env]

    @property
    def labels(self) -> dict[str, str]:
        """The further labels, without any that is the run's own."""
        return {name: value for name, value in self.metadata.labels.items() if name not in _OWN_LABELS}
