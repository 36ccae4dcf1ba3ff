"""Settings of a session in PostgreSQL, and whether a connection pooler shares it between clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Final

import psycopg
from psycopg import sql

_KEEPALIVES: Final[Mapping[str, str]] = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Keepalives of the server, so that it notices a lost node within half a minute and releases the lock, not after two hours."""
_CLIENT_CHECK: Final[Mapping[str, str]] = {"client_connection_check_interval": "2000"}
"""Milliseconds between checks, while a query runs, that its client still exists. They end the queries of a dead runner."""
_IS_14: Final = 140000
_IS_17: Final = 170000
RUNNER_SETTINGS: Final[Mapping[str, str]] = {
    # The driver parses only these forms.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    # The runner's statements are written for these.
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    # The publish first locks, then reads what others have committed.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # A statement that waits for a lock ends by its own timeout.
    "lock_timeout": "0",
}
"""Settings of the runner's own sessions, whatever the server, the database or the role sets."""
_SHARE_CHECKS: Final = 3


def no_idle_timeouts(connection: psycopg.Connection) -> Mapping[str, str]:
    """Return the settings of sessions that wait while another part of the run works, without timeouts for idle clients."""
    names = ["idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if connection.info.server_version >= _IS_14 else []
    names += ["transaction_timeout"] if connection.info.server_version >= _IS_17 else []
    return dict.fromkeys(names, "0")


def enable_client_checks(connection: psycopg.Connection) -> Mapping[str, str]:
    """Make the server end this session once its client has disconnected. Return the settings, for use in other sessions."""
    settings = {**_KEEPALIVES, **(_CLIENT_CHECK if connection.info.server_version >= _IS_14 else {})}
    for candidate in (settings, _KEEPALIVES):
        try:
            set_config(connection, candidate)
            return candidate
        except psycopg.errors.InvalidParameterValue:
            continue  # not supported by the server's operating system
    return {}


def set_config(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Change settings of the session."""
    if settings:
        connection.execute(set_config_statement(settings).encode())


def set_config_statement(settings: Mapping[str, str]) -> str:
    """Return the statement that changes the settings. A statement, because a pooler rejects options at connect."""
    calls = sql.SQL(", ").join(sql.SQL("set_config({}, {}, false)").format(name, value) for name, value in settings.items())
    return sql.SQL("select {}").format(calls).as_string(None)


def is_pooled(connection: psycopg.Connection) -> bool:
    """Return whether the connection goes through a pooler: then the pid from the handshake is not that of the backend."""
    return _backend(connection) != connection.info.backend_pid


def is_shared(connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]) -> bool:
    """Return whether a pooler assigns a session of the server to several clients in turn.

    Then a second client gets the session of the first, or the first gets another session.
    """
    ours = {_backend(connection)}
    with closing(connect()) as other:
        for _ in range(_SHARE_CHECKS):
            try:
                with other.transaction():
                    if _backend(other) in ours:
                        return True
                    ours.add(_backend(connection))
            except psycopg.errors.ProtocolViolation:
                return True  # a pool in statement mode rejects transactions
            if len(ours) > 1:
                return True
    return False


def shutdown(descriptor: int) -> None:
    """Shut down a connection's socket from another thread, so that a waiting query fails. Do nothing if the connection is closed."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
