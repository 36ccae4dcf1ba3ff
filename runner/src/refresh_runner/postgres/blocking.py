"""Finds what blocks a run in the warehouse: another session that holds a lock for which a session of the run waits.

PostgreSQL's own error only says that a lock was not available, and comes too late to find the holder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, LiteralString, Self

import psycopg

from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection

log = logging.getLogger(__name__)

_INTERVAL: Final = 5.0
"""Seconds between two polls, and before the first one, so that a short run is not polled at all."""

HELD_BY: Final = "held by"
"""Part of every text that names a holder."""
# Holders come before sessions that are queued themselves. A prepared transaction holds its locks without a session: its pid is 0.
_BLOCKERS: Final = """
    select wanted.relation::regclass::text, blocking.pid, wanted.transactionid::text
    from pg_stat_activity waiting
    join pg_locks wanted on wanted.pid = waiting.pid and not wanted.granted
    cross join lateral unnest(pg_blocking_pids(waiting.pid)) blocking(pid)
    left join pg_stat_activity holder on holder.pid = blocking.pid
    where waiting.application_name = %s and waiting.datname = current_database() and waiting.usename = session_user
        and holder.application_name is distinct from waiting.application_name and (blocking.pid = 0 or holder.pid is not null)
    order by exists (select from pg_locks queued where queued.pid = holder.pid and not queued.granted), holder.xact_start limit 1"""
_HOLDERS: Final = """
    select held.relation::regclass::text, coalesce(held.pid, 0), null
    from unnest(%s::text[]) wanted(name)
    join pg_locks held on held.relation = to_regclass(wanted.name) and held.granted and held.pid is distinct from pg_backend_pid()
        and held.database = (select oid from pg_database where datname = current_database())
    left join pg_stat_activity holder on holder.pid = held.pid
    where held.pid is null or holder.pid is not null
    order by holder.xact_start limit 1"""
# Everybody sees the pid and names of other sessions; only members of pg_read_all_stats see what these do.
_SESSION: Final = """
    select concat_ws(', ', coalesce(usename::text, backend_type, 'PostgreSQL'), nullif(application_name, '')),
        concat_ws(', ', state, to_char(xact_start at time zone 'UTC', '"in a transaction since" YYYY-MM-DD HH24:MI:SS "UTC"'))
    from pg_stat_activity where pid = %s"""
_PREPARED: Final = """
    select quote_literal(gid), owner::text, to_char(prepared at time zone 'UTC', '"prepared at" YYYY-MM-DD HH24:MI:SS "UTC"')
    from pg_prepared_xacts
    join pg_locks own on own.transactionid = pg_prepared_xacts.transaction and own.pid is null
    join pg_locks held on held.virtualtransaction = own.virtualtransaction and held.pid is null and held.granted
    where pg_prepared_xacts.database = current_database()
        and (held.relation = to_regclass(%s) or pg_prepared_xacts.transaction::text = %s)
    order by prepared limit 1"""


@dataclass(frozen=True)
class Blocker:
    """The holder of a lock for which the run waits. Blockers are equal if holder and lock are equal, whatever the holder is doing."""

    lock: str
    holder: str
    """A session's pid, or a prepared transaction's name."""
    text: str = field(compare=False)
    """The description in messages."""


def find_blocker(connection: psycopg.Connection, relations: Sequence[Relation]) -> str:
    """Return the holder of any lock on one of the relations, as text; empty if there is no visible one."""
    found = _query(connection, _HOLDERS, [relation.sql.as_string(connection) for relation in relations])
    return found.text if found else ""


class LockMonitor:
    """Polls, while entered, for a blocker of the run. `notify` gets a message about it, and an empty one once it is gone."""

    def __init__(self, warehouse: WarehouseConnection, notify: Callable[[str], None]) -> None:
        self.last_blocker = ""
        """The last blocker of the current step; empty if there was none."""
        self._found: Blocker | None = None
        """Found by the last poll. Publishing requests its locks repeatedly, so that a poll may fall between two requests."""
        self._notified: Blocker | None = None
        self._warehouse = warehouse
        self._notify = notify
        self._over = threading.Event()

    @property
    def current_blocker(self) -> str:
        """The current blocker of the run; empty if there is none."""
        return self._notified.text if self._notified else ""

    def reset(self) -> None:
        """Forget earlier blockers, because a new step begins."""
        self.last_blocker, self._found, self._notified = "", None, None

    def __enter__(self) -> Self:
        threading.Thread(target=self._poll, name="lock-monitor", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()

    def _poll(self) -> None:
        while not self._over.wait(_INTERVAL):
            try:
                # Closed after each poll: connections may be few, and dbt needs them.
                with closing(self._warehouse.new_connection("watch")) as connection:
                    found = _query(connection, _BLOCKERS, self._warehouse.application_name)
            except psycopg.Error as error:
                log.debug("cannot query what blocks the run: %s", error)
            else:
                if not self._over.is_set():
                    self._update(found)

    def _update(self, found: Blocker | None) -> None:
        blocker, self._found = found or self._found, found
        if blocker == self._notified:
            return
        self._notified = blocker
        if blocker and blocker.text != self.last_blocker:
            log.warning("waiting for %s", blocker.text)
        self.last_blocker = self.current_blocker or self.last_blocker
        self._notify(self.current_blocker and f"waiting for {self.current_blocker}")


def _query(connection: psycopg.Connection, query: LiteralString, parameter: object) -> Blocker | None:
    found = connection.execute(query, [parameter]).fetchone()
    if found is None:
        return None
    relation, pid, transaction = found
    lock = relation or "a lock"
    holder, about = _session(connection, pid) if pid else _prepared(connection, relation, transaction)
    return Blocker(lock, holder, f"{lock}, {HELD_BY} {holder}{about}")


def _session(connection: psycopg.Connection, pid: int) -> tuple[str, str]:
    who, activity = connection.execute(_SESSION, [pid]).fetchone() or ("ended", "")
    return f"session {pid}", f" ({who})" + (f", {activity}" if activity else "")


def _prepared(connection: psycopg.Connection, relation: str | None, transaction: str | None) -> tuple[str, str]:
    name, owner, since = connection.execute(_PREPARED, [relation, transaction]).fetchone() or ("", "", "")
    return (f"prepared transaction {name}", f" ({owner}), {since}") if name else ("a prepared transaction", "")
