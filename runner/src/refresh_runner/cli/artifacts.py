"""`refresh-runner artifacts`: lists and fetches the files that runs stored in the warehouse."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from refresh_api.model import time_text
from refresh_api.run_request import ExitCode
from refresh_runner.cli.environment import Environment, with_warehouse
from refresh_runner.core.errors import RunFailedError
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection

_OF_RUNS: Final = """
    select run.run_id, file.name, octet_length(file.content), file.stored_at
    from dbt_refresh_run run join (
        select run_id, name, content, stored_at from dbt_refresh_artifact
        union all select run_id, 'docs.html', content, stored_at from dbt_refresh_docs join dbt_refresh_run using (project)
    ) file using (run_id)
    where run.run_id = any(array(select run_id from dbt_refresh_run where %(run)s::text is null order by started_at desc limit 20))
    or run.run_id = %(run)s
    order by run.started_at desc, file.name"""
_CONTENT: Final = """
    select content from dbt_refresh_artifact where run_id = %(run)s and name = %(name)s
    union all select content from dbt_refresh_docs join dbt_refresh_run using (project) where run_id = %(run)s and %(name)s = 'docs.html'"""


@dataclass(frozen=True)
class ArtifactQuery:
    """What to list or fetch."""

    run: str | None = None
    """ID of a run; None for the last twenty runs."""
    name: str | None = None
    """Name of the file to fetch; None for a list."""
    output: Path | None = None
    """Path of the file to write; None for its own name in the current folder."""


def artifacts_command(query: ArtifactQuery, secrets: Path | None, environment: Environment) -> int:
    """List the files that runs have stored in the warehouse, or fetch one. Return the exit code."""
    return with_warehouse(secrets, environment, "refresh-artifacts", lambda warehouse, write: serve(warehouse, query, write))


def serve(warehouse: WarehouseConnection, query: ArtifactQuery, say: Callable[[str], None]) -> ExitCode:
    """List the files, or write one. Return FAILED if there is none or the warehouse cannot be queried."""
    try:
        with warehouse.session(), warehouse.short_transaction() as connection:
            return _fetch(connection, query, say) if query.run and query.name else _list(connection, query, say)
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
    except RefusedError as error:
        say(f"✗ {error}")
    return ExitCode.FAILED


def _list(connection: psycopg.Connection, query: ArtifactQuery, say: Callable[[str], None]) -> ExitCode:
    found = connection.execute(_OF_RUNS, {"run": query.run}).fetchall()
    for run, name, length, stored_at in found:
        say(f"{run}  {name:<16} {length:>9} bytes compressed, {time_text(stored_at)}")
    if not found:
        say(f"✗ no files are stored for {query.run}" if query.run else "✗ no files are stored")
    return ExitCode.OK if found else ExitCode.FAILED


def _fetch(connection: psycopg.Connection, query: ArtifactQuery, say: Callable[[str], None]) -> ExitCode:
    row = connection.execute(_CONTENT, {"run": query.run, "name": query.name}).fetchone()
    if row is None or query.name is None:
        say(f"✗ {query.run} has no file {query.name}")
        return ExitCode.FAILED
    content = gzip.decompress(row[0])
    path = query.output or Path(Path(query.name).name)
    try:
        path.write_bytes(content)
    except OSError as error:
        say(f"✗ cannot write {path}: {error.strerror}")
        return ExitCode.FAILED
    say(f"{path}: {len(content)} bytes")
    return ExitCode.OK
