"""What a run's role must be allowed in the warehouse: which of it is missing, and the statements that give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psycopg

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.postgres.standbys import MONITORING_ROLE


class PrivilegeKind(StrEnum):
    """Something that a role may do."""

    CREATE_SCHEMA = "make schemas"
    """Create schemas in the database, or the named one if it is not there."""
    USAGE = "use"
    """Find things in a schema."""
    SEARCH_PATH = "search"
    """Find, and make, things that are named without a schema."""
    CREATE = "make"
    """Create tables and views in a schema."""
    OWNERSHIP = "own"
    """Replace and drop a table or view, which only its owner may."""
    SELECT = "read"
    WRITE = "write"
    """Read, insert into, update and delete from a table."""
    MONITOR_STANDBYS = "see standbys"
    """See how far standbys have replayed."""


@dataclass(frozen=True)
class Privilege:
    """A right that a run needs; on what is not there it is none."""

    kind: PrivilegeKind
    schema: str = ""
    name: str = ""


# What is not there can't be refused: a schema will be made, a table is then ours, and what is only read is missed elsewhere.
_MISSING: Final = """
    select nth from unnest(%(rights)s::text[], %(schemas)s::text[], %(names)s::text[]) with ordinality as need (want, schema, name, nth)
    left join pg_namespace n on n.nspname = need.schema
    left join pg_class c on c.relnamespace = n.oid and c.relname = need.name
    where not case want
        when 'make schemas' then n.oid is not null or has_database_privilege(current_database(), 'create')
        when 'use' then n.oid is null or has_schema_privilege(n.oid, 'usage')
        when 'search' then current_schema() is not null
        when 'make' then n.oid is null or has_schema_privilege(n.oid, 'create')
        when 'own' then c.oid is null or pg_has_role(c.relowner, 'usage')
        when 'see standbys' then pg_has_role('pg_read_all_stats', 'usage')
        when 'read' then c.oid is null or has_table_privilege(c.oid, 'select')
        else c.oid is null or has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                          and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete')
    end order by nth"""

_LISTED: Final = 10
"""Statements that a message holds; `refresh-runner grants` prints them all."""


def missing(connection: psycopg.Connection, needs: Iterable[Privilege]) -> list[Privilege]:
    """Return which of the needs the connection's role lacks, asked in one query."""
    wanted = list(dict.fromkeys(needs))
    columns = {
        "rights": [need.kind.value for need in wanted],
        "schemas": [need.schema for need in wanted],
        "names": [need.name for need in wanted],
    }
    return [wanted[int(row[0]) - 1] for row in connection.execute(_MISSING, columns)]


def check(connection: psycopg.Connection, needs: Iterable[Privilege]) -> None:
    """Raise RunFailedError with PrivilegeMissing, and the statements that help, if the connection's role lacks any of the needs."""
    if lacking := missing(connection, needs):
        role, database = connection.info.user, connection.info.dbname
        found = list(grant_statements(lacking, role, database))
        listed = "; ".join(found[:_LISTED]) + (f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
        hint = "who owns the database can execute them; `refresh-runner grants FILE` prints all that a run needs"
        raise RunFailedError(Failure(Reason.PRIVILEGE_MISSING, f"the role {role} may not do all that a run does: {listed}", hint=hint))


def grant_statements(needs: Iterable[Privilege], role: str, database: str, *, offline: bool = False) -> Iterator[str]:
    """Yield the SQL that gives a role what it needs, each statement once.

    `may_be_absent`: the warehouse was not asked, so that schemas and the role's own tables may not be there yet.
    """
    found = (each for need in needs for each in _statements(need, quote_identifier(role), quote_identifier(database), offline))
    yield from dict.fromkeys(found)


def _statements(need: Privilege, role: str, database: str, may_be_absent: bool) -> Sequence[str]:
    schema, relation = quote_identifier(need.schema), f"{quote_identifier(need.schema)}.{quote_identifier(need.name)}"
    match need.kind:
        case PrivilegeKind.CREATE_SCHEMA:
            return [f"grant create on database {database} to {role}"]
        case PrivilegeKind.USAGE:
            return [f"grant usage on schema {schema} to {role}"]
        case PrivilegeKind.SEARCH_PATH:
            return [f"alter role {role} in database {database} set search_path = {schema}"]
        case PrivilegeKind.CREATE:
            made = [f"create schema if not exists {schema}"] if may_be_absent else []
            return [*made, f"grant usage, create on schema {schema} to {role}"]
        case PrivilegeKind.OWNERSHIP:
            return [f"alter table {'if exists ' if may_be_absent else ''}{relation} owner to {role}"]
        case PrivilegeKind.SELECT:
            return [f"grant select on {relation} to {role}"]
        case PrivilegeKind.WRITE:
            return [f"grant select, insert, update, delete on {relation} to {role}"]
        case PrivilegeKind.MONITOR_STANDBYS:
            return [f"grant {MONITORING_ROLE} to {role}"]


def quote_identifier(name: str) -> str:
    """Return a name as it stands in SQL, whatever it is made of."""
    return '"' + name.replace('"', '""') + '"'
