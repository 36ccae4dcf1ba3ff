"""Keeps dead rows during a run, for readers on a standby without hot_standby_feedback.

Rows that a run replaces, and catalog rows that dbt replaces, are pruned by the next session that reads their page on the primary. A standby
that replays this cancels its queries, or lags while it waits for them. An open snapshot on the primary prevents this, as
hot_standby_feedback would, and at the same price: dead rows in the whole database are kept for as long.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from typing import Final

import psycopg

from refresh_api.spec import Vacuum
from refresh_runner.postgres.connection import WarehouseConnection, first_line
from refresh_runner.postgres.older_snapshots import SNAPSHOT_SUFFIX
from refresh_runner.postgres.standbys import attached_standbys, deferring_standbys, standby_names

log = logging.getLogger(__name__)

_INTERVAL: Final = 0.5
"""Seconds between two checks for a session that waits for the snapshot to end."""
_CLOSE_TIMEOUT: Final = 5.0
_BEGIN: Final = "begin isolation level repeatable read read only; select"
# CREATE INDEX CONCURRENTLY and similar commands wait for every older snapshot of the database.
_BLOCKS_OTHERS: Final = """
    select from pg_locks own join pg_locks other on other.virtualxid = own.virtualxid and not other.granted
    where own.pid = pg_backend_pid() and own.locktype = 'virtualxid' and other.locktype = 'virtualxid' limit 1"""


class SnapshotHolder:
    """An open snapshot, from `acquire` to `release`, if a standby needs one. It is renewed if another session waits for it to end."""

    def __init__(self, warehouse: WarehouseConnection, vacuum: Vacuum) -> None:
        self._warehouse = warehouse
        self._vacuum = vacuum
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def acquire(self) -> None:
        """Open the snapshot if a standby needs it. If PostgreSQL rejects this, log a warning; the run continues."""
        try:
            because = deferring_standbys(attached_standbys(self._warehouse.connect()), self._vacuum)
            if because is None:
                return
            connection = self._warehouse.new_connection(SNAPSHOT_SUFFIX.strip(" ()"))
            connection.execute(_BEGIN)
        except psycopg.Error as error:
            log.warning("cannot keep dead rows for readers on standbys: %s", first_line(error))
            return
        why = f"{standby_names(because)}: no hot_standby_feedback" if because else f"vacuum: {self._vacuum}"
        log.info("keeping dead rows until the run ends (%s)", why)
        self._keeper = threading.Thread(target=self._keep, args=[connection], name="snapshot", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Close the snapshot."""
        self._over.set()
        if self._keeper:
            self._keeper.join(_CLOSE_TIMEOUT)

    def _keep(self, connection: psycopg.Connection) -> None:
        with closing(connection):
            try:
                while not self._over.wait(_INTERVAL):
                    if connection.execute(_BLOCKS_OTHERS).fetchone() is not None:
                        connection.execute("commit")
                        connection.execute(_BEGIN)
            except psycopg.Error as error:
                log.warning("no longer keeping dead rows for readers on standbys: %s", first_line(error))
