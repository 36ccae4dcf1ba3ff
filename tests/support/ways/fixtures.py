"""Fixtures that all projects share: a server and the two warm processes."""

from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.ways.comparison import Comparison
from support.ways.warm import Warm


@pytest.fixture(scope="session")
def ways(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comparison]:
    """The comparison, with the roles that projects use."""
    folder = tmp_path_factory.mktemp("ways")
    with Warm("plain", folder) as plain, Warm("ours", folder) as ours:
        comparison = Comparison(postgres, plain, ours, folder)
        comparison.prepare()
        yield comparison
