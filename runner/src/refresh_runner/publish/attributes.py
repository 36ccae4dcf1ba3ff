"""Copies a table's attributes to another: privileges, comments, security labels, storage parameters, positions of sequences.

Each query compares all pairs of tables in the catalog at once, and returns the statements that add what the targets lack.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg

from refresh_runner.postgres.catalog import Relation


@dataclass(frozen=True)
class AttributePair:
    """Two tables by oid: the source of attributes and their target."""

    source: int
    target: int
    published_as: Relation
    """The live name of the target."""
    grants_declared: bool = False
    """Whether the dbt project declares its grants: then all other grants are revoked."""
    comments_declared: bool = False
    """Whether the dbt project's descriptions are its comments: then all others are removed."""


_PAIRS: Final[LiteralString] = """
    with pair as (
        select * from unnest(%(sources)s::oid[], %(targets)s::oid[], %(schemas)s::text[], %(texts_stated)s::bool[])
            as pair (source, target, schema, texts_stated)
    )"""
# Privileges on tables and columns, without the owner's own. Wanted are those of the source, and the default privileges of the source's
# owner in the live schema (alter default privileges).
_PRIVILEGES: Final[LiteralString] = (
    _PAIRS  # noqa: S608 - all of it is written here
    + """, given as (
        select c.oid, '' as part, a.grantee, a.privilege_type, a.is_grantable
        from pg_class c, aclexplode(c.relacl) a
        where c.oid = any(%(sources)s::oid[] || %(targets)s::oid[]) and a.grantee <> c.relowner
        union all
        select c.oid, format('(%%I)', attname), a.grantee, a.privilege_type, a.is_grantable
        from pg_class c join pg_attribute on attrelid = c.oid and attacl is not null and not attisdropped, aclexplode(attacl) a
        where c.oid = any(%(sources)s::oid[] || %(targets)s::oid[]) and a.grantee <> c.relowner
    ), wanted as (
        select target, part, grantee, privilege_type, bool_or(is_grantable) as is_grantable from (
            select target, part, grantee, privilege_type, is_grantable from given join pair on oid = source
            union all
            select target, '', a.grantee, a.privilege_type, a.is_grantable
            from pair join pg_class c on c.oid = source join pg_default_acl d on d.defaclrole = c.relowner and d.defaclobjtype = 'r'
            left join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
            where (d.defaclnamespace = 0 or n.nspname = pair.schema) and a.grantee <> c.relowner
        ) as both_kinds
        where part = '' or exists (
            select from pg_attribute where attrelid = target and attnum > 0 and not attisdropped and part = format('(%%I)', attname))
        group by 1, 2, 3, 4
    )"""
)
_GRANTS: Final[LiteralString] = (
    _PRIVILEGES  # noqa: S608 - all of it is written here
    + """
    select format('grant %%s %%s on %%s to %%s%%s', privilege_type, part, target::regclass,
                  case grantee when 0 then 'public' else grantee::regrole::text end, case when is_grantable then ' with grant option' end)
    from wanted w where not exists (
        select from given g where g.oid = w.target and (g.part, g.grantee, g.privilege_type) = (w.part, w.grantee, w.privilege_type)
        and g.is_grantable >= w.is_grantable)"""
)
_REVOKES: Final[LiteralString] = (
    _PRIVILEGES  # noqa: S608 - all of it is written here
    + """
    select format('revoke %%s %%s on %%s from %%s', privilege_type, part, g.oid::regclass,
                  case grantee when 0 then 'public' else grantee::regrole::text end)
    from given g where g.oid = any(%(targets)s::oid[]) and not exists (
        select from wanted w where w.target = g.oid and (w.part, w.grantee, w.privilege_type) = (g.part, g.grantee, g.privilege_type))"""
)
# The same for the sequences of a table's columns.
_SEQUENCE_GRANTS: Final[LiteralString] = """
    select format('grant %%s on sequence %%s to %%s%%s', a.privilege_type, s.oid::regclass,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' end)
    from pg_depend join pg_class s on s.oid = objid and s.relkind = 'S'
    join pg_default_acl d on d.defaclrole = s.relowner and d.defaclobjtype = 'S' and d.defaclnamespace in (0, s.relnamespace),
    aclexplode(d.defaclacl) a
    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = any(%(targets)s::oid[])
    and deptype in ('a', 'i') and a.grantee <> s.relowner and not exists (
        select from aclexplode(s.relacl) g where (g.grantee, g.privilege_type) = (a.grantee, a.privilege_type)
        and g.is_grantable >= a.is_grantable)"""
