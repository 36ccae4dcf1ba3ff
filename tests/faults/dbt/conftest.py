"""The dbt project on a database that is filled again for each case."""

from __future__ import annotations

import pytest

from support.dbt_project import Dbt


@pytest.fixture(scope="session")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """dbt with its profile, writing outside the project."""
    return Dbt(tmp_path_factory.mktemp("dbt"))
