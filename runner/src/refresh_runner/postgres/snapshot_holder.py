"""Keeps what dies during a run from being removed while the run goes on, for the readers of a standby that does not ask for it itself.

What a run replaces, and what dbt drops and renames in the catalog, is removed within moments by whoever reads that page next on the
primary; a standby then cancels its queries, or falls behind by waiting for them. An open snapshot keeps all of it, as
hot_standby_feedback would, at the price of hot_standby_feedback: dead rows stay that long, in the whole database.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from typing import Final

import psycopg

from refresh_api.spec import Vacuum
from refresh_runner.postgres import sessions
from refresh_runner.postgres.connection import WarehouseConnection, first_line
from refresh_runner.postgres.older_snapshots import SNAPSHOT_SUFFIX
from refresh_runner.postgres.standbys import attached_standbys, deferring_standbys, standby_names

log = logging.getLogger(__name__)

_EVERY: Final = 0.5
"""Seconds between two looks for somebody who waits for the snapshot to end."""
_CLOSES: Final = 5.0
_ENDLESS: Final = {"idle_in_transaction_session_timeout": "0"}
_HAS_TRANSACTION_TIMEOUT: Final = 170000
_TAKE: Final = "begin isolation level repeatable read read only; select"
# CREATE INDEX CONCURRENTLY and its like wait for every older snapshot of the database.
_WANTED: Final = """
    select from pg_locks own join pg_locks other on other.virtualxid = own.virtualxid and not other.granted
    where own.pid = pg_backend_pid() and own.locktype = 'virtualxid' and other.locktype = 'virtualxid' limit 1"""


class SnapshotHolder:
    """Once taken and until released, rows that die are kept where a standby needs it. Whoever waits for it to end is given way to."""

    def __init__(self, warehouse: WarehouseConnection, vacuum: Vacuum) -> None:
        self._warehouse = warehouse
        self._vacuum = vacuum
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def acquire(self) -> None:
        """Keep what dies from now on, if a standby needs it and PostgreSQL lets us: the run goes on all the same."""
        try:
            because = deferring_standbys(attached_standbys(self._warehouse.connect()), self._vacuum)
            if because is None:
                return
            connection = self._warehouse.new_connection(SNAPSHOT_SUFFIX.strip(" ()"))
            endless = _ENDLESS | ({"transaction_timeout": "0"} if connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT else {})
            sessions.set_config(connection, endless)
            connection.execute(_TAKE)
        except psycopg.Error as error:
            log.warning("rows that die during the run can't be kept for the readers of standbys: %s", first_line(error))
            return
        why = f"{standby_names(because)}: no hot_standby_feedback" if because else f"vacuum: {self._vacuum}"
        log.info("rows that die during the run are kept until its end (%s)", why)
        self._keeper = threading.Thread(target=self._keep, args=[connection], name="snapshot", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Keep them no longer."""
        self._over.set()
        if self._keeper:
            self._keeper.join(_CLOSES)

    def _keep(self, connection: psycopg.Connection) -> None:
        with closing(connection):
            try:
                while not self._over.wait(_EVERY):
                    if connection.execute(_WANTED).fetchone() is not None:
                        connection.execute("commit")
                        connection.execute(_TAKE)
            except psycopg.Error as error:
                log.warning("rows that die during the run are no longer kept for the readers of standbys: %s", first_line(error))
