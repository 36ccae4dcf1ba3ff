"""The read-only role of the demo's dashboards."""

from __future__ import annotations

import psycopg
from psycopg import sql

from refresh_examples.embedded import Access


def ensure_reader(connection: psycopg.Connection, reader: Access) -> None:
    """Create or update the role. It can read everything; in a production warehouse, `roles_dashboards` grants it only the marts."""
    role = sql.Identifier(reader.user)
    if connection.execute("select 1 from pg_roles where rolname = %s", [reader.user]).fetchone() is None:
        connection.execute(sql.SQL("create role {}").format(role))
    wanted = sql.SQL("alter role {} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 20 password {}")
    connection.execute(wanted.format(role, sql.Literal(reader.password)))
    connection.execute(sql.SQL("alter role {} set default_transaction_read_only = on").format(role))
    connection.execute(sql.SQL("grant pg_read_all_data to {}").format(role))
