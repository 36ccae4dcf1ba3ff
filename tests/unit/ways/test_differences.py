"""The guide tells each difference from plain dbt that a project shows, and no other."""

from __future__ import annotations

import pytest

from differences import PAGE, with_table
from support.ways.differences import DIFFERENCES, Publish
from support.ways.project import Project, Way
from support.ways.projects import all_projects


def test_the_table_of_the_guide_is_current() -> None:
    """`make generate` writes it."""
    text = PAGE.read_text()
    assert text == with_table(text)


@pytest.mark.parametrize("project", all_projects(), ids=lambda project: project.name)
def test_a_project_names_its_difference(project: Project) -> None:
    """A project that is refused or differs without a row of the table would be a difference that nobody has decided."""
    assert project.is_different == (project.difference is not None)
    if project.difference and project.refused:
        assert (project.difference.publish is Publish.BOTH) == (Way.DIRECT in project.refused_by)


def test_a_project_shows_each_difference() -> None:
    """A row without a project would be a claim that no test checks."""
    shown = [project.difference for project in all_projects()]
    assert [each.project for each in DIFFERENCES if each not in shown] == []
