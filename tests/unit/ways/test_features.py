"""Each feature of dbt that the comparison claims to cover is in a project."""

from __future__ import annotations

import pytest

from support.ways.features import FEATURES, Feature
from support.ways.project import Project
from support.ways.projects import all_projects

PROJECTS = {project.name: project for project in all_projects()}
ONE = {"un": Project("un", {"models/mart.sql": "{{ config(materialized='table') }} select 1 as id"})}


def test_no_two_projects_have_the_same_name() -> None:
    """The name is that of the folder and of the databases, and features name projects."""
    names = [project.name for project in all_projects()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_project_uses_each_feature(feature: Feature) -> None:
    """A project that is renamed, or no longer uses the feature, would leave the feature untested."""
    assert list(feature.problems(PROJECTS)) == []


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (Feature("tables", "table", ()), "tables: no project uses it"),
        (Feature("tables", "table", ("deux",)), "tables: there is no project deux"),
        (Feature("views", "='view'", ("un",)), "views: un does not use it: nothing in it matches \"='view'\""),
        (Feature("tables", "='table'", ("un",), is_refused=True), "tables: un is not refused"),
    ],
)
def test_a_feature_without_a_project_is_reported(feature: Feature, problem: str) -> None:
    """The positive control of the test above."""
    assert list(feature.problems(ONE)) == [problem]
