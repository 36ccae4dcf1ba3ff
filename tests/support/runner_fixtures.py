"""The runner on a small project and a real PostgreSQL, and an API that records its requests."""

from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.postgres import create_database
from support.runner_harness import RunnerHarness, write_project
from support.webserver import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    """An API that answers 200."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_runner(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> RunnerHarness:
    """One database and one parsed project for the whole session, so that the project is parsed once."""
    folder = tmp_path_factory.mktemp("runs")
    project = write_project(folder / "project")
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return RunnerHarness(folder, project, create_database(postgres, "petit"), api="")


@pytest.fixture
def runner(shared_runner: RunnerHarness, web: WebServer) -> RunnerHarness:
    """The session's runner, reset, with an API of this test alone."""
    shared_runner.reset()
    shared_runner.api = web.url
    return shared_runner
