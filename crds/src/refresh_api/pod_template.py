"""Additions to the pods of runs: scheduling, metadata and environment variables. All other parts of the pod are protected."""

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import ObjectName, SecretRef, map_list
from refresh_api.maps import NodeLabels, PodAnnotations, PodLabels
from refresh_api.model import SpecModel
from refresh_api.placement import Affinity, Toleration
from refresh_api.protected import VARIABLE_PATTERN, VARIABLE_SAYS
from refresh_api.values import Text, rule

VariableName = Annotated[str, Text(r"^[A-Za-z_][A-Za-z0-9_]*$", "write a variable's name: letters, digits and underscores", 128)]
VariableValue = Annotated[str, Text(r"^[^\x00-\x08\x0b-\x1f\x7f]*$", "write text without control characters", 4096, min_length=0)]
_SYSTEM_CLASS_SAYS = "the classes system-… are reserved for the cluster's own pods"


class ContainerName(StrEnum):
    """The containers of a run's pod."""

    RUNNER = "runner"


class Variable(SpecModel):
    """An environment variable."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [rule(f"!self.name.matches(r'{VARIABLE_PATTERN}')", VARIABLE_SAYS)]}
    )

    name: VariableName = Field(
        description="Name of the variable, for example HTTPS_PROXY. Variables that could change what runs are rejected."
    )
    value: VariableValue = Field(default="", description="Value of the variable. It must not contain secrets.")

    @model_validator(mode="after")
    def _is_not_protected(self) -> Self:
        if re.match(VARIABLE_PATTERN, self.name):
            raise ValueError(f"{self.name}: {VARIABLE_SAYS}")
        return self


class Container(SpecModel):
    """Additions to one container."""

    name: ContainerName = Field(description="Name of the container. Only runner is allowed.")
    env: list[Variable] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=map_list("name"),
        description="Additional environment variables, such as those of a proxy.",
    )


class PodMetadata(SpecModel):
    """Additions to the pod's metadata."""

    labels: PodLabels = Field(
        default_factory=dict, description="Additional labels. Labels that Services commonly select, or that change the pod, are rejected."
    )
    annotations: PodAnnotations = Field(
        default_factory=dict,
        description="Additional annotations, for example for a service mesh. Annotations that change what runs are rejected.",
    )


class PodSpec(SpecModel):
    """Additions to the pod's spec."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')", _SYSTEM_CLASS_SAYS)
            ]
        }
    )

    node_selector: NodeLabels = Field(default_factory=dict, description="Labels of the nodes on which the pod can run.")
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32, description="Taints that the pod tolerates.")
    affinity: Affinity | None = Field(default=None, description="Affinity to nodes and other pods.")
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pod.")
    image_pull_secrets: list[SecretRef] = Field(
        default_factory=list, max_length=8, description="Secrets for the registry of the image, in addition to those of the chart."
    )
    containers: list[Container] = Field(
        default_factory=list,
        max_length=1,
        json_schema_extra=map_list("name"),
        description="Additions to the container, by its name.",
    )

    @model_validator(mode="after")
    def _is_no_pod_of_the_system(self) -> Self:
        if self.priority_class_name and self.priority_class_name.startswith("system-"):
            raise ValueError(_SYSTEM_CLASS_SAYS)
        return self


class PodTemplate(SpecModel):
    """Additions to the pods of runs. Command, run request, identity and security settings are protected."""

    metadata: PodMetadata = Field(default=PodMetadata(), description="Labels and annotations.")
    spec: PodSpec = Field(default=PodSpec(), description="Scheduling, image pull secrets and containers.")

    @property
    def environment(self) -> list[Variable]:
        """Additional environment variables of the run's container."""
        return [variable for container in self.spec.containers for variable in container.env]
