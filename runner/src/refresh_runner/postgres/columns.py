"""The columns of relations, as the catalog has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import psycopg

from refresh_runner.postgres.catalog import Relation

_COLUMNS: Final = """
    select n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
    from unnest(%s::text[], %s::text[]) as wanted (nspname, relname)
    join pg_namespace n on n.nspname = wanted.nspname
    join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relname
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    order by 1, 2, a.attnum"""


def columns_of(connection: psycopg.Connection, relations: Iterable[Relation]) -> Mapping[Relation, list[tuple[str, str]]]:
    """Return name and type of the columns of each relation that exists, in their order."""
    wanted = list(relations)
    found: dict[Relation, list[tuple[str, str]]] = {}
    names = ([each.schema for each in wanted], [each.table for each in wanted])
    for schema, table, column, kind in connection.execute(_COLUMNS, names):
        found.setdefault(Relation(schema, table), []).append((column, kind))
    return found
