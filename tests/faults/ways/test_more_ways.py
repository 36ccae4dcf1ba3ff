"""The projects of the comparison that are too many for every change, and all of them with the project parsed ahead."""

from __future__ import annotations

import pytest

from support.ways.compared import ReporterConfig
from support.ways.project import Project, Way
from support.ways.projects import all_projects


@pytest.mark.parametrize("project", all_projects(), ids=lambda project: project.name)
def test_every_way_comes_to_the_same(ways: ReporterConfig, project: Project) -> None:
    """Relations, rows, grants, constraints, results and exit codes, after each run; or it is refused."""
    assert ways.verdict(project, tuple(Way)) == []
