"""`refresh-runner cleanup`: removes what a deleted refresh left in the warehouse, except its live marts and its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from refresh_api.run_request import ExitCode, RefreshRef
from refresh_runner.cli.environment import Environment, with_warehouse
from refresh_runner.core.errors import RunFailedError
from refresh_runner.postgres import advisory_lock
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.preview.preview import drop_statement, schemas_left, why_kept
from refresh_runner.publish import own_relations
from refresh_runner.publish.versions import TABLE as VERSION
from refresh_runner.runlog.schema import RUN


@dataclass(frozen=True)
class Leftover:
    """An object or rows to remove, with the statement that removes them."""

    what: str
    statement: sql.Composed
    schemas: frozenset[str] = frozenset()
    """Schemas to drop if they are empty afterwards."""


def cleanup_command(ref: RefreshRef, secrets: Path | None, apply: bool, environment: Environment) -> int:
    """Remove what a refresh left in the warehouse, or print what would be removed. Return the exit code."""
    return with_warehouse(secrets, environment, "refresh-cleanup", lambda warehouse, write: cleanup(warehouse, ref, apply, write))


def cleanup(warehouse: WarehouseConnection, ref: RefreshRef, apply: bool, say: Callable[[str], None]) -> ExitCode:
    """Remove what is left of a refresh, or print it. Return FAILED if a run holds the warehouse lock or the warehouse cannot be reached."""
    try:
        with warehouse.session() as connection:
            if not advisory_lock.try_acquire(connection):
                say(f"✗ {advisory_lock.current_holder(connection) or 'another session'} holds the warehouse: try again when it is done")
                return ExitCode.FAILED
            own_relations.prepare(connection)
            left = schemas_left(connection, ref.name)
            previews = [schema.name for schema in left if schema.is_ours]
            if others := [schema.name for schema in left if not schema.is_ours]:
                say(f"the schemas {', '.join(others)} of a preview that was killed belong to another role: the next preview drops them")
            if kept := why_kept(connection, previews):
                say(f"the schemas {', '.join(previews)} of a preview that was killed stay, since {kept}")
            leftovers = list(_leftovers(connection, ref, () if kept else previews))
            for leftover in leftovers:
                if apply:
                    connection.execute(leftover.statement)
                say(f"{'removed' if apply else 'would remove'} {leftover.what}")
            if apply:
                own_relations.drop_empty_schemas(connection, {schema for leftover in leftovers for schema in leftover.schemas})
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
        return ExitCode.FAILED
    if not leftovers and not kept and not others:
        say(f"nothing is left of {ref.name}")
    elif leftovers and not apply:
        say("nothing was removed: add --yes to remove it")
    return ExitCode.OK


def _leftovers(connection: psycopg.Connection, ref: RefreshRef, previews: Sequence[str]) -> Iterator[Leftover]:
    if places := own_relations.of_refresh(connection, ref.name):
        # In one statement, because the tables may depend on each other through views and foreign keys.
        statement = sql.SQL("drop table {}").format(sql.SQL(", ").join(place.sql for place in places))
        yield Leftover(", ".join(f"the table {place}" for place in places), statement, frozenset(place.schema for place in places))
    if previews:
        what = ", ".join(f"the schema {name} of a preview that was killed" for name in previews)
        yield Leftover(what, drop_statement(previews))
    if _table_exists(connection, VERSION.name):
        statement = sql.SQL("delete from {} where refresh = {}").format(sql.Identifier(VERSION.name), ref.name)
        if connection.execute("select from dbt_refresh_version where refresh = %s", [ref.name]).fetchone() is not None:
            yield Leftover(f"its row in {VERSION.name}", statement)
    if _table_exists(connection, RUN.name):
        query = "select count(*) from dbt_refresh_run where refresh = %s and namespace = %s"
        (count,) = connection.execute(query, (ref.name, ref.namespace)).fetchone() or (0,)
        if count:
            statement = sql.SQL("delete from {} where refresh = {} and namespace = {}").format(
                sql.Identifier(RUN.name), ref.name, ref.namespace
            )
            yield Leftover(f"{count} runs in {RUN.name}, with their steps, nodes and marts", statement)


def _table_exists(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
    return bool(row and row[0])
