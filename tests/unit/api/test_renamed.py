"""The table of renamed names is complete and in the changelog, and the CRD's schema and errors name the new ones."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from refresh_api import renamed
from refresh_api.crd import custom_resource_definition
from refresh_api.spec import RefreshSpec
from support.snapshots import ROOT
from support.spec_validation import FULL_SPEC, with_value

FIELDS = pytest.mark.parametrize("field", renamed.SPEC_FIELDS, ids=[field.path for field in renamed.SPEC_FIELDS])


def parent_of(field: renamed.RenamedField) -> tuple[str | int, ...]:
    """Return the path of the field's object in FULL_SPEC."""
    parts: list[str | int] = []
    for name in field.path.split(".")[:-1]:
        parts += [name.removesuffix("[]"), 0] if name.endswith("[]") else [name]
    return tuple(parts)


def test_the_changelog_lists_every_renamed_word():
    """Users who upgrade read the changelog, not the code."""
    text = (ROOT / "CHANGELOG.md").read_text().partition("### Renamed")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(.+)` \| `(.+)` \|$", text, re.MULTILINE) == renamed.table()


@FIELDS
def test_the_models_know_the_new_name_only(field: renamed.RenamedField):
    """With both names accepted, the old one would remain in use."""
    old = field.path.rpartition(".")[2]
    RefreshSpec.model_validate(FULL_SPEC)
    with pytest.raises(ValidationError) as error:
        RefreshSpec.model_validate(with_value(FULL_SPEC, (*parent_of(field), old), "x"))
    (only,) = error.value.errors()
    assert only["type"] == "extra_forbidden"
    assert renamed.message_for(only["loc"]) == field.message
    assert renamed.message_for(("spec", *only["loc"])) == field.message


def test_other_unknown_fields_have_no_successor():
    """A misspelt field is reported as unknown, not as renamed."""
    assert renamed.message_for(("spec", "shedule")) is None
    assert renamed.message_for(()) is None


@FIELDS
def test_the_new_name_is_a_field_of_the_same_object(field: renamed.RenamedField):
    """A successor that does not exist would send users into the next error."""
    crd: Any = custom_resource_definition()
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in field.path.split(".")[:-1]:
        schema = schema["properties"][name.removesuffix("[]")]
        schema = schema["items"] if name.endswith("[]") else schema
    assert field.new in schema["properties"]
