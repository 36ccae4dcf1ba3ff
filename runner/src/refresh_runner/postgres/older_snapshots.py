"""Transactions that would find a mart empty once another table has taken its place: their snapshot is older than the rows of the new one.

PostgreSQL looks a table up by its name as it is now, and its rows as they were. A REPEATABLE READ transaction that began before the new
table was filled, and reads it only after it is live, sees a table without rows. Most end soon, so that it helps to wait for them.
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
"""More than the ten seconds in which a standby says anew what its queries need (wal_receiver_status_interval)."""
_POLL: Final = 0.1
SNAPSHOT_SUFFIX: Final = " (snapshot)"
"""Ends the application_name of the session that keeps rows for readers, and reads none itself."""
# Sessions show the oldest transaction that they need, to everybody; so do standbys with hot_standby_feedback, or their slots do.
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
    """Return once no other transaction is older than these tables (pg_class.oid), or after `limit`: then the log names who is.

    What a standby without feedback reads is not seen, so that its readers have all of that time.
    """
    if not built:
        return
    hidden = [standby for standby in standbys if not standby.has_feedback]
    # Who may not look, since somebody has taken that from everybody, goes on.
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        ends = time.monotonic() + min(LONGEST_WAIT, limit).total_seconds()
        while (holders := _older(connection, built)) or hidden:
            if time.monotonic() > ends:
                _say(holders, hidden)
                break
            time.sleep(_POLL)


def _say(holders: Sequence[str], hidden: Sequence[Standby]) -> None:
    empty = "a REPEATABLE READ transaction that is older than what takes another table's place, and reads it only now, finds it empty"
    if holders:
        log.warning("older transactions are open on %s: %s", ", ".join(holders), empty)
    if hidden:
        log.info("without hot_standby_feedback, the transactions on %s are not seen: %s", standby_names(hidden), empty)


def _older(connection: psycopg.Connection, built: Sequence[int]) -> list[str]:
    # Or the same would be seen until the transaction ends.
    connection.execute("select pg_stat_clear_snapshot()")
    return [str(name) for (name,) in connection.execute(_OLDER, {"built": list(built), "own": f"%{SNAPSHOT_SUFFIX}"})]
