"""One warehouse on a server that tests may stop, and a refresh whose steps take as long as a test wants."""

import itertools
from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.parse import read_ahead
from refresh_runner.model.plan import DbtSettings
from support.postgres import create_database
from support.runner_harness import RunnerHarness
from support.scene import Scene, write_slow_project
from support.webserver import WebServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stage(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The scene of all faults, one after the other: each leaves it in order."""
    place = tmp_path_factory.mktemp("faults")
    write_slow_project(place / "project")
    read_ahead(place / "project", DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    with WebServer() as web:
        scene = Scene(RunnerHarness(place, place / "project", create_database(postgres, "fautes"), api=web.url), web)
        scene.prepare()
        yield scene


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """The same, with the next generation of sources and nothing that holds a step up."""
    stage.runner.database.server.start_again()
    stage.wake()
    stage.next_generation()
    return stage


@pytest.fixture
def run() -> str:
    """A run's name."""
    return f"fault-{next(_numbers)}"
