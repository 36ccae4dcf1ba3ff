"""What people and the project have put on a table, given to another one: rights, comments, labels, settings, numbers of sequences.

Each function finds by the catalog what the target lacks, and executes just those statements.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, LiteralString

import psycopg

from refresh_runner.catalog import Relation

# Rights on a table and on its columns; the owner's own are left alone. Beside what the source has: what PostgreSQL gives on a new table
# of the source's owner in that schema (alter default privileges).
_GIVEN: Final[LiteralString] = """
    with given as (
        select c.oid, '' as part, a.grantee, a.privilege_type, a.is_grantable
        from pg_class c, aclexplode(c.relacl) a where c.oid in (%(source)s, %(target)s) and a.grantee <> c.relowner
        union all
        select c.oid, format('(%%I)', attname), a.grantee, a.privilege_type, a.is_grantable
        from pg_class c join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped, aclexplode(attacl) a
        where c.oid in (%(source)s, %(target)s) and a.grantee <> c.relowner
    ), wanted as (
        select part, grantee, privilege_type, bool_or(is_grantable) as is_grantable from (
            select part, grantee, privilege_type, is_grantable from given where oid = %(source)s and %(matched)s
            union all
            select '', a.grantee, a.privilege_type, a.is_grantable
            from pg_class c join pg_default_acl d on d.defaclrole = c.relowner and d.defaclobjtype = 'r', aclexplode(d.defaclacl) a
            where c.oid = %(source)s and d.defaclnamespace in (0, (select oid from pg_namespace where nspname = %(schema)s))
            and a.grantee <> c.relowner
        ) as both_of_them
        where part = '' or part in (
            select format('(%%I)', attname) from pg_attribute where attrelid = %(target)s and attnum > 0 and not attisdropped)
        group by 1, 2, 3
    )"""
_GRANTS: Final[LiteralString] = (
    _GIVEN  # noqa: S608 - all of it is written here
    + """
    select format('grant %%s %%s on %%s to %%s%%s', privilege_type, part, %(target)s::oid::regclass,
                  case grantee when 0 then 'public' else grantee::regrole::text end, case when is_grantable then ' with grant option' end)
    from wanted w where not exists (
        select from given g where g.oid = %(target)s and (g.part, g.grantee, g.privilege_type) = (w.part, w.grantee, w.privilege_type)
        and g.is_grantable >= w.is_grantable)"""
)
_REVOKES: Final[LiteralString] = (
    _GIVEN  # noqa: S608 - all of it is written here
    + """
    select format('revoke %%s %%s on %%s from %%s', privilege_type, part, %(target)s::oid::regclass,
                  case grantee when 0 then 'public' else grantee::regrole::text end)
    from given g where g.oid = %(target)s and not exists (
        select from wanted w where (w.part, w.grantee, w.privilege_type) = (g.part, g.grantee, g.privilege_type))"""
)
# On the sequences of a table's columns, the same.
_SEQUENCE_GRANTS: Final[LiteralString] = """
    select format('grant %%s on sequence %%s to %%s%%s', a.privilege_type, s.oid::regclass,
                  case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                  case when a.is_grantable then ' with grant option' end)
    from pg_depend join pg_class s on s.oid = objid and s.relkind = 'S'
    join pg_default_acl d on d.defaclrole = s.relowner and d.defaclobjtype = 'S' and d.defaclnamespace in (0, s.relnamespace),
    aclexplode(d.defaclacl) a
    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = %(target)s and deptype in ('a', 'i')
    and a.grantee <> s.relowner and not exists (
        select from aclexplode(s.relacl) g where (g.grantee, g.privilege_type) = (a.grantee, a.privilege_type)
        and g.is_grantable >= a.is_grantable)"""
_COMMENTS: Final[LiteralString] = """
    select case d.objsubid
        when 0 then format('comment on table %%s is %%L', %(target)s::oid::regclass, d.description)
        else format('comment on column %%s.%%I is %%L', %(target)s::oid::regclass, s.attname, d.description) end
    from pg_description d
    left join pg_attribute s on s.attrelid = d.objoid and s.attnum = d.objsubid and d.objsubid > 0
    left join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname
    where d.classoid = 'pg_class'::regclass and d.objoid = %(source)s
    and (d.objsubid = 0 or t.attnum is not null)
    and case %(matched)s when true
        then d.description is distinct from
            case d.objsubid when 0 then obj_description(%(target)s, 'pg_class') else col_description(%(target)s, t.attnum) end
        else case d.objsubid when 0 then obj_description(%(target)s, 'pg_class') else col_description(%(target)s, t.attnum) end is null
        end"""
_LABELS: Final[LiteralString] = """
    select case d.objsubid
        when 0 then format('security label for %%I on table %%s is %%L', d.provider, %(target)s::oid::regclass, d.label)
        else format('security label for %%I on column %%s.%%I is %%L', d.provider, %(target)s::oid::regclass, s.attname, d.label) end
    from pg_seclabel d
    left join pg_attribute s on s.attrelid = d.objoid and s.attnum = d.objsubid and d.objsubid > 0
    left join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname
    where d.classoid = 'pg_class'::regclass and d.objoid = %(source)s
    and (d.objsubid = 0 or t.attnum is not null)
    and not exists (
        select from pg_seclabel o where o.classoid = d.classoid and o.objoid = %(target)s and o.objsubid = coalesce(t.attnum, 0)
        and o.provider = d.provider and (o.label = d.label or not %(matched)s))"""
# Storage parameters, of the TOAST table too, and what the planner is told of columns: set without a lock that readers would notice.
_OPTIONS: Final[LiteralString] = """
    with options as (
        select c.oid, '' as prefix, unnest(c.reloptions) as option from pg_class c where c.oid in (%(source)s, %(target)s)
        union all
        select c.oid, 'toast.', unnest(t.reloptions) from pg_class c join pg_class t on t.oid = c.reltoastrelid
        where c.oid in (%(source)s, %(target)s)
    )
    select format('alter table %%s set (%%s = %%L)', %(target)s::oid::regclass, prefix || split_part(option, '=', 1),
                  substring(option from position('=' in option) + 1))
    from options w where oid = %(source)s and not exists (
        select from options o where o.oid = %(target)s and o.prefix = w.prefix
        and (o.option = w.option or not %(matched)s and split_part(o.option, '=', 1) = split_part(w.option, '=', 1)))
    union all
    select format('alter table %%s alter column %%I set statistics %%s', %(target)s::oid::regclass, s.attname, s.attstattarget)
    from pg_attribute s join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname and t.attnum > 0
    where s.attrelid = %(source)s and s.attnum > 0 and coalesce(s.attstattarget, -1) <> -1
    and coalesce(t.attstattarget, -1) <> s.attstattarget and (%(matched)s or coalesce(t.attstattarget, -1) = -1)
    union all
    select format('alter table %%s alter column %%I set (%%s)', %(target)s::oid::regclass, s.attname, array_to_string(s.attoptions, ', '))
    from pg_attribute s join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname and t.attnum > 0
    where s.attrelid = %(source)s and s.attnum > 0 and s.attoptions is not null
    and t.attoptions is distinct from s.attoptions and (%(matched)s or t.attoptions is null)"""
# Where and how a table that nobody reads yet is stored, and how its changes are told to subscribers.
_STORAGE: Final[LiteralString] = """
    select format('alter table %%s set tablespace %%I', %(target)s::oid::regclass, spcname)
    from pg_class s join pg_tablespace sp on sp.oid = s.reltablespace join pg_class t on t.oid = %(target)s
    where s.oid = %(source)s and t.reltablespace = 0
    union all
    select format('alter table %%s alter column %%I set storage %%s', %(target)s::oid::regclass, s.attname,
                  case s.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end)
    from pg_attribute s join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname and t.attnum > 0
    join pg_type y on y.oid = t.atttypid
    where s.attrelid = %(source)s and s.attnum > 0 and s.atttypid = t.atttypid
    and s.attstorage <> y.typstorage and t.attstorage = y.typstorage
    union all
    select format('alter table %%s alter column %%I set compression %%s', %(target)s::oid::regclass, s.attname,
                  case s.attcompression when 'l' then 'lz4' else 'pglz' end)
    from pg_attribute s join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname and t.attnum > 0
    where s.attrelid = %(source)s and s.attnum > 0 and s.atttypid = t.atttypid and s.attcompression <> '' and t.attcompression = ''
    union all
    select format('alter table %%s alter column %%I set default %%s', %(target)s::oid::regclass, s.attname, pg_get_expr(d.adbin, d.adrelid))
    from pg_attribute s join pg_attrdef d on d.adrelid = s.attrelid and d.adnum = s.attnum
    join pg_attribute t on t.attrelid = %(target)s and t.attname = s.attname and t.attnum > 0
    where s.attrelid = %(source)s and s.attgenerated = '' and not t.atthasdef and t.attidentity = ''
    union all
    select format('alter table %%s replica identity %%s', %(target)s::oid::regclass,
                  case s.relreplident when 'f' then 'full' else 'nothing' end)
    from pg_class s join pg_class t on t.oid = %(target)s
    where s.oid = %(source)s and s.relreplident in ('f', 'n') and t.relreplident = 'd'"""
_NUMBERS: Final[LiteralString] = """
    select format('select setval(%%L, last_value, is_called) from %%s', t.objid::regclass, s.objid::regclass)
    from pg_depend s join pg_class sc on sc.oid = s.objid and sc.relkind = 'S'
    join pg_attribute sa on sa.attrelid = s.refobjid and sa.attnum = s.refobjsubid
    join pg_attribute ta on ta.attrelid = %(target)s and ta.attname = sa.attname and ta.attnum > 0
    join pg_depend t on t.classid = s.classid and t.refclassid = s.refclassid and t.refobjid = %(target)s and t.refobjsubid = ta.attnum
        and t.deptype in ('a', 'i')
    join pg_class tc on tc.oid = t.objid and tc.relkind = 'S'
    where s.classid = 'pg_class'::regclass and s.refclassid = 'pg_class'::regclass and s.refobjid = %(source)s
    and s.deptype in ('a', 'i')"""


def match_grants(connection: psycopg.Connection, source: int, target: int, place: Relation, *, exactly: bool) -> None:
    """Whoever may use the source may use the target in the same way afterwards, and whoever may use a new table in that place.

    Nobody else may, where `exactly` is asked for. Both are oids of pg_class. The owner's own rights are left alone.
    """
    _execute_all(connection, _GRANTS, source, target, place)
    if exactly:
        _execute_all(connection, _REVOKES, source, target, place)


def grant_defaults(connection: psycopg.Connection, target: int, place: Relation) -> None:
    """Whoever may use what is made new in this place may use the table there, and the sequences of its columns."""
    _execute_all(connection, _GRANTS, target, target, place)
    _execute_all(connection, _SEQUENCE_GRANTS, target, target, place)


def match_texts(connection: psycopg.Connection, source: int, target: int, *, only_missing: bool = False) -> None:
    """Every comment and security label of the source, on the table and its columns, is the target's; what has none keeps its own."""
    _execute_all(connection, _COMMENTS, source, target, matched=not only_missing)
    _execute_all(connection, _LABELS, source, target, matched=not only_missing)


