"""Which tables and schemas beside the live ones the runner itself has made, by oid: nothing else is ever dropped.

Each is noted in the transaction that makes it, so that what a killed attempt left is known too. A name says nothing: a user's own
table may have it. An oid may be given away again; of a table the oid of its row type must then be the same as well.
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
from refresh_runner.publish.derived_names import before, beside, is_derived

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
class Maker:
    """The run for which something is made."""

    refresh: str = ""
    run_id: str = ""


NOBODY: Final = Maker()


@dataclass(frozen=True)
class Found:
    """A relation that is there."""

    relation: Relation
    is_ours: bool
    run_id: str
    """The run that made it, if it is ours."""


# What is there under these names, and whether it is what was noted.
_THERE: Final = """
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
_NOTE: Final = """
    insert into {own} (kind, oid, type_oid, name, refresh, run_id)
    select 'table', c.oid::bigint, c.reltype::bigint, format('%I.%I', n.nspname, c.relname), {refresh}, {run_id}
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = {schema} and c.relname = {name} and c.relkind = 'r' and pg_has_role(c.relowner, 'usage')
    on conflict (kind, oid) do update set type_oid = excluded.type_oid, name = excluded.name, refresh = excluded.refresh,
      run_id = excluded.run_id, made_at = now()"""
_NOTE_SCHEMA: Final = """
    insert into dbt_refresh_relation (kind, oid, type_oid, name, refresh, run_id)
    select 'schema', oid::bigint, 0, nspname, %s, %s from pg_namespace where nspname = %s
    on conflict (kind, oid) do update set name = excluded.name, refresh = excluded.refresh, run_id = excluded.run_id, made_at = now()"""
# What no longer is what was noted.
_FORGET_GONE: Final = """
    delete from dbt_refresh_relation own
    where own.kind = 'table' and not exists (
        select from pg_class c where c.oid::bigint = own.oid and c.reltype::bigint = own.type_oid)
    or own.kind = 'schema' and not exists (select from pg_namespace n where n.oid::bigint = own.oid)"""


# Marts of which an earlier version of the runner, which kept no notes, has published the last one and kept the one before.
_NOT_NOTED: Final = """
    select refresh, version, mart from dbt_refresh_version, jsonb_each(marts) as each (mart, how)
    where how->>'way' in ('Rows', 'Move') and not how ? 'noted'"""
_ALL: Final = "select refresh, version, jsonb_object_keys(marts || coalesce(previous_marts, '{}')) from dbt_refresh_version"


def prepare(connection: psycopg.Connection) -> None:
    """The table is there afterwards, and knows what an earlier version of the runner has made, which kept no such notes."""
    with short_transaction(connection):
        is_new = connection.execute("select to_regclass(%s) is null", [TABLE.name]).fetchone() == (True,)
        ensure_tables(connection, [TABLE])
        if connection.execute("select to_regclass('dbt_refresh_version') is null").fetchone() == (True,):
            return
        # Where it was the last one to publish, also after a step back: up to then each run dropped whatever was in these places.
        for refresh, version, mart in connection.execute(_ALL if is_new else _NOT_NOTED).fetchall():
            live = Relation(*str(mart).split(".", 1))
            _adopt(connection, (beside(live), before(live)) if is_new else (before(live),), Maker(str(refresh), str(version)))


def _adopt(connection: psycopg.Connection, places: Iterable[Relation], maker: Maker) -> None:
    """Take what is in these places for ours, with its schemas, but for those that an administrator has made."""
    for place in places:
        if not any(found.is_ours for found in there(connection, [place])):
            note(connection, place, maker)
        if connection.execute(
            "select from pg_namespace where nspname = %s and pg_has_role(nspowner, 'usage')"
            " and has_database_privilege(current_database(), 'create')",
            [place.schema],
        ).fetchone():
            connection.execute(_NOTE_SCHEMA, [maker.refresh, maker.run_id, place.schema])


def note(connection: psycopg.Connection, place: Relation, maker: Maker) -> None:
    """The table in this place is known to be ours; to be called in the transaction that puts it there."""
    connection.execute(noting(sql.Identifier(TABLE.name), place, maker))


def forget(connection: psycopg.Connection, place: Relation) -> None:
    """The table in this place is the dashboards' now, and no longer one that we may drop."""
    connection.execute(
        "delete from dbt_refresh_relation where kind = 'table' and oid = (select c.oid from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s)",
        [place.schema, place.table],
    )


def noting(own: sql.Composable, place: Relation, maker: Maker) -> sql.Composed:
    """Return the statement that does the same; `own` is the table of notes."""
    return sql.SQL(_NOTE).format(own=own, refresh=maker.refresh, run_id=maker.run_id, schema=place.schema, name=place.table)


def noted_by_dbt(connection: psycopg.Connection, place: Relation, maker: Maker) -> str:
    """Return the statement that does the same in another session, whatever its search path is."""
    row = connection.execute(
        "select nspname, relname from pg_class c join pg_namespace n on n.oid = relnamespace where c.oid = to_regclass(%s)", [TABLE.name]
    ).fetchone()
    schema, name = row or ("public", TABLE.name)
    return noting(sql.Identifier(schema, name), place, maker).as_string(connection)


def there(connection: psycopg.Connection, places: Iterable[Relation]) -> list[Found]:
    """Return which of these relations are there, and whether they are ours."""
    wanted = sorted(set(places))
    columns = ([each.schema for each in wanted], [each.table for each in wanted])
    return [Found(Relation(str(schema), str(name)), ours, run) for schema, name, ours, run in connection.execute(_THERE, columns)]


def of_refresh(connection: psycopg.Connection, refresh: str) -> list[Relation]:
    """Return the tables beside the live ones that were made for a refresh and are still there.

    Whatever the notes say, a table in a schema of another kind is none: to drop it could be to drop a live mart.
    """
    if connection.execute("select to_regclass(%s) is null", [TABLE.name]).fetchone() == (True,):
        return []
    found = [Relation(str(schema), str(name)) for schema, name in connection.execute(_OF_REFRESH, [refresh])]
    return [place for place in found if is_derived(place)]


def drop(connection: psycopg.Connection, places: Iterable[Relation]) -> None:
    """Those of these relations that are ours are gone afterwards, together, since one may refer to another; the others stay."""
    if ours := [found.relation for found in there(connection, places) if found.is_ours]:
        connection.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(place.sql for place in ours)))


def make_schema(connection: psycopg.Connection, name: str, maker: Maker) -> None:
    """The schema is there afterwards, and known to be ours if it was not there before."""
    # Asked first: "if not exists" wants the right to create schemas even where there is nothing to do.
    if connection.execute("select from pg_namespace where nspname = %s", [name]).fetchone() is None:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
        connection.execute(_NOTE_SCHEMA, [maker.refresh, maker.run_id, name])


def drop_empty(connection: psycopg.Connection, schemas: Collection[str]) -> None:
    """Those of the schemas that we have made and that hold nothing are gone afterwards; what is gone is not noted any more."""
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
            # It holds a function or a type, which somebody else has put there.
            continue
    connection.execute(_FORGET_GONE)
