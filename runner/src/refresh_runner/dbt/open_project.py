"""Parse a dbt project to query it, without building anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import PLACEHOLDER, ConnectionInfo


@contextmanager
def open_project(project: Path, settings: DbtSettings, name: str, access: ConnectionInfo = PLACEHOLDER) -> Iterator[Dbt]:
    """Parse a project, with dbt's files in a temporary folder; RunFailedError if dbt cannot read it."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as workdir:
        dbt = Dbt(project.absolute(), Path(workdir), access, settings, name, lambda _level, _line: None)
        dbt.parse()
        yield dbt