def match_options(connection: psycopg.Connection, source: int, target: int, *, only_missing: bool = False) -> None:
    """Storage parameters, and what the planner is told of columns, are the source's; what it doesn't say stays. No reader waits."""
    _execute_all(connection, _OPTIONS, source, target, matched=not only_missing)


def match_storage(connection: psycopg.Connection, source: int, target: int) -> None:
    """Where the target, which nobody reads yet, says nothing of it: tablespace, storage, compression, defaults and replica identity."""
    _execute_all(connection, _STORAGE, source, target)


def match_numbers(connection: psycopg.Connection, source: int, target: int) -> None:
    """The sequences of the target's columns go on where those of the source's would."""
    _execute_all(connection, _NUMBERS, source, target)


def taken_statistics(connection: psycopg.Connection, oid: int, others: Collection[str]) -> list[str]:
    """Drop the extended statistics of a table, but for those that are among the traits of another one; return what makes them anew."""
    rows = connection.execute(
        r"select format('%%I.%%I', nspname, stxname), pg_get_statisticsobjdef(s.oid),"
        r" 'statistics ' || regexp_replace(pg_get_statisticsobjdef(s.oid), '^CREATE STATISTICS \S+ ', '')"
        " from pg_statistic_ext s join pg_namespace n on n.oid = stxnamespace where stxrelid = %s order by 1",
        [oid],
    ).fetchall()
    ours = [(str(name), str(definition)) for name, definition, trait in rows if trait not in others]
    for name, _ in ours:
        connection.execute(f"drop statistics {name}".encode())
    return [definition for _, definition in ours]


def _execute_all(
    connection: psycopg.Connection, query: LiteralString, source: int, target: int, place: Relation | None = None, *, matched: bool = True
) -> None:
    """Execute the statements that a query returns."""
    parameters = {"source": source, "target": target, "schema": place.schema if place else None, "matched": matched}
    for (statement,) in connection.execute(query, parameters).fetchall():
        connection.execute(str(statement).encode())
