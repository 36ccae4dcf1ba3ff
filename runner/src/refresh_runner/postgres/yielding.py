"""Lets sessions that only look yield to others: their queries are cancelled as soon as another session waits for a lock that they hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, LiteralString

import psycopg

from refresh_runner.postgres.connection import WarehouseConnection

log = logging.getLogger(__name__)

_INTERVAL: Final = 0.2
"""Seconds between two polls, and so the longest that others wait."""
# Only sessions that wait are examined, because pg_blocking_pids blocks the lock manager for a moment.
_CANCEL: Final[LiteralString] = """
    select count(pg_cancel_backend(ours.pid)) from pg_stat_activity ours
    where ours.usename = session_user and ours.datname = current_database() and starts_with(ours.application_name, %s)
        and ours.pid in (select unnest(pg_blocking_pids(pid)) from pg_locks where not granted)"""


@contextmanager
def yielding(warehouse: WarehouseConnection) -> Iterator[None]:
    """Cancel, inside the block, each query of this application for which another session waits. Such a query fails with QueryCanceled."""
    over = threading.Event()

    def watch() -> None:
        try:
            with closing(warehouse.new_connection("watch")) as connection:
                while not over.wait(_INTERVAL):
                    connection.execute(_CANCEL, [warehouse.application_name])
        except psycopg.Error as error:
            log.warning("cannot tell whether others wait for this session: %s", type(error).__name__)

    watcher = threading.Thread(target=watch, name="yielding", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
