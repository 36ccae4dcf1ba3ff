"""The generated CRD: it is committed as generated, structural, and describes every field that users write or read."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from refresh_api.crd import structural
from refresh_api.preview import PreviewSpec, PreviewStatus
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, RefreshStatus, RunnerStatus

ROOT = Path(__file__).parents[3]
MODELS = [RefreshSpec, RefreshStatus, PreviewSpec, PreviewStatus]


RESERVED = "as|break|const|continue|else|false|for|function|if|import|in|let|loop|namespace|null|package|return|true|var|void|while"
"""Words of CEL that are no names."""


def rules(schema: object) -> Iterator[str]:
    """Yield all rules of a schema, without the texts in them."""
    if isinstance(schema, list):
        for each in schema:
            yield from rules(each)
    elif isinstance(schema, dict):
        yield from (re.sub(r"'[^']*'", "''", each["rule"]) for each in schema.get("x-kubernetes-validations", []))
        for each in schema.values():
            yield from rules(each)


def fields(schema: dict, path: str = "") -> list[tuple[str, dict]]:
    found = [(path, schema)] if path else []
    for name, value in schema.get("properties", {}).items():
        found += fields(value, f"{path}.{name}")
    return found + (fields(schema["items"], f"{path}[]") if "properties" in schema.get("items", {}) else [])


def test_the_generated_files_are_committed_as_generated():
    """Byte for byte, including the chart's copy."""
    check = subprocess.run([sys.executable, ROOT / "scripts" / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_the_two_writers_share_no_field():
    """Otherwise both field managers would overwrite each other's value."""
    assert not OperatorStatus.model_fields.keys() & RunnerStatus.model_fields.keys()


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_described(model):
    """`kubectl explain` would otherwise show an empty description."""
    assert [path for path, schema in fields(structural(model)) if not schema.get("description")] == []


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_is_structural(model):
    """Kubernetes forbids references, alternatives and additionalProperties beside properties."""
    forbidden = {"$ref", "$defs", "oneOf", "allOf", "const", "title"}
    assert [path for path, schema in fields(structural(model)) if forbidden & schema.keys()] == []
    assert [path for path, schema in fields(structural(model)) if {"additionalProperties", "properties"} <= schema.keys()] == []


def test_no_default_holds_a_null():
    """The API server would refuse every refresh that leaves the field to its default."""

    def nulls(value: object) -> bool:
        return value is None or (isinstance(value, dict) and any(map(nulls, value.values())))

    assert [path for path, schema in fields(structural(RefreshSpec)) if "default" in schema and nulls(schema["default"])] == []


@pytest.mark.parametrize("plural", ["dashboardrefreshes", "refreshpreviews"])
def test_no_rule_names_a_field_by_a_reserved_word_of_cel(plural):
    """Newer versions of Kubernetes take it; 1.29 does not install a CRD with `each.namespace`, only with `each.__namespace__`."""
    found = list(rules(yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text())))
    assert len(found) > 10
    assert [each for each in found if re.search(rf"\.({RESERVED})\b", each)] == []
