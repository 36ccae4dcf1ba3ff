"""A small project on a real PostgreSQL, parsed once, and an API that remembers who called it."""

from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.parse import read_ahead
from refresh_runner.model.plan import DbtSettings
from support.postgres import create_database
from support.runs import Bench, write_project
from support.webserver import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    """An API that answers 200."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="session")
def small_bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One database and one parsed project for all: what dbt knows of it stays valid as long as both are the same."""
    place = tmp_path_factory.mktemp("runs")
    project = write_project(place / "project")
    read_ahead(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return Bench(place, project, create_database(postgres, "petit"), api="")


@pytest.fixture
def bench(small_bench: Bench, web: WebServer) -> Bench:
    """The same, as new."""
    small_bench.reset()
    small_bench.api = web.url
    return small_bench
