"""The CustomResourceDefinitions, generated from the models: structural schemas with defaults, CEL rules, columns and descriptions."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, JsonValue

from refresh_api import names, renamed
from refresh_api.names import GROUP, KIND, NAME_MAX_LENGTH, PLURAL, SHORT_NAMES, SINGULAR, VERSION
from refresh_api.preview import PreviewSpec, PreviewStatus
from refresh_api.spec import RefreshSpec
from refresh_api.status import RefreshStatus
from refresh_api.values import rule

Schema = dict[str, JsonValue]

Columns = tuple[tuple[str, str, str, str, int], ...]
"""Name, type, JSONPath, description, priority (0: always shown, 1: with -o wide)."""

_COLUMNS: Final[Columns] = (
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
_PREVIEW_COLUMNS: Final[Columns] = (
    ("Refresh", "string", ".spec.refresh", "The refresh.", 0),
    ("Revision", "string", ".status.shortRevision", "The commit with the change.", 0),
    ("State", "string", ".status.state", "Pending, Running, Same, Differs or Failed.", 0),
    ("Differs", "string", ".status.summary", "The marts that differ.", 0),
    ("Age", "date", ".metadata.creationTimestamp", "How long ago the preview was created.", 0),
    ("Unexpected", "string", ".status.unexpected", "Kinds of differences that spec.allow does not name.", 1),
    ("Base", "string", ".status.baseRevision", "The commit that is live.", 1),
    ("Message", "string", ".status.message", "What it does, what it waits for, what differs, or why it failed.", 1),
)

_KEPT: Final[Schema] = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}
"""Annotations that keep Argo CD and Flux from deleting the CRD, which would delete all refreshes. Helm keeps CRDs anyway."""


@dataclass(frozen=True)
class _Resource:
    """What the definitions of the two kinds differ in."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    columns: Columns
    description: str
    rules: tuple[Schema, ...]
    spec: Schema
    status: Schema


def custom_resource_definition() -> Schema:
    """Return the CRD of a DashboardRefresh as an object that can be written as YAML."""
    return _definition(
        _Resource(
            KIND,
            PLURAL,
            SINGULAR,
            SHORT_NAMES,
            _COLUMNS,
            "Keeps dashboards fresh: builds dbt models in PostgreSQL on a schedule, tests and validates them, "
            "and makes the dashboards' API reload.",
            (
                _name_rule("as in a CronJob's name"),
                rule(
                    "!has(self.spec.dependsOn) || "
                    "self.spec.dependsOn.all(each, has(each.__namespace__) || each.name != self.metadata.name)",
                    "spec.dependsOn: a refresh cannot depend on itself",
                ),
            ),
            _with_renamed(structural(RefreshSpec)),
            # kstatus considers an object without a status to be current
            {**structural(RefreshStatus), "default": {"observedGeneration": RefreshStatus().observed_generation}},
        )
    )


def preview_definition() -> Schema:
    """Return the CRD of a RefreshPreview as an object that can be written as YAML."""
    return _definition(
        _Resource(
            names.PREVIEW_KIND,
            names.PREVIEW_PLURAL,
            names.PREVIEW_SINGULAR,
            names.PREVIEW_SHORT_NAMES,
            _PREVIEW_COLUMNS,
            "Shows what a change of a DashboardRefresh's dbt project would do to its marts, before readers see it: builds what the change "
            "touches in schemas of its own, compares it with the live marts, and drops it.",
            (_name_rule("as in the name of a refresh"),),
            structural(PreviewSpec),
            structural(PreviewStatus),
        )
    )


def _name_rule(why: str) -> Schema:
    return rule(f"self.metadata.name.size() <= {NAME_MAX_LENGTH}", f"metadata.name: at most {NAME_MAX_LENGTH} characters, {why}")


def _definition(resource: _Resource) -> Schema:
    columns: list[JsonValue] = [
        {"name": name, "type": kind, "jsonPath": path, "description": says, **({"priority": priority} if priority else {})}
        for name, kind, path, says, priority in resource.columns
    ]
    schema: Schema = {
        "description": resource.description,
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": list(resource.rules),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": resource.spec,
            "status": resource.status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}", "annotations": _KEPT},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.singular,
                "shortNames": list(resource.short_names),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
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
