"""Registry, by oid, of the tables and schemas that the runner has created besides the live ones. It never drops anything else.

Each is registered in the transaction that creates it, so that leftovers of a killed attempt are known too. The name proves nothing, because
a user's table may have it. An oid may be reused; for a table, the oid of its row type must match as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import ensure_tables, short_transaction
from refresh_runner.postgres.own_tables import Table
from refresh_runner.publish.derived_names import is_derived, previous_relation, staging_relation

TABLE: Final = Table(
    "dbt_refresh_relation",
    {
        "kind": "text not null",
        "oid": "bigint not null",
        "type_oid": "bigint not null",
        "name": "text not null",
        "refresh": "text not null",
        "run_id": "text not null",
        "made_at": "timestamptz not null default now()",
    },
    key=("kind", "oid"),
)


@dataclass(frozen=True)
class RelationOrigin:
    """The run for which a relation was created."""

    refresh: str = ""
    run_id: str = ""


NO_ORIGIN: Final = RelationOrigin()


@dataclass(frozen=True)
class ExistingRelation:
    """A relation that exists."""

    relation: Relation
    is_owned: bool
    run_id: str
    """The run that created it, if the runner owns it."""


# Existing relations with these names, and whether they are the registered ones.
_EXISTING: Final = """
    select s.schema, s.name, own.oid is not null, coalesce(own.run_id, '')
    from unnest(%s::text[], %s::text[]) as s (schema, name)
    join pg_namespace n on n.nspname = s.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = s.name
    left join dbt_refresh_relation own on own.kind = 'table' and own.oid = c.oid::bigint and own.type_oid = c.reltype::bigint"""
_OF_REFRESH: Final = """
    select n.nspname, c.relname
    from dbt_refresh_relation own
    join pg_class c on c.oid::bigint = own.oid and c.reltype::bigint = own.type_oid
    join pg_namespace n on n.oid = c.relnamespace
    where own.kind = 'table' and own.refresh = %s order by 1, 2"""
_REGISTER: Final = """
    insert into {own} (kind, oid, type_oid, name, refresh, run_id)
    select 'table', c.oid::bigint, c.reltype::bigint, format('%I.%I', n.nspname, c.relname), {refresh}, {run_id}
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = {schema} and c.relname = {name} and c.relkind = 'r' and pg_has_role(c.relowner, 'usage')
    on conflict (kind, oid) do update set type_oid = excluded.type_oid, name = excluded.name, refresh = excluded.refresh,
      run_id = excluded.run_id, made_at = now()"""
_REGISTER_SCHEMA: Final = """
    insert into dbt_refresh_relation (kind, oid, type_oid, name, refresh, run_id)
    select 'schema', oid::bigint, 0, nspname, %s, %s from pg_namespace where nspname = %s
    on conflict (kind, oid) do update set name = excluded.name, refresh = excluded.refresh, run_id = excluded.run_id, made_at = now()"""
# Entries whose relation or schema no longer exists.
_UNREGISTER_MISSING: Final = """
    delete from dbt_refresh_relation own
    where own.kind = 'table' and not exists (
        select from pg_class c where c.oid::bigint = own.oid and c.reltype::bigint = own.type_oid)
    or own.kind = 'schema' and not exists (select from pg_namespace n where n.oid::bigint = own.oid)"""


# Marts last published by an earlier version of the runner, which had no registry but kept the previous relation.
_NOT_REGISTERD: Final = """
    select refresh, version, mart from dbt_refresh_version, jsonb_each(marts) as each (mart, how)
    where how->>'way' in ('Rows', 'Move') and not how ? 'noted'"""
_ALL: Final = "select refresh, version, jsonb_object_keys(marts || coalesce(previous_marts, '{}')) from dbt_refresh_version"


def prepare(connection: psycopg.Connection) -> None:
    """Create the registry, and register what earlier versions of the runner, which had no registry, have created."""
    with short_transaction(connection):
        is_new = connection.execute("select to_regclass(%s) is null", [TABLE.name]).fetchone() == (True,)
        ensure_tables(connection, [TABLE])
        if connection.execute("select to_regclass('dbt_refresh_version') is null").fetchone() == (True,):
            return
        # That version dropped everything with these names at each publish, so it created what exists now, even after a downgrade.
        for refresh, version, mart in connection.execute(_ALL if is_new else _NOT_REGISTERD).fetchall():
            live = Relation(*str(mart).split(".", 1))
            _adopt(
                connection,
                (staging_relation(live), previous_relation(live)) if is_new else (previous_relation(live),),
                RelationOrigin(str(refresh), str(version)),
            )


def _adopt(connection: psycopg.Connection, places: Iterable[Relation], origin: RelationOrigin) -> None:
    """Register these relations and their schemas, except schemas that an administrator has created."""
    for place in places:
        if not any(found.is_owned for found in existing(connection, [place])):
            register(connection, place, origin)
        if connection.execute(
            "select from pg_namespace where nspname = %s and pg_has_role(nspowner, 'usage')"
            " and has_database_privilege(current_database(), 'create')",
            [place.schema],
        ).fetchone():
            connection.execute(_REGISTER_SCHEMA, [origin.refresh, origin.run_id, place.schema])


def register(connection: psycopg.Connection, place: Relation, origin: RelationOrigin) -> None:
    """Register this table as owned. Call it in the transaction that creates the table."""
    connection.execute(register_statement(sql.Identifier(TABLE.name), place, origin))


def unregister(connection: psycopg.Connection, place: Relation) -> None:
    """Remove this table from the registry: it is live now, and must not be dropped."""
    connection.execute(
        "delete from dbt_refresh_relation where kind = 'table' and oid = (select c.oid from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s)",
        [place.schema, place.table],
    )


def register_statement(own: sql.Composable, place: Relation, origin: RelationOrigin) -> sql.Composed:
    """Return the statement that registers a table. `own` is the registry."""
    return sql.SQL(_REGISTER).format(own=own, refresh=origin.refresh, run_id=origin.run_id, schema=place.schema, name=place.table)


def register_statement_for_dbt(connection: psycopg.Connection, place: Relation, origin: RelationOrigin) -> str:
    """Return the statement that registers a table, for a session of dbt with any search path."""
    row = connection.execute(
        "select nspname, relname from pg_class c join pg_namespace n on n.oid = relnamespace where c.oid = to_regclass(%s)", [TABLE.name]
    ).fetchone()
    schema, name = row or ("public", TABLE.name)
    return register_statement(sql.Identifier(schema, name), place, origin).as_string(connection)


def existing(connection: psycopg.Connection, places: Iterable[Relation]) -> list[ExistingRelation]:
    """Return which of these relations exist, and whether the runner created them."""
    wanted = sorted(set(places))
    columns = ([each.schema for each in wanted], [each.table for each in wanted])
    return [
        ExistingRelation(Relation(str(schema), str(name)), ours, run) for schema, name, ours, run in connection.execute(_EXISTING, columns)
    ]


def of_refresh(connection: psycopg.Connection, refresh: str) -> list[Relation]:
    """Return the tables that were created for a refresh and still exist.

    Leave out tables outside of staging and previous schemas, even if registered: one could be a live mart.
    """
    if connection.execute("select to_regclass(%s) is null", [TABLE.name]).fetchone() == (True,):
        return []
    found = [Relation(str(schema), str(name)) for schema, name in connection.execute(_OF_REFRESH, [refresh])]
    return [place for place in found if is_derived(place)]


def drop_owned(connection: psycopg.Connection, places: Iterable[Relation]) -> None:
    """Drop those relations that the runner created, in one statement, because one may reference another."""
    if ours := [found.relation for found in existing(connection, places) if found.is_owned]:
        connection.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(place.sql for place in ours)))


def create_schema(connection: psycopg.Connection, name: str, origin: RelationOrigin) -> None:
    """Create the schema and register it, unless it exists."""
    if create_schema_if_missing(connection, name):
        register_schema(connection, name, origin)


def register_schema(connection: psycopg.Connection, name: str, origin: RelationOrigin) -> None:
    """Register a schema as created by the runner. Call it in the transaction that creates the schema."""
    connection.execute(_REGISTER_SCHEMA, [origin.refresh, origin.run_id, name])


def create_schema_if_missing(connection: psycopg.Connection, name: str) -> bool:
    """Create the schema unless it exists, without registering it. Return whether it was created."""
    # Queried first: "if not exists" requires the privilege to create schemas even if the schema exists.
    if connection.execute("select from pg_namespace where nspname = %s", [name]).fetchone() is not None:
        return False
    connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
    return True


def drop_empty_schemas(connection: psycopg.Connection, schemas: Collection[str]) -> None:
    """Drop those schemas that the runner created and that are empty. Remove entries of what no longer exists from the registry."""
    ours = connection.execute(
        "select nspname from pg_namespace n join dbt_refresh_relation own on own.kind = 'schema' and own.oid = n.oid::bigint"
        " where nspname = any(%s) and not exists (select from pg_class where relnamespace = n.oid) order by 1",
        [list(schemas)],
    ).fetchall()
    for (name,) in ours:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("drop schema {}").format(sql.Identifier(str(name))))
        except psycopg.errors.DependentObjectsStillExist:
            # The schema contains a function or type of another user.
            continue
    connection.execute(_UNREGISTER_MISSING)
