"""What the page reads of a refresh is what the contract has: a field of another name would never be there."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from refresh_api.objects import Json
from refresh_api.project import Git, Project, SourceRef
from refresh_api.spec import Freshness, RefreshSpec
from refresh_api.steps import Mart, Validation
from refresh_page.kube.models import FreshnessSpec, GitSpec, MartSpec, ProjectSpec, SourceSpec, SpecView, ValidationSpec, refresh_of
from support.snapshots import sample_spec


@pytest.mark.parametrize(
    ("view", "model"),
    [
        (SpecView, RefreshSpec),
        (FreshnessSpec, Freshness),
        (ValidationSpec, Validation),
        (MartSpec, Mart),
        (ProjectSpec, Project),
        (GitSpec, Git),
        (SourceSpec, SourceRef),
    ],
    ids=lambda model: model.__name__,
)
def test_the_page_reads_only_fields_of_the_contract(view: type[BaseModel], model: type[BaseModel]) -> None:
    """Under the same names, also in JSON."""
    found = {name: field.alias or name for name, field in view.model_fields.items()}
    known = {name: field.alias or name for name, field in model.model_fields.items()}
    assert found.items() <= known.items()


def test_a_refresh_has_the_name_for_people() -> None:
    """Or its own, where it states none."""
    item: Json = {"metadata": {"name": "phase2", "namespace": "default"}, "spec": {**sample_spec(), "displayName": "Phase 2"}}
    assert refresh_of(item).title == "Phase 2"
    assert refresh_of({**item, "spec": {}}).title == "phase2"