# With `matched`, the target gets all attributes of the source; otherwise only those for which it has no value of its own.
_ATTRIBUTES: Final[LiteralString] = """
    , both_columns as (
        select target, s.attnum as source_number, t.attnum as target_number, s.attname, s.attstattarget, s.attoptions, source,
            t.attstattarget as had_target, t.attoptions as had_options
        from pair join pg_attribute s on s.attrelid = source and s.attnum > 0 and not s.attisdropped
        join pg_attribute t on t.attrelid = target and t.attname = s.attname and t.attnum > 0
    ), options as (
        select c.oid, '' as prefix, unnest(c.reloptions) as option from pg_class c
        where c.oid = any(%(sources)s::oid[] || %(targets)s::oid[])
        union all
        select c.oid, 'toast.', unnest(t.reloptions) from pg_class c join pg_class t on t.oid = c.reltoastrelid
        where c.oid = any(%(sources)s::oid[] || %(targets)s::oid[])
    ), texts as (
        select objoid, objsubid, '' as provider, description as text from pg_description
        where classoid = 'pg_class'::regclass and objoid = any(%(sources)s::oid[] || %(targets)s::oid[])
        union all
        select objoid, objsubid, provider, label from pg_seclabel
        where classoid = 'pg_class'::regclass and objoid = any(%(sources)s::oid[] || %(targets)s::oid[])
    ), numbers as (
        select refobjid, refobjsubid, objid from pg_depend join pg_class s on s.oid = objid and s.relkind = 'S'
        where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')
        and refobjid = any(%(sources)s::oid[] || %(targets)s::oid[])
    )
    select concat(case w.provider when '' then 'comment' else format('security label for %%I', w.provider) end,
        case w.objsubid when 0 then format(' on table %%s', p.target::regclass)
            else format(' on column %%s.%%I', p.target::regclass, c.attname) end,
        format(' is %%L', w.text))
    from pair p join texts w on w.objoid = p.source
    left join both_columns c on c.target = p.target and c.source_number = w.objsubid
    where (w.objsubid = 0 or c.target_number is not null) and (%(matched)s or w.provider <> '' or not p.texts_stated) and not exists (
        select from texts o where o.objoid = p.target and o.objsubid = coalesce(c.target_number, 0) and o.provider = w.provider
        and (o.text = w.text or not %(matched)s))
    union all
    select concat('comment', case o.objsubid when 0 then format(' on table %%s', p.target::regclass)
        else format(' on column %%s.%%I', p.target::regclass, c.attname) end, ' is null')
    from pair p join texts o on o.objoid = p.target and o.provider = ''
    left join both_columns c on c.target = p.target and c.target_number = o.objsubid
    where %(matched)s and p.texts_stated and (o.objsubid = 0 or c.source_number is not null) and not exists (
        select from texts w where w.objoid = p.source and w.objsubid = coalesce(c.source_number, 0) and w.provider = '')
    union all
    -- Needs no lock that blocks readers.
    select format('alter table %%s set (%%s = %%L)', target::regclass, prefix || split_part(option, '=', 1),
        substring(option from position('=' in option) + 1))
    from pair join options w on w.oid = source where not exists (
        select from options o where o.oid = target and o.prefix = w.prefix
        and (o.option = w.option or not %(matched)s and split_part(o.option, '=', 1) = split_part(w.option, '=', 1)))
    union all
    select format('alter table %%s alter column %%I set statistics %%s', target::regclass, attname, attstattarget)
    from both_columns where coalesce(attstattarget, -1) <> -1 and coalesce(had_target, -1) <> attstattarget
    and (%(matched)s or coalesce(had_target, -1) = -1)
    union all
    select format('alter table %%s alter column %%I set (%%s)', target::regclass, attname, array_to_string(attoptions, ', '))
    from both_columns where attoptions is not null and had_options is distinct from attoptions and (%(matched)s or had_options is null)
    union all
    -- Sequences continue where those of the source would.
    select format('select setval(%%L, last_value, is_called) from %%s', t.objid::regclass, s.objid::regclass)
    from both_columns join numbers s on s.refobjid = source and s.refobjsubid = source_number
    join numbers t on t.refobjid = target and t.refobjsubid = target_number where %(matched)s"""
