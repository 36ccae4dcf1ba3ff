"""What PostgreSQL's catalog says of a table: its shape, who may use it, and what hangs on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql


@dataclass(frozen=True, order=True)
class Relation:
    """A table by schema and name."""

    schema: str
    table: str

    def __str__(self) -> str:
        """As schema.name."""
        return f"{self.schema}.{self.table}"

    @property
    def sql(self) -> sql.Identifier:
        """As it stands in a query."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class Shape:
    """What two tables must share for the rows of one to fit into the other, and to be found and checked there in the same way."""

    columns: tuple[tuple[str, str, bool], ...]
    """Name, type and whether it takes no NULL, in order."""
    constraints: frozenset[str]
    indexes: frozenset[str]


@dataclass(frozen=True)
class Seen:
    """One relation as it is there now."""

    oid: int
    kind: str
    """pg_class.relkind: r is a table, v a view."""
    shape: Shape


@dataclass(frozen=True)
class View:
    """A view that reads a table, and the statement that makes it anew."""

    name: str
    statement: str


TABLE: Final = "r"
VIEW: Final = "v"

_COLUMNS: Final[LiteralString] = """
    select attname, format_type(atttypid, atttypmod), attnotnull
    from pg_attribute where attrelid = %s and attnum > 0 and not attisdropped order by attnum"""
_CONSTRAINTS: Final = "select pg_get_constraintdef(oid) from pg_constraint where conrelid = %s and contype <> 'n'"
# An index's definition without its name and its table's.
_INDEXES: Final = r"""
    select regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX .+? ON .+? USING', '\1USING')
    from pg_index where indrelid = %s"""
_VIEWS: Final = """
    select distinct format('%%I.%%I', n.nspname, v.relname), v.relkind::text, v.reloptions, pg_get_viewdef(v.oid)
    from pg_depend d
    join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    join pg_class v on v.oid = r.ev_class
    join pg_namespace n on n.oid = v.relnamespace
    where d.refclassid = 'pg_class'::regclass and d.refobjid = %(oid)s and v.oid <> %(oid)s"""
# Whatever else would stay with the old table, were another one put in its place.
_ATTACHED: Final = """
    select pg_describe_object(classid, objid, 0) from pg_depend
    where refclassid = 'pg_class'::regclass and refobjid = %(oid)s and deptype = 'n' and classid <> 'pg_rewrite'::regclass
    union select format('policy %%s', polname) from pg_policy where polrelid = %(oid)s
    union select 'row-level security' from pg_class where oid = %(oid)s and relrowsecurity
    union select format('trigger %%s', tgname) from pg_trigger where tgrelid = %(oid)s and not tgisinternal
    union select format('publication %%s', p.pubname)
          from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where r.prrelid = %(oid)s"""
# The privileges of one table that another lacks, as statements on that other one; the owner's own are left alone.
_GRANTS: Final = """
    with given as (
        select c.oid, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee, a.privilege_type, a.is_grantable
        from pg_class c, aclexplode(c.relacl) a where c.oid in (%(source)s, %(target)s) and a.grantee <> c.relowner
    )
    select format('grant %%s on %%s to %%s%%s', w.privilege_type, %(target)s::oid::regclass, w.grantee,
                  case when w.is_grantable then ' with grant option' end)
    from given w
    where w.oid = %(source)s and not exists (
        select from given g where g.oid = %(target)s
        and (g.grantee, g.privilege_type, g.is_grantable) = (w.grantee, w.privilege_type, w.is_grantable))"""
_REVOKES: Final = """
    with given as (
        select c.oid, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as grantee, a.privilege_type
        from pg_class c, aclexplode(c.relacl) a where c.oid in (%(source)s, %(target)s) and a.grantee <> c.relowner
    )
    select format('revoke %%s on %%s from %%s', g.privilege_type, %(target)s::oid::regclass, g.grantee)
    from given g
    where g.oid = %(target)s and not exists (
        select from given w where w.oid = %(source)s and (w.grantee, w.privilege_type) = (g.grantee, g.privilege_type))"""
_COMMENTS: Final = """
    select case d.objsubid
        when 0 then format('comment on table %%s is %%L', %(target)s::oid::regclass, d.description)
        else format('comment on column %%s.%%I is %%L', %(target)s::oid::regclass, s.attname, d.description) end
    from pg_description d
    left join pg_attribute s on s.attrelid = d.objoid and s.attnum = d.objsubid and d.objsubid > 0
    left join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname
    where d.classoid = 'pg_class'::regclass and d.objoid = %(source)s
    and (d.objsubid = 0 or t.attnum is not null)
    and d.description is distinct from
        case d.objsubid when 0 then obj_description(%(target)s, 'pg_class') else col_description(%(target)s, t.attnum) end"""


def seen(connection: psycopg.Connection, relation: Relation) -> Seen | None:
    """Return what is there under a name; None if nothing is."""
    row = connection.execute(
        "select c.oid, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s",
        (relation.schema, relation.table),
    ).fetchone()
    if row is None:
        return None
    oid, kind = int(row[0]), str(row[1])
    shape = Shape(
        tuple((str(name), str(type_), bool(not_null)) for name, type_, not_null in connection.execute(_COLUMNS, [oid])),
        frozenset(str(line[0]) for line in connection.execute(_CONSTRAINTS, [oid])),
        frozenset(str(line[0]) for line in connection.execute(_INDEXES, [oid])),
    )
    return Seen(oid, kind, shape)


def views_on(connection: psycopg.Connection, oid: int) -> tuple[list[View], list[str]]:
    """Return the views that read a table and can be made anew, and whatever else is attached to it and can't, in words."""
    views, attached = [], [str(row[0]) for row in connection.execute(_ATTACHED, {"oid": oid})]
    for name, kind, options, query in connection.execute(_VIEWS, {"oid": oid}):
        if kind == VIEW:
            settings = f" with ({', '.join(options)})" if options else ""
            views.append(View(str(name), f"create or replace view {name}{settings} as {query}"))
        else:
            attached.append(f"materialized view {name}")
    return views, sorted(attached)


def match_grants(connection: psycopg.Connection, source: int, target: int, *, exactly: bool) -> None:
    """Whoever may use the source may use the target in the same way afterwards, and nobody else where `exactly` is asked for.

    Both are oids of pg_class. The owner's own rights are left alone.
    """
    _execute_all(connection, _GRANTS, source, target)
    if exactly:
        _execute_all(connection, _REVOKES, source, target)


def match_comments(connection: psycopg.Connection, source: int, target: int) -> None:
    """Every comment of the source, on the table and on its columns, is the target's afterwards; what has none keeps its own."""
    _execute_all(connection, _COMMENTS, source, target)


def _execute_all(connection: psycopg.Connection, query: LiteralString, source: int, target: int) -> None:
    """Execute the statements that a query returns."""
    for (statement,) in connection.execute(query, {"source": source, "target": target}).fetchall():
        connection.execute(str(statement).encode())
