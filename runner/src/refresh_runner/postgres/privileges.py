"""The privileges that a run's role needs in the warehouse: which are missing, and the statements that grant them."""

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
    """Kinds of privileges."""

    CREATE_SCHEMA = "create schema"
    """Create schemas in the database. Not needed if the named schema exists."""
    USAGE = "usage"
    """Look up objects in a schema."""
    SEARCH_PATH = "search path"
    """Look up and create objects without naming a schema."""
    CREATE = "create"
    """Create tables and views in a schema."""
    OWNERSHIP = "ownership"
    """Replace and drop a table or view."""
    SELECT = "select"
    WRITE = "write"
    """Read, insert into, update and delete from a table."""
    TEMPORARY = "temporary"
    """Create temporary views."""
    MONITOR_STANDBYS = "monitor standbys"
    """See how much WAL standbys have replayed."""


@dataclass(frozen=True)
class Privilege:
    """A privilege that a run needs. It counts as granted if the object does not exist."""

    kind: PrivilegeKind
    schema: str = ""
    name: str = ""


@dataclass(frozen=True)
class Grantee:
    """The role with which a run executes statements, its database, and the role with which it logs in, if it differs."""

    role: str
    database: str
    login: str = ""


# Objects that do not exist need no privilege: the run creates and owns them, and missing inputs are reported elsewhere.
_MISSING: Final = """
    select nth from unnest(%(rights)s::text[], %(schemas)s::text[], %(names)s::text[]) with ordinality as need (want, schema, name, nth)
    left join pg_namespace n on n.nspname = need.schema
    left join pg_class c on c.relnamespace = n.oid and c.relname = need.name
    where not case want
        when 'create schema' then n.oid is not null or has_database_privilege(current_database(), 'create')
        when 'usage' then n.oid is null or has_schema_privilege(n.oid, 'usage')
        when 'search path' then current_schema() is not null
        when 'create' then n.oid is null or has_schema_privilege(n.oid, 'create')
        when 'ownership' then c.oid is null or pg_has_role(c.relowner, 'usage')
        when 'temporary' then has_database_privilege(current_database(), 'temporary')
        when 'monitor standbys' then pg_has_role('pg_read_all_stats', 'usage')
        when 'select' then c.oid is null or has_table_privilege(c.oid, 'select')
        else c.oid is null or has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                          and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete')
    end order by nth"""

_LISTED: Final = 10
"""Maximum number of statements in a message; `refresh-runner grants` prints all."""


def missing(connection: psycopg.Connection, privileges: Iterable[Privilege]) -> list[Privilege]:
    """Return the privileges that the connection's role lacks, with one query."""
    wanted = list(dict.fromkeys(privileges))
    columns = {
        "rights": [each.kind.value for each in wanted],
        "schemas": [each.schema for each in wanted],
        "names": [each.name for each in wanted],
    }
    return [wanted[int(row[0]) - 1] for row in connection.execute(_MISSING, columns)]


def check(connection: psycopg.Connection, privileges: Iterable[Privilege]) -> None:
    """Raise RunFailedError with PrivilegeMissing, and the statements to execute, if the connection's role lacks any of the privileges."""
    if lacking := missing(connection, privileges):
        grantee = grantee_of(connection)
        found = list(grant_statements(lacking, grantee))
        listed = "; ".join(found[:_LISTED]) + (f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
        hint = "have the owner of the database execute them; `refresh-runner grants FILE` prints all that a run needs"
        raise RunFailedError(Failure(Reason.PRIVILEGE_MISSING, f"role {grantee.role} lacks required privileges: {listed}", hint=hint))


def grantee_of(connection: psycopg.Connection) -> Grantee:
    """Return the role with which the connection executes statements. With `alter role … set role`, it differs from the login role."""
    row = connection.execute("select current_user").fetchone()
    return Grantee(str(row[0]) if row else connection.info.user, connection.info.dbname, connection.info.user)


def grant_statements(privileges: Iterable[Privilege], grantee: Grantee, *, offline: bool = False) -> Iterator[str]:
    """Yield the SQL that grants the privileges to a role, each statement once.

    `offline` means that the warehouse was not queried, so schemas and the role's own tables may not exist.
    """
    yield from dict.fromkeys(each for privilege in privileges for each in _statements(privilege, grantee, offline))


def _statements(privilege: Privilege, grantee: Grantee, offline: bool) -> Sequence[str]:
    role, database = quote_identifier(grantee.role), quote_identifier(grantee.database)
    schema, relation = quote_identifier(privilege.schema), f"{quote_identifier(privilege.schema)}.{quote_identifier(privilege.name)}"
    match privilege.kind:
        case PrivilegeKind.CREATE_SCHEMA:
            return [f"grant create on database {database} to {role}"]
        case PrivilegeKind.USAGE:
            return [f"grant usage on schema {schema} to {role}"]
        case PrivilegeKind.SEARCH_PATH:
            # PostgreSQL reads the settings of the role that logs in.
            login = quote_identifier(grantee.login or grantee.role)
            return [f"alter role {login} in database {database} set search_path = {schema}"]
        case PrivilegeKind.CREATE:
            made = [f"create schema if not exists {schema}"] if offline else []
            return [*made, f"grant usage, create on schema {schema} to {role}"]
        case PrivilegeKind.OWNERSHIP:
            return [f"alter table {'if exists ' if offline else ''}{relation} owner to {role}"]
        case PrivilegeKind.SELECT:
            return [f"grant select on {relation} to {role}"]
        case PrivilegeKind.WRITE:
            return [f"grant select, insert, update, delete on {relation} to {role}"]
        case PrivilegeKind.TEMPORARY:
            return [f"grant temporary on database {database} to {role}"]
        case PrivilegeKind.MONITOR_STANDBYS:
            return [f"grant {MONITORING_ROLE} to {role}"]


def quote_identifier(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