# Tablespace, storage, defaults and replica identity, which can be changed cheaply before anybody reads the table.
_STORAGE: Final[LiteralString] = """
    , both_columns as (
        select target, s.attrelid, s.attnum, s.attname, s.atttypid = t.atttypid as is_same, s.attgenerated, y.typstorage,
            s.attstorage, s.attcompression, t.attstorage as had_storage, t.attcompression as had_compression,
            t.atthasdef or t.attidentity <> '' as had_default
        from pair join pg_attribute s on s.attrelid = source and s.attnum > 0 and not s.attisdropped
        join pg_attribute t on t.attrelid = target and t.attname = s.attname and t.attnum > 0
        join pg_type y on y.oid = t.atttypid
    )
    select format('alter table %%s set tablespace %%I', target::regclass, spcname)
    from pair join pg_class s on s.oid = source join pg_tablespace sp on sp.oid = s.reltablespace
    join pg_class t on t.oid = target and t.reltablespace = 0
    union all
    select format('alter table %%s alter column %%I set storage %%s', target::regclass, attname,
        case attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end)
    from both_columns where is_same and attstorage <> typstorage and had_storage = typstorage
    union all
    select format('alter table %%s alter column %%I set compression %%s', target::regclass, attname,
        case attcompression when 'l' then 'lz4' else 'pglz' end)
    from both_columns where is_same and attcompression <> '' and had_compression = ''
    union all
    select format('alter table %%s alter column %%I set default %%s', target::regclass, attname, pg_get_expr(adbin, adrelid))
    from both_columns join pg_attrdef on adrelid = attrelid and adnum = attnum where attgenerated = '' and not had_default
    union all
    select format('alter table %%s replica identity %%s', target::regclass, case s.relreplident when 'f' then 'full' else 'nothing' end)
    from pair join pg_class s on s.oid = source and s.relreplident in ('f', 'n')
    join pg_class t on t.oid = target and t.relreplident = 'd'"""


def copy_to_live(connection: psycopg.Connection, pairs: Sequence[AttributePair]) -> None:
    """Copy all attributes that can be set without blocking readers from staged tables to live ones. Keep those that the staged ones lack.

    These are comments and labels, storage parameters, planner settings, positions of sequences, and privileges: those of the source and
    the default privileges of the schema. Other privileges are revoked if the project declares its grants.
    """
    _apply(connection, _PAIRS + _ATTRIBUTES, pairs)
    _apply(connection, _GRANTS, pairs)
    _apply(connection, _REVOKES, [pair for pair in pairs if pair.grants_declared])
    _apply(connection, _SEQUENCE_GRANTS, pairs)


def copy_to_staging(connection: psycopg.Connection, pairs: Sequence[AttributePair]) -> None:
    """Copy those attributes from live tables to staged ones for which the staged ones have no value."""
    _apply(connection, _PAIRS + _ATTRIBUTES, pairs, matched=False)
    _apply(connection, _PAIRS + _STORAGE, pairs)
    _apply(connection, _GRANTS, [pair for pair in pairs if not pair.grants_declared])


def apply_default_privileges(connection: psycopg.Connection, pairs: Sequence[AttributePair]) -> None:
    """Grant the default privileges of the live schema on the targets, and on the sequences of their columns."""
    _apply(connection, _GRANTS, pairs)
    _apply(connection, _SEQUENCE_GRANTS, pairs)


def take_statistics(connection: psycopg.Connection, oid: int, others: Collection[str]) -> list[str]:
    """Drop a table's extended statistics that are not among `others`, the traits of another table.

    Return the statements that recreate them.
    """
    rows = connection.execute(
        r"select format('%%I.%%I', nspname, stxname), pg_get_statisticsobjdef(s.oid),"
        r" 'statistics ' || regexp_replace(pg_get_statisticsobjdef(s.oid), '^CREATE STATISTICS \S+ (.*) FROM .*', '\1')"
        " from pg_statistic_ext s join pg_namespace n on n.oid = stxnamespace where stxrelid = %s order by 1",
        [oid],
    ).fetchall()
    ours = [(str(name), str(definition)) for name, definition, trait in rows if trait not in others]
    for name, _ in ours:
        connection.execute(f"drop statistics {name}".encode())
    return [definition for _, definition in ours]


def _apply(connection: psycopg.Connection, query: LiteralString, pairs: Sequence[AttributePair], *, matched: bool = True) -> None:
    """Execute the statements that a query generates for the pairs."""
    if not pairs:
        return
    parameters = {
        "sources": [pair.source for pair in pairs],
        "targets": [pair.target for pair in pairs],
        "schemas": [pair.published_as.schema for pair in pairs],
        "texts_stated": [pair.comments_declared for pair in pairs],
        "matched": matched,
    }
    for (statement,) in connection.execute(query, parameters).fetchall():
        connection.execute(str(statement).encode())
