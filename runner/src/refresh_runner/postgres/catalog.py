"""Reads PostgreSQL's catalog: a table's schema, the objects that belong to it, and those that depend on it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql


@dataclass(frozen=True, order=True)
class Relation:
    """The name of a table, view or function, with its schema."""

    schema: str
    table: str

    def __str__(self) -> str:
        """Return schema.name, unquoted."""
        return f"{self.schema}.{self.table}"

    @property
    def sql(self) -> sql.Identifier:
        """The name as an SQL identifier."""
        return sql.Identifier(self.schema, self.table)


@dataclass(frozen=True)
class Column:
    """The properties of a column that determine which values it accepts."""

    name: str
    type: str
    collation: str
    """Empty if it is the type's default."""
    not_null: bool
    identity: str
    """a: always, d: by default; empty if it is not an identity column."""
    generated: str
    """s: stored, v: virtual; empty if it is not a generated column."""
    default: str
    """The expression of a default or of a generated column."""
    storage: str
    """Storage and compression, if not the type's default."""

    @property
    def identity_key(self) -> tuple[str, str, str]:
        """Name, type and collation: equal for two columns that can hold the same values."""
        return self.name, self.type, self.collation

    @property
    def has_generated_values(self) -> bool:
        """Whether an insert may omit the column, because it is an identity or a generated column."""
        return bool(self.identity or self.generated)


@dataclass(frozen=True)
class TableSchema:
    """The properties that two tables must share for rows of one to be stored, checked and indexed identically in the other."""

    columns: tuple[Column, ...]
    """The columns in order."""
    constraints: frozenset[str]
    indexes: frozenset[str]
    foreign_keys: frozenset[str]
    storage: tuple[str, str]
    """Persistence (p: permanent, u: unlogged) and access method."""


@dataclass(frozen=True)
class RelationInfo:
    """A relation as the catalog describes it now."""

    oid: int
    kind: str
    """pg_class.relkind: TABLE, VIEW, MATERIALIZED_VIEW or another one."""
    schema: TableSchema
    traits: frozenset[str]
    """Other properties that affect reads or writes, as text: policies, triggers, rules, statistics, parents."""

    @property
    def modifies_rows(self) -> bool:
        """Whether triggers or rules may store other rows than those that are written."""
        return any(trait.startswith(("trigger ", "rule ")) for trait in self.traits)

    def missing_in(self, other: RelationInfo) -> Iterator[str]:
        """Yield, as text, what this table has but the other lacks, and what no model can have created."""
        other_columns = {column.name: column for column in other.schema.columns}
        for column in self.schema.columns:
            new = other_columns.get(column.name)
            if column.generated and not (new and new.generated):
                yield f"generated column {column.name}"
            elif column.identity and not (new and new.identity):
                yield f"identity of column {column.name}"
        yield from sorted(trait.partition(": ")[0] for trait in self.traits - other.traits if not trait.startswith("statistics "))


@dataclass(frozen=True)
class View:
    """A view that reads a table, and the statement that recreates it."""

    name: str
    statement: str
    owner: str
    missing_privilege: str
    """What the role lacks to recreate the view: "owner", or the schema on which it needs CREATE. Empty if it lacks nothing."""


