"""The content of a database as facts, one line of text under a name, so that two databases can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, LiteralString

import psycopg
from psycopg import sql

Facts = dict[str, str]

_OURS: Final[LiteralString] = r"""
    n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and n.nspname <> all (%(aside)s)
    and not (n.nspname = 'public' and {name} ~ '^dbt_refresh_')"""
"""Schemas of the project: neither PostgreSQL's, nor those that a refresh keeps the last version in, nor the refresh's own tables."""

_ACL: Final[LiteralString] = """
    (select string_agg(format('%%s:%%s%%s', coalesce(grantee::regrole::text, '?'), privilege_type, case when is_grantable then '*' end), ' '
                       order by grantee::regrole::text collate "C", privilege_type)
     from (select case grantee when 0 then null else grantee end as grantee, privilege_type, is_grantable
           from aclexplode(coalesce({acl}, acldefault('{kind}', {owner})))) as given)"""


def _acl(column: LiteralString, kind: LiteralString, owner: LiteralString) -> LiteralString:
    return _ACL.replace("{acl}", column).replace("{kind}", kind).replace("{owner}", owner)


def _ours(name: LiteralString) -> LiteralString:
    return _OURS.replace("{name}", name)


# dbt creates a table under another name, and generated names of constraints and indexes keep that one, with a number.
_MADE_UP: Final[LiteralString] = r"'(__dbt_tmp|__dbt_backup)|(?<=_(pkey|key|fkey|check|idx|excl))\d+$|^[0-9a-f]{32}$'"

_FACTS: Final[Mapping[str, LiteralString]] = {
    "schemas": f"""
        select format('schema %%s', n.nspname), concat_ws(' · ', n.nspowner::regrole::text, {_acl("n.nspacl", "n", "n.nspowner")},
               'comment ' || obj_description(n.oid, 'pg_namespace'))
        from pg_namespace n where {_ours("''")}""",
    "relations": f"""
        select format('relation %%s.%%s', n.nspname, c.relname),
               concat_ws(' · ', 'kind ' || c.relkind::text, 'persistence ' || c.relpersistence::text, 'owner ' || c.relowner::regrole::text,
               'options ' || array_to_string(c.reloptions, ','), 'method ' || a.amname, 'tablespace ' || t.spcname,
               case when c.relrowsecurity then 'row security' end, case when c.relforcerowsecurity then 'forced' end,
               'identity ' || c.relreplident::text, case when c.relkind = 'm' and not c.relispopulated then 'not populated' end,
               'partition by ' || pg_get_partkeydef(c.oid), 'partition of ' || pg_get_expr(c.relpartbound, c.oid),
               'parents ' || (select string_agg(inhparent::regclass::text, ',' order by inhseqno) from pg_inherits where inhrelid = c.oid))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        left join pg_am a on a.oid = c.relam left join pg_tablespace t on t.oid = c.reltablespace
        where c.relkind in ('r', 'v', 'm', 'p', 'f', 'S') and {_ours("c.relname")}""",
    "grants": f"""
        select format('grants %%s.%%s', n.nspname, c.relname),
               {_acl("c.relacl", "r", "c.relowner")} from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'v', 'm', 'p', 'f') and {_ours("c.relname")}""",
    "comments": f"""
        select format('comment %%s.%%s', n.nspname, c.relname), obj_description(c.oid, 'pg_class')
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where obj_description(c.oid, 'pg_class') is not null and c.relkind <> 'i' and {_ours("c.relname")}""",
    "columns": f"""
        select format('column %%s.%%s.%%s', n.nspname, c.relname, a.attname),
               concat_ws(' · ', row_number() over (partition by c.oid order by a.attnum), format_type(a.atttypid, a.atttypmod),
               case when a.attnotnull then 'not null' end,
               'default ' || pg_get_expr(d.adbin, d.adrelid), 'identity ' || nullif(a.attidentity::text, ''),
               'generated ' || nullif(a.attgenerated::text, ''), 'collation ' || o.collname,
               'storage ' || a.attstorage::text, 'compression ' || nullif(a.attcompression::text, ''), 'statistics ' || a.attstattarget,
               'options ' || array_to_string(a.attoptions, ','), 'comment ' || col_description(c.oid, a.attnum),
               'grants ' || (select string_agg(format('%%s:%%s', coalesce(nullif(e.grantee, 0)::regrole::text, '?'), e.privilege_type), ' '
                            order by e.grantee::regrole::text collate "C", e.privilege_type) from aclexplode(a.attacl) e))
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        left join pg_collation o on o.oid = a.attcollation and o.collname <> 'default'
        where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'v', 'm', 'p', 'f') and {_ours("c.relname")}""",
    "constraints": f"""
        select format('constraint %%s.%%s %%s', n.nspname, c.relname, pg_get_constraintdef(k.oid)),
               concat_ws(' · ', regexp_replace(k.conname, {_MADE_UP}, '', 'g'), obj_description(k.oid, 'pg_constraint'),
                         'copies ' || nullif(count(*), 1))
        from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
        where k.contype <> 'n' and {_ours("c.relname")} group by n.nspname, c.relname, k.oid, k.conname""",
    "indexes": rf"""
        select format('index %%s.%%s %%s', n.nspname, c.relname,
                      regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .+? ON .+? USING', '\1USING')),
               concat_ws(' · ', min(regexp_replace(x.relname, {_MADE_UP}, '', 'g')), 'copies ' || nullif(count(*), 1),
                         case when bool_or(i.indisclustered) then 'clustered' end, case when bool_or(i.indisreplident) then 'identity' end,
                         case when not bool_and(i.indisvalid) then 'invalid' end, 'comment ' || min(obj_description(x.oid, 'pg_class')))
        from pg_index i join pg_class c on c.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
        join pg_namespace n on n.oid = c.relnamespace where {_ours("c.relname")} group by 1""",
    "definitions": f"""
        select format('definition %%s.%%s', n.nspname, c.relname), pg_get_viewdef(c.oid)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('v', 'm') and {_ours("c.relname")}""",
    "triggers": f"""
        select format('trigger %%s.%%s %%s', n.nspname, c.relname, t.tgname), pg_get_triggerdef(t.oid) || t.tgenabled::text
        from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
        where not t.tgisinternal and {_ours("c.relname")}""",
    "rules": f"""
        select format('rule %%s.%%s %%s', n.nspname, c.relname, r.rulename), pg_get_ruledef(r.oid)
        from pg_rewrite r join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
        where r.rulename <> '_RETURN' and {_ours("c.relname")}""",
    "policies": f"""
        select format('policy %%s.%%s %%s', n.nspname, c.relname, p.polname), concat_ws(' · ', p.polcmd::text, p.polpermissive,
               (select string_agg(coalesce(nullif(r, 0)::regrole::text, 'public'), ',') from unnest(p.polroles) r),
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
        from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace where {_ours("c.relname")}""",
    "statistics": f"""
        select format('statistics %%s.%%s', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where {_ours("s.stxname")}""",
    "publications": f"""
        select format('publication %%s %%s.%%s', p.pubname, n.nspname, c.relname), coalesce(pg_get_expr(r.prqual, r.prrelid), '')
        from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace where {_ours("c.relname")}""",
    "functions": f"""
        select format('function %%s.%%s(%%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
               concat_ws(' · ', f.proowner::regrole::text, {_acl("f.proacl", "f", "f.proowner")}, pg_get_functiondef(f.oid))
        from pg_proc f join pg_namespace n on n.oid = f.pronamespace
        where f.prokind in ('f', 'p') and not exists (select from pg_depend where objid = f.oid and deptype = 'e')
        and {_ours("f.proname")}""",
    "types": f"""
        select format('type %%s.%%s', n.nspname, t.typname), concat_ws(' · ', t.typtype::text, t.typowner::regrole::text,
               (select string_agg(enumlabel, ',' order by enumsortorder) from pg_enum where enumtypid = t.oid))
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
        where (t.typtype in ('e', 'd', 'r') or t.typtype = 'c' and (select relkind = 'c' from pg_class where oid = t.typrelid))
        and not exists (select from pg_depend where objid = t.oid and deptype = 'e') and {_ours("t.typname")}""",
    "defaults": f"""
        select format('default privileges %%s %%s %%s', d.defaclrole::regrole, coalesce(n.nspname, 'everywhere'), d.defaclobjtype::text),
               (select string_agg(format('%%s:%%s', coalesce(nullif(grantee, 0)::regrole::text, '?'), privilege_type), ' '
                order by grantee::regrole::text collate "C", privilege_type) from aclexplode(d.defaclacl))
        from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
        where n.nspname is null or ({_ours("''")})""",
}
_TABLES: Final[LiteralString] = f"""
    select n.nspname, c.relname, array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
                                       and not a.attisdropped order by a.attnum)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (c.relkind in ('r', 'v', 'p', 'f') or c.relkind = 'm' and c.relispopulated) and {_ours("c.relname")}"""


def facts_of(dsn: str, random: Mapping[str, Collection[str]], aside: Collection[str]) -> Facts:
    """Return all facts of a database except schemas in `aside`; values of `random` columns are ignored."""
    found: Facts = {}
    with psycopg.connect(dsn, autocommit=True, options="-c search_path= -c timezone=UTC") as connection:
        for query in _FACTS.values():
            found.update({str(name): str(value or "") for name, value in connection.execute(query, {"aside": list(aside)})})
        for schema, table, columns in connection.execute(_TABLES, {"aside": list(aside)}).fetchall():
            name = f"{schema}.{table}"
            found[f"rows {name}"] = _rows(connection, sql.Identifier(schema, table), columns, random.get(name, ()))
    return found


def _rows(connection: psycopg.Connection, table: sql.Identifier, columns: list[str], random: Collection[str]) -> str:
    """Return the number of rows and their hash, with the first rows for readability."""
    compared = sql.SQL(", ").join(sql.Identifier(column) for column in columns if column not in random)
    query = sql.SQL("""
        with lines as (select row({compared})::text as line from {table})
        select count(*) || ' rows, ' || md5(coalesce(string_agg(line, E'\n' order by line collate "C"), '')),
               (select string_agg(line, ' ') from (select left(line, 80) as line from lines order by line collate "C" limit 5) as first)
        from lines""")
    try:
        row = connection.execute(query.format(compared=compared, table=table)).fetchone()
    except psycopg.Error as error:
        return f"can't be read: {error.diag.message_primary}"
    return f"{row[0]}: {row[1]}" if row else ""
