"""One writer a warehouse: a session advisory lock in PostgreSQL, which excludes pods, laptops and other clusters alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from zlib import crc32

import psycopg

from refresh_api.run_request import RefreshRef
from refresh_api.spec import OnHeld
from refresh_api.status import Reason
from refresh_api.values import duration_text
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.postgres.connection import WarehouseConnection

NAMESPACE: Final = 0x53494754
"""First key of the lock; others that use advisory locks in this database choose their own."""
WAREHOUSE_KEY: Final = 1
REFRESH_NAMESPACE: Final = NAMESPACE + 1
"""First key of the locks by which runs of one refresh know of each other; the second one is made from its name."""
_POLL: Final = 1.0
_SHORTEST_POLL: Final = 0.1
_PING: Final = 5.0
"""Seconds between signs of life on the lock's connection."""


def current_holder(connection: psycopg.Connection) -> str | None:
    """Return who holds the warehouse, by the name of its session; None if nobody does, or nobody that can be seen."""
    row = connection.execute(
        "select a.application_name from pg_locks l join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s"
        " and l.database = (select oid from pg_database where datname = current_database())",
        (NAMESPACE, WAREHOUSE_KEY),
    ).fetchone()
    return str(row[0]) if row and row[0] else None


def try_acquire(connection: psycopg.Connection) -> bool:
    """Try once to hold the warehouse by this connection; return whether it does."""
    return _try(connection, NAMESPACE, WAREHOUSE_KEY)


def acquire(
    warehouse: WarehouseConnection,
    refresh: RefreshRef,
    clock: Clock,
    on_wait: Callable[[str, bool], None],
    *,
    on_held: OnHeld,
    wait: timedelta,
) -> None:
    """The warehouse is ours afterwards; else RunFailedError with LockHeld, which gives way unless `on_held` is Fail.

    Where `on_held` is Wait, at most `wait` is waited for it.

    `waiting` is told for whom we wait, and whether no other run of this refresh is there: then the status may show that we wait.
    """
    deadline = clock.elapsed() + wait.total_seconds()
    told = ""
    with warehouse.session() as connection:
        while not try_acquire(connection):
            held_by = current_holder(connection) or "another session"
            if held_by == warehouse.application_name:
                # An earlier attempt of this very run, whose pod died without its session: the newer attempt goes on.
                warehouse.terminate_own_sessions()
            elif on_held is not OnHeld.WAIT:
                raise RunFailedError(_held(f"{held_by} holds the warehouse", on_held))
            elif clock.elapsed() >= deadline:
                raise RunFailedError(_held(f"{held_by} held the warehouse for more than {duration_text(wait)}", on_held))
            elif told != held_by:
                told = held_by
                on_wait(f"waiting for {held_by}, which holds the warehouse", _is_alone(connection, refresh))
            clock.sleep(min(_POLL, max(deadline - clock.elapsed(), _SHORTEST_POLL)))
        _is_alone(connection, refresh)


def _is_alone(connection: psycopg.Connection, refresh: RefreshRef) -> bool:
    """Return whether no other run of the refresh is at work or waits here; until this session ends, none is alone but it."""
    key = crc32(f"{refresh.namespace}/{refresh.name}".encode()) - 2**31
    return _try(connection, REFRESH_NAMESPACE, key)


@contextmanager
def keepalive(connection: psycopg.Connection, lost: Callable[[], None]) -> Iterator[None]:
    """Notice while inside when the lock's connection is gone, also while nobody uses it: then call `lost` once."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(_PING):
            try:
                connection.execute("select 1")
            except psycopg.Error:
                if not done.is_set() and connection.closed:
                    lost()
                    return

    thread = threading.Thread(target=keep, name="lock-keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _try(connection: psycopg.Connection, namespace: int, key: int) -> bool:
    row = connection.execute("select pg_try_advisory_lock(%s::integer, %s::integer)", (namespace, key)).fetchone()
    return bool(row and row[0])


def _held(message: str, on_held: OnHeld) -> Failure:
    return Failure(Reason.LOCK_HELD, message, hint="the next run finds the warehouse free", skips_run=on_held is not OnHeld.FAIL)