@dataclass(frozen=True)
class KeyColumn:
    """A column of a key, and the schema of the operator `=` that compares it; "" if it is compared by another operator."""

    name: str
    operator_schema: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: the oids of the referencing and the referenced table, and the referenced columns."""

    child: int
    parent: int
    key: tuple[KeyColumn, ...]


TABLE: Final = "r"
VIEW: Final = "v"
MATERIALIZED_VIEW: Final = "m"

_COLUMNS: Final[LiteralString] = """
    select attrelid, attname, format_type(atttypid, atttypmod),
        case when attcollation <> typcollation then attcollation::regcollation::text else '' end, attnotnull,
        attidentity::text, attgenerated::text, coalesce(pg_get_expr(adbin, adrelid), ''),
        case when attstorage <> typstorage then attstorage::text else '' end || attcompression::text
    from pg_attribute join pg_type t on t.oid = atttypid left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attrelid = any(%(oids)s) and attnum > 0 and not attisdropped order by attnum"""
# Definitions of indexes without the names of index and table, and traits of a table as text.
_PARTS: Final = r"""
    select conrelid, case contype when 'f' then 'foreign key' else 'constraint' end, pg_get_constraintdef(oid)
        from pg_constraint where conrelid = any(%(oids)s) and contype not in ('n', 't')
    union all select indrelid, 'index',
        regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX .+? ON .+? USING', '\1USING')
        from pg_index where indrelid = any(%(oids)s)
    union all select indrelid, '', 'index to cluster by: ' || regexp_replace(pg_get_indexdef(indexrelid), '^.+? USING', 'USING')
        from pg_index where indrelid = any(%(oids)s) and indisclustered
    union all select polrelid, '', format('policy %%s: %%s, %%s, to %%s, using (%%s), with check (%%s)', polname, polcmd, polpermissive,
        polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        from pg_policy where polrelid = any(%(oids)s)
    union all select oid, '', unnest(array_remove(array[case when relrowsecurity then 'row-level security' end,
        case when relforcerowsecurity then 'forced row-level security' end,
        case when reloftype <> 0 then format('type %%s', reloftype::regtype) end], null))
        from pg_class where oid = any(%(oids)s)
    union all select tgrelid, '', format('trigger %%s: %%s, %%s', tgname, pg_get_triggerdef(oid), tgenabled)
        from pg_trigger where tgrelid = any(%(oids)s) and not tgisinternal
    union all select ev_class, '', format('rule %%s: %%s, %%s', rulename, pg_get_ruledef(oid), ev_enabled)
        from pg_rewrite where ev_class = any(%(oids)s) and rulename <> '_RETURN'
    union all select stxrelid, '',
        'statistics ' || regexp_replace(pg_get_statisticsobjdef(oid), '^CREATE STATISTICS \S+ (.*) FROM .*', '\1')
        from pg_statistic_ext where stxrelid = any(%(oids)s)
    union all select inhrelid, '', format('parent %%s', inhparent::regclass) from pg_inherits where inhrelid = any(%(oids)s)
    union all select refobjid, '', format('sequence of column %%s', attname)
        from pg_depend join pg_class s on s.oid = objid and s.relkind = 'S'
        join pg_attribute on attrelid = refobjid and attnum = refobjsubid
        where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = any(%(oids)s) and deptype = 'a'"""
_RELATIONS: Final = """
    select s.schema, s.name, c.oid, c.relkind::text, c.relpersistence::text, coalesce(am.amname, '')
    from unnest(%s::text[], %s::text[]) as s (schema, name)
    join pg_namespace n on n.nspname = s.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = s.name
    left join pg_am am on am.oid = c.relam"""
_VIEWS: Final = """
    select distinct format('%%I.%%I', n.nspname, v.relname), v.reloptions, pg_get_viewdef(v.oid), v.relowner::regrole::text,
        case when not pg_has_role(v.relowner, 'usage') then 'owner'
            when not has_schema_privilege(n.oid, 'create') then quote_ident(n.nspname) else '' end
    from pg_depend d
    join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    join pg_class v on v.oid = r.ev_class
    join pg_namespace n on n.oid = v.relnamespace
    where d.refclassid = 'pg_class'::regclass and d.refobjid = %(oid)s and v.oid <> %(oid)s
    and v.relkind = 'v' and r.rulename = '_RETURN'"""
# Everything else that would remain attached to the old table after a swap. Functions may return its rows, columns may have its row type.
_DEPENDENTS: Final = """
    select distinct case when r.rulename = '_RETURN' then pg_describe_object('pg_class'::regclass, r.ev_class, 0)
            else pg_describe_object(d.classid, d.objid, d.objsubid) end
    from pg_depend d
    left join pg_attrdef e on d.classid = 'pg_attrdef'::regclass and e.oid = d.objid
    left join pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
    left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
    left join pg_constraint f on d.classid = 'pg_constraint'::regclass and f.oid = d.objid
    left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    left join pg_class v on v.oid = r.ev_class
    where (d.refclassid = 'pg_class'::regclass and d.refobjid = %(oid)s
        or d.refclassid = 'pg_type'::regclass and d.refobjid in (
            select t.oid from pg_type t, pg_class c
            where c.oid = %(oid)s and (t.oid = c.reltype or t.typelem = c.reltype and t.typlen = -1)))
    and d.deptype = 'n' and %(oid)s not in (coalesce(e.adrelid, 0), coalesce(p.polrelid, 0), coalesce(t.tgrelid, 0))
    and coalesce(f.conrelid <> all (%(swapped)s::oid[]), true)
    and (r.oid is null or r.ev_class <> %(oid)s and not (v.relkind = 'v' and r.rulename = '_RETURN'))
    union select format('publication %%s', p.pubname)
          from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where r.prrelid = %(oid)s"""
_FOREIGN_KEYS: Final = """
    select conrelid, confrelid, array(
        select array[attname::text, case when oprname = '=' then n.nspname::text else '' end]
        from unnest(confkey, conppeqop) with ordinality as k (number, operator, nth)
        join pg_attribute on attrelid = confrelid and attnum = number join pg_operator o on o.oid = operator
        join pg_namespace n on n.oid = o.oprnamespace order by nth)
    from pg_constraint where contype = 'f' and confrelid = any(%s) order by conrelid, confrelid, conname"""


@contextmanager
def qualified_names(connection: psycopg.Connection) -> Iterator[None]:
    """Empty the search path inside the block, so that the catalog qualifies all names with their schema. Requires an open transaction."""
    row = connection.execute("select current_setting('search_path'), set_config('search_path', '', true)").fetchone()
    yield
    connection.execute("select set_config('search_path', %s, true)", [row[0] if row else ""])


def read_relations(
    connection: psycopg.Connection, relations: Collection[Relation], live_schemas: Mapping[str, str]
) -> dict[Relation, RelationInfo]:
    """Return the relations that exist. Call it inside `qualified_names`.

    `live_schemas` maps staging schemas to live ones: references to the former are returned as references to the latter.
    """
    names = ([each.schema for each in relations], [each.table for each in relations])
    rows = connection.execute(_RELATIONS, names).fetchall()
    oids = {"oids": [row[2] for row in rows]}
    columns: dict[int, list[Column]] = {row[2]: [] for row in rows}
    for oid, name, type_, collation, not_null, identity, generated, default, storage in connection.execute(_COLUMNS, oids):
        expression = _with_live_schemas(default, live_schemas)
        columns[oid].append(Column(name, type_, collation, not_null, identity, generated, expression, storage))
    parts: dict[int, dict[str, set[str]]] = {row[2]: {"constraint": set(), "index": set(), "foreign key": set(), "": set()} for row in rows}
    for oid, kind, text in connection.execute(_PARTS, oids):
        parts[oid][kind].add(_with_live_schemas(text, live_schemas))
    found = {}
    for schema, table, oid, kind, persistence, method in rows:
        part = {what: frozenset(texts) for what, texts in parts[oid].items()}
        table_schema = TableSchema(tuple(columns[oid]), part["constraint"], part["index"], part["foreign key"], (persistence, method))
        found[Relation(schema, table)] = RelationInfo(oid, kind, table_schema, part[""])
    return found


def _with_live_schemas(text: str, live_schemas: Mapping[str, str]) -> str:
    for staging, schema in live_schemas.items():
        for name in (staging, schema):
            quoted = name.replace('"', '""')
            found = re.compile(rf'(?<![\w$"])(?:"{re.escape(quoted)}"|{re.escape(name)})\.')
            text = found.sub(f'"{schema}".'.replace("\\", r"\\"), text)
    return text


def views_reading(connection: psycopg.Connection, oid: int) -> list[View]:
    """Return the plain views that read a table. Call it inside `qualified_names`."""
    views = []
    for name, options, query, owner, missing_privilege in connection.execute(_VIEWS, {"oid": oid}):
        settings = f" with ({', '.join(options)})" if options else ""
        views.append(View(str(name), f"create or replace view {name}{settings} as {query}", str(owner), str(missing_privilege)))
    return sorted(views, key=lambda view: view.name)


def dependents_of(connection: psycopg.Connection, oid: int, swapped: Collection[int] = ()) -> list[str]:
    """Return, as text, what depends on a table and cannot be moved to another one.

    Foreign keys of tables that are also `swapped` can be.
    """
    return sorted(str(row[0]) for row in connection.execute(_DEPENDENTS, {"oid": oid, "swapped": list(swapped)}))


def foreign_keys_referencing(connection: psycopg.Connection, oids: Collection[int]) -> list[ForeignKey]:
    """Return all foreign keys that reference one of these tables."""
    rows = connection.execute(_FOREIGN_KEYS, [list(oids)])
    return [ForeignKey(int(child), int(parent), tuple(KeyColumn(*column) for column in key)) for child, parent, key in rows]
