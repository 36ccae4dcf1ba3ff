"""Fixtures of a refresh whose dbt project is in a Git repository, on a server that asks for a login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.git_server import GitServer, Repository
from support.runner_harness import RunnerHarness, write_project


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    """A server that asks for a login."""
    with GitServer(tmp_path / "served", username="refresh", password="entrez-vite-42") as served:
        yield served


@pytest.fixture
def repository(git_server: GitServer) -> Repository:
    """A repository with the small project in the folder dbt, committed to main."""
    found = Repository.create(git_server.root)
    write_project(found.tree / "dbt")
    found.commit("Add the project")
    return found


def spec_of(runner: RunnerHarness, server: GitServer, **git: object) -> dict[str, Any]:
    """Return the spec of a refresh whose project is in the folder dbt of the repository."""
    runner.secrets["git"] = server.secret()
    source = {"url": server.url(), "path": "dbt", "secretRef": {"name": "git"}, **git}
    return runner.spec(project={"git": source})
