"""A server and the two warm processes that all projects share."""

from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.ways.compared import ReporterConfig
from support.ways.warm import Warm


@pytest.fixture(scope="session")
def ways(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReporterConfig]:
    """With the roles that projects use."""
    folder = tmp_path_factory.mktemp("ways")
    with Warm("plain", folder) as plain, Warm("ours", folder) as ours:
        stage = ReporterConfig(postgres, plain, ours, folder)
        stage.prepare()
        yield stage
