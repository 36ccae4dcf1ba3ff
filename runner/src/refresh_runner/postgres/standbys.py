"""The standbys that stream from the warehouse: whether vacuuming cancels queries on them, and how far each has replayed.

A standby that replays the removal of rows waits up to max_standby_streaming_delay for queries that may still need them, and then
cancels these, whichever tables they read. With hot_standby_feedback it reports what its queries need, and such rows are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.spec import Vacuum
from refresh_runner.postgres.catalog import Relation

log = logging.getLogger(__name__)

MONITORING_ROLE: Final = "pg_read_all_stats"
"""The predefined role whose members see the position of standbys; pg_monitor includes it."""
_SETTLED: Final = timedelta(minutes=5)
"""Few queries need rows that have been dead for longer than this, so a deferred vacuum may remove them."""

# Every role sees attached standbys and their feedback, as the xmin of session or slot. State and positions are NULL without
# pg_read_all_stats. Excluded are subscribers of logical replication, by their slot, and clients that replay nothing (pg_basebackup).
_ATTACHED: Final = """
    select coalesce(nullif(r.application_name, ''), 'of process ' || r.pid),
           r.backend_xmin is not null or s.xmin is not null,
           case when r.replay_lsn >= %(position)s::pg_lsn then 0
                when r.replay_lsn < %(position)s::pg_lsn then pg_wal_lsn_diff(%(position)s::pg_lsn, r.replay_lsn) end
    from pg_stat_replication r left join pg_replication_slots s on s.active_pid = r.pid
    where s.slot_type is distinct from 'logical' and r.state is distinct from 'backup'
      and (r.state is null or r.write_lsn is null or r.replay_lsn is not null)
    order by 1"""
# The runner analyzes a table whenever it changes it.
_WITH_DEAD_ROWS: Final = """
    select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname::text, c.relname::text) in (select * from unnest(%s::text[], %s::text[])) and c.relkind = 'r'
      and pg_stat_get_dead_tuples(c.oid) > 0
      and coalesce(pg_stat_get_last_analyze_time(c.oid), '-infinity') < now() - %s"""


@dataclass(frozen=True)
class Standby:
    """A server that streams WAL from the warehouse and may serve readers."""

    name: str
    """Its application_name."""
    has_feedback: bool
    """Whether hot_standby_feedback is on: then the standby reports which rows its queries need."""
    replay_lag_bytes: int | None = None
    """Bytes up to a given position that it has not yet replayed; None if the role cannot see this, or no position was given."""

    def __str__(self) -> str:
        """Return the standby's name in messages."""
        return f"the standby {self.name}"


def attached_standbys(connection: psycopg.Connection, position: str | None = None) -> list[Standby]:
    """Return the standbys that stream from this server; cascading standbys are not visible here.

    If the role lacks the privilege to read the view, return nothing and log a warning.
    """
    try:
        with connection.transaction():
            rows = connection.execute(_ATTACHED, {"position": position}).fetchall()
    except psycopg.errors.InsufficientPrivilege as error:
        log.info("cannot query the attached standbys: %s", str(error).splitlines()[0])
        return []
    return [Standby(str(name), bool(feedback), None if behind is None else int(behind)) for name, feedback, behind in rows]


def wal_position(connection: psycopg.Connection) -> str:
    """Return the current end of the WAL. A standby that has replayed it has everything that is committed now."""
    row = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    return str(row[0]) if row else "0/0"


def deferring_standbys(standbys: Sequence[Standby], vacuum: Vacuum) -> list[Standby] | None:
    """Return the standbys because of which to defer a vacuum, or None to vacuum now. Pure."""
    without = [standby for standby in standbys if not standby.has_feedback]
    if vacuum is Vacuum.DEFERRED:
        return without
    return without or None if vacuum is Vacuum.AUTO else None


def vacuum_dead_rows(connection: psycopg.Connection, relations: Sequence[Relation], settled: timedelta = _SETTLED) -> None:
    """Vacuum those tables in which all dead rows are older than `settled`: an earlier run deferred their vacuum."""
    places = ([each.schema for each in relations], [each.table for each in relations])
    for schema, table in connection.execute(_WITH_DEAD_ROWS, (*places, settled)).fetchall():
        connection.execute(sql.SQL("vacuum (truncate off, skip_locked) {}").format(Relation(str(schema), str(table)).sql))


def standby_names(standbys: Sequence[Standby]) -> str:
    """Return the list of standbys in messages."""
    return ", ".join(map(str, standbys))
