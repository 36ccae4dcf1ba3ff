"""All properties of a table in PostgreSQL's catalog that users may have set, as text without the table's schema."""

from __future__ import annotations

import re
from typing import Final, LiteralString

import psycopg

_FACTS: Final[LiteralString] = """
    select format(
        'column %%s: %%s %%s null:%%s default:%%s identity:%%s generated:%%s storage:%%s%%s statistics:%%s options:%%s comment:%%s',
        attname, format_type(atttypid, atttypmod), attcollation::regcollation, not attnotnull, pg_get_expr(adbin, adrelid), attidentity,
        attgenerated, attstorage, attcompression, coalesce(attstattarget, -1), attoptions, col_description(attrelid, attnum))
        from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = %(t)s::regclass and attnum > 0 and not attisdropped
    union all select format('table: %%s %%s %%s row security:%%s forced:%%s identity:%%s of type:%%s in:%%s comment:%%s toast:%%s', relkind,
        relpersistence, reloptions, relrowsecurity, relforcerowsecurity, relreplident, reloftype::regtype,
        (select spcname from pg_tablespace where oid = reltablespace), obj_description(oid, 'pg_class'),
        (select reloptions from pg_class toast where toast.oid = c.reltoastrelid)) from pg_class c where oid = %(t)s::regclass
    union all select 'constraint: ' || pg_get_constraintdef(oid) from pg_constraint where conrelid = %(t)s::regclass and contype <> 't'
    union all select concat('index: ', regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .+? ON', 'INDEX ON'), indisclustered,
        indisreplident) from pg_index where indrelid = %(t)s::regclass
    union all select format('policy: %%s %%s %%s %%s', polname, polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid))
        from pg_policy where polrelid = %(t)s::regclass
    union all select concat('trigger: ', pg_get_triggerdef(oid), tgenabled)
        from pg_trigger where tgrelid = %(t)s::regclass and not tgisinternal
    union all select 'rule: ' || pg_get_ruledef(oid) from pg_rewrite where ev_class = %(t)s::regclass and rulename <> '_RETURN'
    union all select 'statistics: ' || regexp_replace(pg_get_statisticsobjdef(oid), 'STATISTICS \\S+ ', '')
        from pg_statistic_ext where stxrelid = %(t)s::regclass
    union all select format('parent: %%s', inhparent::regclass) from pg_inherits where inhrelid = %(t)s::regclass
    union all select format('child: %%s', inhrelid::regclass) from pg_inherits where inhparent = %(t)s::regclass
    union all select format('grant: %%s %%s %%s', grantee::regrole, privilege_type, is_grantable)
        from pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) where oid = %(t)s::regclass
    union all select format('column grant: %%s %%s %%s', attname, grantee::regrole, privilege_type)
        from pg_attribute, aclexplode(attacl) where attrelid = %(t)s::regclass and not attisdropped
    union all select format('publication: %%s', p.pubname) from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where r.prrelid = %(t)s::regclass
    union all select format('sequence: %%s %%s', refobjsubid, s.relacl) from pg_depend join pg_class s on s.oid = objid and s.relkind = 'S'
        where refobjid = %(t)s::regclass and deptype in ('a', 'i')
    order by 1"""


def table_facts(connection: psycopg.Connection, schema: str, table: str) -> list[str]:
    """Return all facts of a table in order; equal tables in different schemas have the same facts."""
    with connection.transaction():
        connection.execute("set local search_path = ''")
        found = connection.execute(_FACTS, {"t": f'"{schema}"."{table}"'}).fetchall()
    own = re.compile(rf'(?<![\w"])"?{re.escape(schema)}"?\.')
    facts = [own.sub("SCHEMA.", str(fact)) for (fact,) in found]
    # duplicates are numbered, so that their count is compared as well
    return [f"{fact} ({facts[:nth].count(fact) + 1})" for nth, fact in enumerate(facts)]
