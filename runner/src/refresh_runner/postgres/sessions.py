"""What a session in PostgreSQL is told, and whether it is one: poolers between us and the server may share it among clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Final

import psycopg
from psycopg import sql

_WATCH: Final[Mapping[str, str]] = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""For the server's side: a node that is gone without a word frees the warehouse within half a minute, not in two hours."""
_CHECK: Final[Mapping[str, str]] = {"client_connection_check_interval": "2000"}
"""Milliseconds between two looks, while a query runs, whether its client is still there: a query of a dead runner ends."""
_HAS_CHECK: Final = 140000
_LOOKS: Final = 3


def enable_client_checks(connection: psycopg.Connection) -> Mapping[str, str]:
    """The server ends what this session does once its client is gone; return the settings that do it, for other sessions too."""
    settings = {**_WATCH, **(_CHECK if connection.info.server_version >= _HAS_CHECK else {})}
    for wanted in (settings, _WATCH):
        try:
            set_config(connection, wanted)
            return wanted
        except psycopg.errors.InvalidParameterValue:
            continue  # not on the server's operating system
    return {}


def set_config(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Set what a session is to work by."""
    if settings:
        connection.execute(set_config_statement(settings).encode())


def set_config_statement(settings: Mapping[str, str]) -> str:
    """Return the statement that sets what a session is to work by, since a pooler takes no options when it is connected to."""
    calls = sql.SQL(", ").join(sql.SQL("set_config({}, {}, false)").format(name, value) for name, value in settings.items())
    return sql.SQL("select {}").format(calls).as_string(None)


def is_pooled(connection: psycopg.Connection) -> bool:
    """Return whether something stands between us and the server: then the number it gave us is not that of a backend."""
    return _backend(connection) != connection.info.backend_pid


def is_shared(connection: psycopg.Connection, another: Callable[[], psycopg.Connection]) -> bool:
    """Return whether a pooler gives one session of the server to several clients in turn.

    Then a client that is busy holds the session that was ours, or we find ourselves in another one.
    """
    ours = {_backend(connection)}
    with closing(another()) as other:
        for _ in range(_LOOKS):
            try:
                with other.transaction():
                    if _backend(other) in ours:
                        return True
                    ours.add(_backend(connection))
            except psycopg.errors.ProtocolViolation:
                return True  # a pool in statement mode takes no transaction
            if len(ours) > 1:
                return True
    return False


def shutdown(descriptor: int) -> None:
    """End a connection from another thread: whoever waits for its answer finds it closed. Nothing happens if it is."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _backend(connection: psycopg.Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
