"""All projects in all ways: what works with plain dbt works the same with the runner, or is refused before anything is built."""

from __future__ import annotations

import pytest

from support.ways.comparison import Comparison
from support.ways.project import Project, Way
from support.ways.projects import all_projects


@pytest.mark.parametrize("project", all_projects(), ids=lambda project: project.name)
def test_every_way_comes_to_the_same(ways: Comparison, project: Project) -> None:
    """Relations, rows, grants, constraints, results and exit codes are compared after each run; or the project is refused."""
    said = ways.verdict(project, tuple(Way))
    assert not said, "\n".join(said)
