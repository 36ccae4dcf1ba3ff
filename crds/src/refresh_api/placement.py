"""Scheduling of a run's pod: tolerations and affinity, as in a pod's spec, with the validation of Kubernetes."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from refresh_api.fields import NamespaceName
from refresh_api.maps import LABEL_KEY, LABEL_VALUE, NodeLabels
from refresh_api.model import SpecModel
from refresh_api.values import SUBDOMAIN, Text, rule

LabelKey = Annotated[str, LABEL_KEY]
LabelValue = Annotated[str, LABEL_VALUE]
_NodeName = Annotated[str, Text(f"^{SUBDOMAIN}$", "write the name of a node", 253)]
_MOST: Final = 8
"""Maximum number of entries in each list of an affinity."""


def _rules(*rules: tuple[str, str]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [rule(holds, says) for holds, says in rules]})


class TolerationOperator(StrEnum):
    """How a toleration matches taints."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """The effect of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


_KEYLESS_SAYS: Final = "a toleration without a key requires operator: Exists"
_EXISTS_SAYS: Final = "a toleration with operator: Exists must not have a value"
_SECONDS_SAYS: Final = "tolerationSeconds requires effect: NoExecute"


class Toleration(SpecModel):
    """A taint that a pod tolerates."""

    model_config = _rules(
        ("has(self.key) || (has(self.operator) && self.operator == 'Exists')", _KEYLESS_SAYS),
        ("!has(self.value) || !has(self.operator) || self.operator != 'Exists'", _EXISTS_SAYS),
        ("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')", _SECONDS_SAYS),
    )

    key: LabelKey | None = Field(default=None, description="Key of the taint. With operator: Exists it defaults to any key.")
    operator: TolerationOperator | None = Field(default=None, description="Exists, or Equal. Defaults to Equal.")
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: TaintEffect | None = Field(default=None, description="NoSchedule, PreferNoSchedule or NoExecute. Defaults to any effect.")
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=604_800, description="Seconds for which a taint with effect NoExecute is tolerated. Defaults to no limit."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.key is None and self.operator != TolerationOperator.EXISTS:
            raise ValueError(_KEYLESS_SAYS)
        if self.value is not None and self.operator == TolerationOperator.EXISTS:
            raise ValueError(_EXISTS_SAYS)
        if self.toleration_seconds is not None and self.effect != TaintEffect.NO_EXECUTE:
            raise ValueError(_SECONDS_SAYS)
        return self


class LabelOperator(StrEnum):
    """How labels are compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class NodeOperator(StrEnum):
    """How a node's labels are compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class FieldOperator(StrEnum):
    """How a node's fields are compared."""

    IN = "In"
    NOT_IN = "NotIn"


_VALUES_SAYS: Final = "In and NotIn require values; Exists and DoesNotExist must not have values"
_NUMBER_SAYS: Final = "Gt and Lt require exactly one value, a whole number"
_VALUES_RULE: Final = "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)"


def _values_fit(operator: str, values: list[str]) -> bool:
    return (operator in ("In", "NotIn")) == bool(values)


class LabelExpression(SpecModel):
    """A condition on a label of pods or namespaces."""

    model_config = _rules((_VALUES_RULE, _VALUES_SAYS))

    key: LabelKey = Field(description="Key of the label.")
    operator: LabelOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: list[LabelValue] = Field(default_factory=list, max_length=_MOST * 4, description="Values to compare the label with.")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if not _values_fit(self.operator, self.values):
            raise ValueError(_VALUES_SAYS)
        return self


class LabelSelector(SpecModel):
    """Pods or namespaces whose labels meet all conditions."""

    match_labels: NodeLabels = Field(default_factory=dict, description="Required labels, with their values.")
    match_expressions: list[LabelExpression] = Field(default_factory=list, max_length=_MOST, description="Conditions on the labels.")


