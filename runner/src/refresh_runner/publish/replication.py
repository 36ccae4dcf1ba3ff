"""Replica identities of marts that are published to subscribers by logical replication.

Without a replica identity, PostgreSQL refuses to delete from a published table. A primary key is enough, but dbt creates none. A unique
index without NULLs, or else the whole row, replaces it. Both only add to the data that is sent about a deleted row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation

# A publication lists tables, schemas or all tables. The third column is an index that can be the identity, if one exists.
_WITHOUT_IDENTITY: Final[LiteralString] = """
    select n.nspname, c.relname, (
        select x.relname from pg_index i join pg_class x on x.oid = i.indexrelid
        where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null
        and not exists (
            select from unnest(i.indkey::int2[]) as k (number) join pg_attribute on attrelid = c.oid and attnum = k.number
            where not attnotnull)
        order by i.indexrelid limit 1)
    from unnest(%s::text[], %s::text[]) as s (schema, name)
    join pg_namespace n on n.nspname = s.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = s.name and c.relkind = 'r'
    where exists (
        select from pg_publication_tables t join pg_publication p on p.pubname = t.pubname
        where t.schemaname = n.nspname and t.tablename = c.relname and (p.pubdelete or p.pubupdate))
    and not case c.relreplident when 'f' then true
        when 'd' then exists (select from pg_index where indrelid = c.oid and indisprimary and indimmediate)
        when 'i' then exists (select from pg_index where indrelid = c.oid and indisreplident)
        else false end"""


def replica_identity_statements(connection: psycopg.Connection, relations: Iterable[Relation]) -> dict[Relation, sql.Composed]:
    """Return the statements that set a replica identity, by table, for published tables that have none and can have one."""
    tables = sorted(relations)
    if not tables or connection.execute("select from pg_publication limit 1").fetchone() is None:
        return {}
    columns = ([each.schema for each in tables], [each.table for each in tables])
    statements = {}
    for schema, name, index in connection.execute(_WITHOUT_IDENTITY, columns).fetchall():
        relation = Relation(str(schema), str(name))
        if index is not None:
            identity = sql.SQL("using index {}").format(sql.Identifier(str(index)))
        elif _rows_have_equality(connection, relation):
            identity = sql.SQL("full").format()
        else:
            # Subscribers could not find the row. Without an identity, the table is swapped instead of merged.
            continue
        statements[relation] = sql.SQL("alter table {} replica identity {}").format(relation.sql, identity)
    return statements


def _rows_have_equality(connection: psycopg.Connection, relation: Relation) -> bool:
    """Return whether all columns have a type with an equality operator: JSON, XML and points have none."""
    names = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
        [relation.sql.as_string(connection)],
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(str(name)) for (name,) in names)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("select distinct {} from {} limit 0").format(columns, relation.sql))
    except psycopg.errors.UndefinedFunction:
        return False
    return True
