"""The CustomResourceDefinition, generated from the models: a structural schema with defaults, CEL rules, columns and descriptions."""

from typing import Any, Final

from pydantic import BaseModel, JsonValue

from refresh_api import renamed
from refresh_api.names import GROUP, KIND, NAME_MAX_LENGTH, PLURAL, SHORT_NAMES, SINGULAR, VERSION
from refresh_api.spec import RefreshSpec
from refresh_api.status import RefreshStatus
from refresh_api.values import rule

Schema = dict[str, JsonValue]

# name, type, JSONPath, description, priority (0: always shown, 1: with -o wide)
_COLUMNS: Final = (
    ("Result", "string", ".status.lastRun.outcome", "How the last finished run ended.", 0),
    ("Marts", "string", ".status.lastRun.marts", "Valid marts and all marts.", 0),
    ("Last-Run", "date", ".status.lastRun.completionTime", "How long ago the last finished run ended.", 0),
    ("Duration", "string", ".status.lastRun.duration", "Duration of the last finished run.", 0),
    ("Next", "string", ".status.next", "When the next scheduled run starts, in the refresh's time zone.", 0),
    ("Phase", "string", ".status.phase", "Scheduled, Running, Suspended, Stalled or Blocked.", 0),
    ("Fresh", "string", '.status.conditions[?(@.type=="DataFresh")].status', "Whether the data are as new as spec.freshness requires.", 0),
    ("Age", "date", ".metadata.creationTimestamp", "How long ago the refresh was created.", 1),
    ("Step", "string", ".status.run.step", "Step in progress.", 1),
    ("Schedule", "string", ".spec.schedule", "Schedule in cron format.", 1),
    ("Zone", "string", ".spec.timeZone", "Time zone of the schedule.", 1),
    ("Suspended", "boolean", ".spec.suspend", "Whether scheduled runs are suspended.", 1),
    ("Reason", "string", ".status.lastRun.reason", "Reason of the last finished run.", 1),
    ("Message", "string", ".status.message", "Summary of the refresh.", 1),
)

_KEPT: Final[Schema] = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}
"""Annotations that keep Argo CD and Flux from deleting the CRD, which would delete all refreshes. Helm keeps CRDs anyway."""


def custom_resource_definition() -> Schema:
    """Return the CRD as an object that can be written as YAML."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "annotations": _KEPT},
        "spec": {
            "group": GROUP,
            "names": {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": SINGULAR, "shortNames": list(SHORT_NAMES)},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": says, **({"priority": priority} if priority else {})}
                        for name, kind, path, says, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _resource_schema()},
                }
            ],
        },
    }


def _resource_schema() -> Schema:
    return {
        "description": "Keeps dashboards fresh: builds dbt models in PostgreSQL on a schedule, tests and validates them, "
        "and makes the dashboards' API reload.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [
            rule(
                f"self.metadata.name.size() <= {NAME_MAX_LENGTH}",
                f"metadata.name: at most {NAME_MAX_LENGTH} characters, as in a CronJob's name",
            ),
            rule(
                "!has(self.spec.dependsOn) || self.spec.dependsOn.all(each, each.name != self.metadata.name)",
                "spec.dependsOn: a refresh cannot depend on itself",
            ),
        ],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _with_renamed(structural(RefreshSpec)),
            # kstatus considers an object without a status to be current
            "status": {**structural(RefreshStatus), "default": {"observedGeneration": RefreshStatus().observed_generation}},
        },
    }


def _with_renamed(spec: Schema) -> Schema:
    """Declare the old names of renamed fields; their rules reject every value and name the new field."""
    for field in renamed.SPEC_FIELDS:
        *parents, old = field.path.split(".")
        place: Any = spec
        for name in parents:
            place = place["properties"][name.removesuffix("[]")]
            place = place["items"] if name.endswith("[]") else place
        place["properties"][old] = field.schema
    return spec


def structural(model: type[BaseModel]) -> Schema:
    """Return a model's JSON schema in Kubernetes' structural form: no references, no titles, optional instead of null."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    merged: Schema = dict(schema)
    reference = merged.pop("$ref", None)
    if isinstance(reference, str):
        # The field's description and default override those of its model.
        merged = {**_inlined(definitions[reference.rsplit("/", 1)[1]], definitions), **merged}
    if "x-kubernetes-int-or-string" not in merged and isinstance(options := merged.pop("anyOf", None), list):
        (present,) = [option for option in options if isinstance(option, dict) and option.get("type") != "null"]
        merged = {**_inlined(present, definitions), **merged}
    merged.pop("title", None)
    if "default" in merged:
        merged["default"] = _without_nulls(merged["default"])
        if merged["default"] in (None, [], {}):
            del merged["default"]
    _open_object(merged)
    if isinstance(properties := merged.get("properties"), dict):
        merged["properties"] = {name: _inlined(value, definitions) for name, value in properties.items() if isinstance(value, dict)}
    if isinstance(items := merged.get("items"), dict):
        merged["items"] = _inlined(items, definitions)
    return merged


def _without_nulls(value: JsonValue) -> JsonValue:
    """Return a default without its null fields: Kubernetes distinguishes a null from an absent field."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value


def _open_object(schema: Schema) -> None:
    """Rewrite an object with arbitrary fields in Kubernetes' form; unknown fields of other objects are left to strict validation."""
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and "type" in extra:
        return
    schema.pop("additionalProperties", None)
    if schema.get("type") == "object" and "properties" not in schema and extra is not None:
        schema["x-kubernetes-preserve-unknown-fields"] = True
