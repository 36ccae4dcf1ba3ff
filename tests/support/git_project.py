"""Fixtures of a refresh whose dbt project is in a Git repository, on a server that asks for a login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh_api.status import ProjectSeen
from refresh_runner.repository import handover
from refresh_runner.repository.handover import Fetched
from support.git_server import GitServer, Repository
from support.runner_harness import RunnerHarness, write_project

PASSWORD = "entrez-vite-42"
"""Password of the server; no log may contain it."""


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    """A server that asks for a login."""
    with GitServer(tmp_path / "served", username="refresh", password=PASSWORD) as served:
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


class Case:
    """A repository with the small project in the folder dbt, a server of it, and the init container of a refresh."""

    def __init__(self, runner: RunnerHarness, server: GitServer) -> None:
        self.runner, self.server = runner, server
        self.repository = Repository.create(server.root)
        write_project(self.repository.tree / "dbt")
        self.commit = self.repository.commit("Add the project")
        self.secret = server.secret()
        self.log = ""

    def fetch(self, run: str = "", **fields: Any) -> Fetched:
        """Fetch the project of a refresh with these fields of `project.git`; the default is `main` with the right Secret."""
        self.runner.secrets["git"] = self.secret
        source = {"url": self.server.url(), "path": "dbt", "ref": {"branch": "main"}, "secretRef": {"name": "git"}, **fields}
        self.log = self.runner.fetch(self.runner.spec(project={"git": source}), run)
        fetched = handover.read(self.runner.fetched)
        for text in (self.log, fetched.model_dump_json()):
            assert PASSWORD not in text
        return fetched

    def newest(self, **fields: Any) -> ProjectSeen:
        """Return what a check for new commits reports, with changes of `project.git`."""
        self.runner.secrets["git"] = self.secret
        source = {"url": self.server.url(), "path": "dbt", "ref": {"branch": "main"}, "secretRef": {"name": "git"}, **fields}
        seen, self.log = self.runner.poll(self.runner.spec(project={"git": source}))
        for text in (self.log, seen.model_dump_json()):
            assert PASSWORD not in text
        return seen

    def fails(self, *words: str, reason: str = "ProjectUnavailable", retryable: bool = False, **fields: Any) -> None:
        """Fetch, and check that it fails with this message."""
        fetched = self.fetch(**fields)
        assert fetched.reason == reason, fetched
        for word in words:
            assert word in f"{fetched.message} ({fetched.hint})"
        assert fetched.retryable == retryable, fetched.message


@pytest.fixture
def case(runner: RunnerHarness, tmp_path: Path) -> Iterator[Case]:
    """A repository that can be fetched, on a server with a login."""
    with GitServer(tmp_path / "served", username="refresh", password=PASSWORD) as server:
        yield Case(runner, server)
