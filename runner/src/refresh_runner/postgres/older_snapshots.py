"""Waits for transactions that would see a swapped mart as empty, because their snapshot is older than its rows.

PostgreSQL resolves a table's name to the current table, but shows its rows as of the snapshot. A REPEATABLE READ transaction that
began before the new table was filled, and first reads it after the swap, sees no rows. Most such transactions end soon.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import psycopg

from refresh_runner.postgres.standbys import Standby, standby_names

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = timedelta(seconds=15)
"""More than the ten seconds between two feedback messages of a standby (wal_receiver_status_interval)."""
_POLL: Final = 0.1
SNAPSHOT_SUFFIX: Final = " (snapshot)"
"""Suffix of the application_name of the snapshot holder, which reads no mart."""
# Every role sees the oldest transaction that each session needs; standbys with hot_standby_feedback, or their slots, show theirs too.
_OLDER: Final = """
    with newest as (
        select min(age(xmin)) as age from pg_class
        where oid = any(%(built)s::oid[]) and xmin is distinct from pg_current_xact_id_if_assigned()::xid
    ),
    holders as (
        select 'session ' || pid as name, backend_xmin as needs from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
            and application_name not like %(own)s
        union all select 'the standby ' || application_name, backend_xmin from pg_stat_replication
        union all select 'the standby at slot ' || slot_name, xmin from pg_replication_slots where active and slot_type = 'physical'
    )
    select name from holders, newest where age(needs) >= newest.age order by 1"""


def wait(connection: psycopg.Connection, built: Sequence[int], limit: timedelta, standbys: Sequence[Standby]) -> None:
    """Wait until no other transaction is older than these tables (pg_class.oid), or for at most `limit`; then log those that are.

    Transactions on a standby without feedback are invisible: with such a standby, this always waits for the whole time.
    """
    if not built:
        return
    hidden = [standby for standby in standbys if not standby.has_feedback]
    # A database may have revoked these views from PUBLIC; then do not wait.
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        ends = time.monotonic() + min(LONGEST_WAIT, limit).total_seconds()
        while (holders := _older(connection, built)) or hidden:
            if time.monotonic() > ends:
                _log(holders, hidden)
                break
            time.sleep(_POLL)


def _log(holders: Sequence[str], hidden: Sequence[Standby]) -> None:
    empty = "a REPEATABLE READ transaction that is older than a swapped mart, and reads it only now, sees it as empty"
    if holders:
        log.warning("older transactions are open on %s: %s", ", ".join(holders), empty)
    if hidden:
        log.info("transactions on %s are not visible without hot_standby_feedback: %s", standby_names(hidden), empty)


def _older(connection: psycopg.Connection, built: Sequence[int]) -> list[str]:
    # Statistics views are otherwise cached until the transaction ends.
    connection.execute("select pg_stat_clear_snapshot()")
    return [str(name) for (name,) in connection.execute(_OLDER, {"built": list(built), "own": f"%{SNAPSHOT_SUFFIX}"})]
