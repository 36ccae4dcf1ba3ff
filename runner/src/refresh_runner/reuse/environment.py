"""What the results of all nodes depend on: the programs, the server, its settings, and the objects that were added to it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, LiteralString

import psycopg

_SETTINGS: Final = """
    search_path DateStyle IntervalStyle TimeZone timezone_abbreviations extra_float_digits bytea_output default_text_search_config
    lc_collate lc_ctype lc_monetary lc_numeric lc_time lc_messages standard_conforming_strings backslash_quote transform_null_equals
    array_nulls xmlbinary xmloption quote_all_identifiers row_security default_table_access_method default_tablespace
    default_toast_compression server_encoding server_version gin_fuzzy_search_limit
    """.split()
"""Settings that may change a result, or where and how it is stored."""


class NotReusableError(Exception):
    """No node can be reused on this server. The message says why."""


def environment_digest(connection: psycopg.Connection, programs: Sequence[str]) -> str:
    """Return a digest of the environment. Raise NotReusableError if SQL means something else there."""
    # The values at the start of a session: the runner has changed some of its own.
    settings = connection.execute(
        "select name, reset_val from pg_settings where lower(name) = any(%s) order by name", [[name.lower() for name in _SETTINGS]]
    ).fetchall()
    if ("standard_conforming_strings", "on") not in settings:
        raise NotReusableError("standard_conforming_strings is off")
    server = connection.execute(_SERVER).fetchone()
    objects = connection.execute(_OBJECTS).fetchone()
    return sha256(repr((list(programs), settings, server, objects)).encode()).hexdigest()


_SERVER: Final[LiteralString] = """
    select current_user, session_user, to_jsonb(d) - 'datfrozenxid' - 'datminmxid' - 'datacl',
        (select string_agg(collname || coalesce(collversion, '') || coalesce(pg_collation_actual_version(oid), ''), ',' order by oid)
            from pg_collation where oid = 100 or oid >= 16384),
        (select system_identifier from pg_control_system())
    from pg_database d where datname = current_database()"""
# A function, operator, cast or type that was added may be chosen in place of another one.
_OBJECTS: Final[LiteralString] = """
    select md5(string_agg(text, chr(10) order by text)) from (
        select p::text from pg_proc p where oid >= 16384
        union all select o::text from pg_operator o where oid >= 16384
        union all select c::text from pg_cast c where oid >= 16384
        union all select c::text from pg_collation c where oid >= 16384
        union all select c::text from pg_opclass c where oid >= 16384
        union all select t::text from pg_type t where oid >= 16384 and typrelid = 0 and typelem = 0
        union all select e::text from pg_enum e
    ) as added (text)"""
