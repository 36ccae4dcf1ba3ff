"""The warehouse lock: a session advisory lock in PostgreSQL, so that only one run at a time writes, from any pod, cluster or laptop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from zlib import crc32

import psycopg

from refresh_api.run_request import RefreshRef
from refresh_api.spec import LockPolicy
from refresh_api.status import Reason
from refresh_api.values import duration_text
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.postgres.connection import WarehouseConnection

NAMESPACE: Final = 0x53494754
"""First key of the lock. Other users of advisory locks in this database must choose another one."""
WAREHOUSE_KEY: Final = 1
REFRESH_NAMESPACE: Final = NAMESPACE + 1
"""First key of the locks by which runs of the same refresh detect each other. The second key is a hash of the refresh's name."""
_POLL: Final = 1.0
_SHORTEST_POLL: Final = 0.1
_PING: Final = 5.0
"""Seconds between two queries that keep the lock's connection alive."""


def current_holder(connection: psycopg.Connection) -> str | None:
    """Return the application_name of the session that holds the warehouse lock; None if no visible session holds it."""
    row = connection.execute(
        "select a.application_name from pg_locks l join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s"
        " and l.database = (select oid from pg_database where datname = current_database())",
        (NAMESPACE, WAREHOUSE_KEY),
    ).fetchone()
    return str(row[0]) if row and row[0] else None


def try_acquire(connection: psycopg.Connection) -> bool:
    """Try once to acquire the warehouse lock on this connection; return whether it is held."""
    return _try_lock(connection, NAMESPACE, WAREHOUSE_KEY)


def acquire(
    warehouse: WarehouseConnection,
    refresh: RefreshRef,
    clock: Clock,
    on_wait: Callable[[str, bool], None],
    *,
    policy: LockPolicy,
    wait: timedelta,
) -> None:
    """Acquire the warehouse lock. Raise RunFailedError with LockHeld, which skips the run unless `policy` is Fail.

    If `policy` is Wait, retry for at most `wait`. `on_wait` gets a message that names the holder, and whether no other run of this
    refresh is active: only then may this run write the refresh's status while it waits.
    """
    deadline = clock.elapsed() + wait.total_seconds()
    reported = ""
    with warehouse.session() as connection:
        while not try_acquire(connection):
            held_by = current_holder(connection) or "another session"
            if held_by == warehouse.application_name:
                # An earlier attempt of this run: its pod has died, but its session has not.
                warehouse.terminate_own_sessions()
            elif policy is not LockPolicy.WAIT:
                raise RunFailedError(_held(f"{held_by} holds the warehouse lock", policy))
            elif clock.elapsed() >= deadline:
                raise RunFailedError(_held(f"{held_by} held the warehouse lock for more than {duration_text(wait)}", policy))
            elif reported != held_by:
                reported = held_by
                on_wait(f"waiting for {held_by}, which holds the warehouse lock", _is_only_run(connection, refresh))
            clock.sleep(min(_POLL, max(deadline - clock.elapsed(), _SHORTEST_POLL)))
        _is_only_run(connection, refresh)


def _is_only_run(connection: psycopg.Connection, refresh: RefreshRef) -> bool:
    """Return whether no other run of the refresh is active or waiting; until this session ends, only this run gets True."""
    key = crc32(f"{refresh.namespace}/{refresh.name}".encode()) - 2**31
    return _try_lock(connection, REFRESH_NAMESPACE, key)


@contextmanager
def keepalive(connection: psycopg.Connection, on_lost: Callable[[], None]) -> Iterator[None]:
    """Query the lock's connection regularly inside the block, and call `on_lost` once if it is lost."""
    done = threading.Event()

    def ping() -> None:
        while not done.wait(_PING):
            try:
                connection.execute("select 1")
            except psycopg.Error:
                if not done.is_set() and connection.closed:
                    on_lost()
                    return

    thread = threading.Thread(target=ping, name="lock-keepalive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _try_lock(connection: psycopg.Connection, namespace: int, key: int) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s::integer, %s::integer)", (namespace, key)).fetchone()
    return bool(row and row[0])


def _held(message: str, policy: LockPolicy) -> Failure:
    hint = "the next scheduled run tries again"
    return Failure(Reason.LOCK_HELD, message, hint=hint, skips_run=policy is not LockPolicy.FAIL)
