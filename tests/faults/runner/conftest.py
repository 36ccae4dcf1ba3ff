"""A warehouse on a server that tests may stop, and a refresh whose steps tests slow down."""

import itertools
from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.postgres import create_database
from support.runner_harness import RunnerHarness
from support.slow_refresh import SlowRefresh, write_slow_project
from support.webserver import WebServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_slow_refresh(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowRefresh]:
    """The refresh of the whole session. Every test must leave it intact."""
    folder = tmp_path_factory.mktemp("faults")
    write_slow_project(folder / "project")
    cache_project(folder / "project", DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    with WebServer() as web:
        slow_refresh = SlowRefresh(RunnerHarness(folder, folder / "project", create_database(postgres, "fautes"), api=web.url), web)
        slow_refresh.prepare()
        yield slow_refresh


@pytest.fixture
def slow_refresh(shared_slow_refresh: SlowRefresh) -> SlowRefresh:
    """The session's refresh with a running server, the next version of the sources and no slow step."""
    shared_slow_refresh.runner.database.server.start_again()
    shared_slow_refresh.speed_up()
    shared_slow_refresh.next_generation()
    return shared_slow_refresh


@pytest.fixture
def run() -> str:
    """The ID of a new run."""
    return f"fault-{next(_numbers)}"