class NodeExpression(SpecModel):
    """A condition on a label of nodes."""

    model_config = _rules(
        (f"self.operator in ['Gt', 'Lt'] || {_VALUES_RULE}", _VALUES_SAYS),
        (
            "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]{1,15}$'))",
            _NUMBER_SAYS,
        ),
    )

    key: LabelKey = Field(description="Key of the label.")
    operator: NodeOperator = Field(description="In, NotIn, Exists, DoesNotExist, Gt or Lt.")
    values: list[LabelValue] = Field(default_factory=list, max_length=_MOST * 4, description="Values to compare the label with.")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.operator in (NodeOperator.GT, NodeOperator.LT):
            (number,) = self.values if len(self.values) == 1 else ("",)
            if not (number.isascii() and number.isdigit() and len(number) <= 15):
                raise ValueError(_NUMBER_SAYS)
        elif not _values_fit(self.operator, self.values):
            raise ValueError(_VALUES_SAYS)
        return self


class NodeField(SpecModel):
    """A condition on the name of a node."""

    key: Annotated[str, Text(r"^metadata\.name$", "write metadata.name: no other field is supported", 32)] = Field(
        description="metadata.name."
    )
    operator: FieldOperator = Field(description="In or NotIn.")
    values: list[_NodeName] = Field(min_length=1, max_length=1, description="Name of the node.")


class NodeTerm(SpecModel):
    """Nodes that meet all conditions."""

    match_expressions: list[NodeExpression] = Field(default_factory=list, max_length=_MOST, description="Conditions on the labels.")
    match_fields: list[NodeField] = Field(default_factory=list, max_length=_MOST, description="Conditions on the name.")


class NodeTerms(SpecModel):
    """Nodes that meet at least one of the terms."""

    node_selector_terms: list[NodeTerm] = Field(
        min_length=1, max_length=_MOST, description="Terms, of which a node must meet at least one."
    )


class PreferredNodes(SpecModel):
    """Preferred nodes, with their weight."""

    weight: int = Field(ge=1, le=100, description="Weight of the preference, from 1 to 100.")
    preference: NodeTerm = Field(description="Preferred nodes.")


class PodTerm(SpecModel):
    """Pods near which a pod must run, or must not run."""

    label_selector: LabelSelector | None = Field(default=None, description="Labels of these pods. Defaults to no pods.")
    topology_key: LabelKey = Field(description="Node label that defines a topology domain, for example kubernetes.io/hostname.")
    namespaces: list[NamespaceName] = Field(
        default_factory=list, max_length=_MOST, description="Namespaces of these pods. Defaults to the refresh's namespace."
    )
    namespace_selector: LabelSelector | None = Field(default=None, description="Labels of the namespaces of these pods.")


class PreferredPods(SpecModel):
    """Pods near which a pod preferably runs, or preferably does not run, with their weight."""

    weight: int = Field(ge=1, le=100, description="Weight of the preference, from 1 to 100.")
    pod_affinity_term: PodTerm = Field(description="Preferred or avoided pods.")


class NodeAffinity(SpecModel):
    """Node affinity of a pod."""

    required: NodeTerms | None = Field(
        default=None, alias="requiredDuringSchedulingIgnoredDuringExecution", description="Nodes on which the pod can run."
    )
    preferred: list[PreferredNodes] = Field(
        default_factory=list,
        max_length=_MOST,
        alias="preferredDuringSchedulingIgnoredDuringExecution",
        description="Nodes on which the pod preferably runs.",
    )


class PodAffinity(SpecModel):
    """Affinity or anti-affinity of a pod to other pods."""

    required: list[PodTerm] = Field(
        default_factory=list,
        max_length=_MOST,
        alias="requiredDuringSchedulingIgnoredDuringExecution",
        description="Terms that must be met for the pod to be scheduled.",
    )
    preferred: list[PreferredPods] = Field(
        default_factory=list,
        max_length=_MOST,
        alias="preferredDuringSchedulingIgnoredDuringExecution",
        description="Terms that are preferably met.",
    )


class Affinity(SpecModel):
    """Affinity of a pod to nodes and other pods."""

    node_affinity: NodeAffinity | None = Field(default=None, description="Affinity to nodes.")
    pod_affinity: PodAffinity | None = Field(default=None, description="Affinity to other pods.")
    pod_anti_affinity: PodAffinity | None = Field(default=None, description="Anti-affinity to other pods.")
