"""What holds a run up in the warehouse: a session of somebody else that has locked what one of the run's own waits for.

PostgreSQL itself only says that a lock was not to be had, once it is too late to look for who has it.
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

_EVERY: Final = 5.0
"""Seconds between two looks, and until the first one: a run that takes no longer pays nothing."""

HELD_BY: Final = "held by"
"""Stands in every text that names somebody."""
# Who holds it comes before who only stands in the queue. A transaction that was prepared, and neither committed nor rolled back since,
# holds its locks without a session: PostgreSQL calls it session 0.
_WAITED_FOR: Final = """
    select wanted.relation::regclass::text, blocking.pid, wanted.transactionid::text
    from pg_stat_activity waiting
    join pg_locks wanted on wanted.pid = waiting.pid and not wanted.granted
    cross join lateral unnest(pg_blocking_pids(waiting.pid)) blocking(pid)
    left join pg_stat_activity holder on holder.pid = blocking.pid
    where waiting.application_name = %s and waiting.datname = current_database() and waiting.usename = session_user
        and holder.application_name is distinct from waiting.application_name and (blocking.pid = 0 or holder.pid is not null)
    order by exists (select from pg_locks queued where queued.pid = holder.pid and not queued.granted), holder.xact_start limit 1"""
_READ: Final = """
    select held.relation::regclass::text, coalesce(held.pid, 0), null
    from unnest(%s::text[]) wanted(name)
    join pg_locks held on held.relation = to_regclass(wanted.name) and held.granted and held.pid is distinct from pg_backend_pid()
        and held.database = (select oid from pg_database where datname = current_database())
    left join pg_stat_activity holder on holder.pid = held.pid
    where held.pid is null or holder.pid is not null
    order by holder.xact_start limit 1"""
# What others do is shown to members of pg_read_all_stats alone; their number and name are, to everybody.
_WHO: Final = """
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
    """What is in the way; equal to another one if it is the same holder with the same lock, whatever it does by then."""

    lock: str
    holder: str
    """A session by its number, or a prepared transaction by its name."""
    text: str = field(compare=False)
    """For people."""


def find_blocker(connection: psycopg.Connection, relations: Sequence[Relation]) -> str:
    """Say who has locked one of the relations, if only by reading it; empty if nobody has, or nobody can be seen."""
    found = _asked(connection, _READ, [relation.sql.as_string(connection) for relation in relations])
    return found.text if found else ""


class LockMonitor:
    """Looks, while inside, for what holds a run up; `tell` hears of it, and an empty text once it is out of the way."""

    def __init__(self, warehouse: WarehouseConnection, tell: Callable[[str], None]) -> None:
        self.last_blocker = ""
        """What has held the step up: what it waited for, and whose that is; empty if nobody was in its way."""
        self._found: Blocker | None = None
        """By the last look: publishing asks for its locks again and again, and may be between two tries at the next one."""
        self._told: Blocker | None = None
        self._warehouse = warehouse
        self._tell = tell
        self._over = threading.Event()

    @property
    def current_blocker(self) -> str:
        """The same as `last`, as long as it is in the way."""
        return self._told.text if self._told else ""

    def reset(self) -> None:
        """Nobody is in its way yet."""
        self.last_blocker, self._found, self._told = "", None, None

    def __enter__(self) -> Self:
        threading.Thread(target=self._look, name="watch", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                # No longer than the look: connections may be few, and dbt needs them.
                with closing(self._warehouse.new_connection("watch")) as connection:
                    found = _asked(connection, _WAITED_FOR, self._warehouse.application_name)
            except psycopg.Error as error:
                log.debug("who holds the run up can't be asked: %s", error)
            else:
                if not self._over.is_set():
                    self._note(found)

    def _note(self, found: Blocker | None) -> None:
        obstacle, self._found = found or self._found, found
        if obstacle == self._told:
            return
        self._told = obstacle
        if obstacle and obstacle.text != self.last_blocker:
            log.warning("waits for %s", obstacle.text)
        self.last_blocker = self.current_blocker or self.last_blocker
        self._tell(self.current_blocker and f"waits for {self.current_blocker}")


def _asked(connection: psycopg.Connection, query: LiteralString, wanted: object) -> Blocker | None:
    found = connection.execute(query, [wanted]).fetchone()
    if found is None:
        return None
    relation, pid, transaction = found
    lock = relation or "a lock"
    holder, about = _session(connection, pid) if pid else _prepared(connection, relation, transaction)
    return Blocker(lock, holder, f"{lock}, {HELD_BY} {holder}{about}")


def _session(connection: psycopg.Connection, pid: int) -> tuple[str, str]:
    who, does = connection.execute(_WHO, [pid]).fetchone() or ("gone since", "")
    return f"session {pid}", f" ({who})" + (f", {does}" if does else "")


def _prepared(connection: psycopg.Connection, relation: str | None, transaction: str | None) -> tuple[str, str]:
    name, owner, since = connection.execute(_PREPARED, [relation, transaction]).fetchone() or ("", "", "")
    return (f"prepared transaction {name}", f" ({owner}), {since}") if name else ("a prepared transaction", "")
