"""A new field must also be in the spec with which models and API server are compared, and in the schema of the chart's values."""

import json
from pathlib import Path
from typing import Any

from refresh_api.crd import structural
from refresh_api.spec import RefreshSpec
from support.spec_validation import FULL_SPEC

ROOT = Path(__file__).parents[3]


def schema_paths(schema: dict[str, Any]) -> set[str]:
    found = set()
    for name, child in schema.get("properties", {}).items():
        below = schema_paths(child) | schema_paths(child.get("items", {}))
        found |= {name} | {f"{name}.{each}" for each in below}
    return found


def value_paths(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(value_paths, value))
    found = set()
    for name, child in value.items() if isinstance(value, dict) else ():
        found |= {name} | {f"{name}.{each}" for each in value_paths(child)}
    return found


def test_the_full_spec_has_every_field():
    """Add a new field to support/spec_validation.py, which has only one of fields that exclude each other."""
    assert schema_paths(structural(RefreshSpec)) - value_paths(FULL_SPEC) == {
        "cache.version.field",
        "project.sourceRef",
        "project.sourceRef.kind",
        "project.sourceRef.name",
        "project.sourceRef.path",
        "project.sourceRef.packages",
        "project.sourceRef.timeout",
        "project.git.ref.tag",
        "project.git.ref.semver",
        "project.git.ref.commit",
    }


def test_the_charts_values_know_every_field():
    """Add a new field to refreshes.NAME.spec in values.schema.json, which rejects unknown fields."""
    schema = json.loads((ROOT / "deploy/helm/values.schema.json").read_text())
    known = schema["definitions"]["refresh"]["properties"]["spec"]["properties"]
    assert sorted(known) == sorted(info.alias or name for name, info in RefreshSpec.model_fields.items())
