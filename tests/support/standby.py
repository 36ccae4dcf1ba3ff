"""A streaming hot standby of an embedded PostgreSQL, which serves what it has replayed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from refresh_examples.embedded import Access, EmbeddedPostgres, remove
from refresh_examples.unprivileged import account_for
from support.eventually import eventually
from support.postgres import start_server
from support.postgres_builds import Build

PRIMARY = {"wal_level": "replica", "max_wal_senders": "10", "max_replication_slots": "10", "hot_standby": "on"}
"""Settings of a server that standbys can follow."""


@dataclass(frozen=True)
class Pair:
    """A server and the standby that follows it."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    def connect(self) -> psycopg.Connection:
        """Return a session on the primary in autocommit mode; the caller closes it."""
        return psycopg.connect(self.primary.dsn, autocommit=True)

    def read(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Return all rows of a query on the standby."""
        with psycopg.connect(self.standby.dsn_of(database), autocommit=True) as connection:
            return list(connection.execute(query.encode()).fetchall())

    def caught_up(self, within: float = 60) -> None:
        """Wait until the standby has replayed everything written on the primary so far."""
        with self.connect() as connection:
            (position,) = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone() or ("0/0",)
        eventually(lambda: self.read(f"select pg_last_wal_replay_lsn() >= '{position}'") == [(True,)], within, every=0.02)

    def let(self, **settings: str) -> None:
        """Change settings of the standby and reload its configuration."""
        with psycopg.connect(self.standby.dsn, autocommit=True) as connection:
            for name, value in settings.items():
                connection.execute(f"alter system set {name} = '{value}'".encode())
            connection.execute("select pg_reload_conf()")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause replay on the standby while the block runs; it still receives WAL."""
        self.read("select pg_wal_replay_pause()")
        eventually(lambda: self.read("select pg_get_wal_replay_pause_state()") == [("paused",)], 10)
        try:
            yield
        finally:
            self.read("select pg_wal_replay_resume()")


@contextmanager
def follow(
    primary: EmbeddedPostgres, folder: Path, settings: Mapping[str, str] | None = None, slot: str = ""
) -> Iterator[EmbeddedPostgres]:
    """Create a standby of a server or of another standby with pg_basebackup, with a replication slot if one is named."""
    standby = EmbeddedPostgres(folder.absolute(), primary.access, settings={**PRIMARY, **(settings or {})}, programs=primary.programs)
    arguments = ["--pgdata", str(standby.data), "--checkpoint=fast", "--no-sync", "--wal-method=stream"]
    primary.run_beside("pg_basebackup", *arguments, *(["--create-slot", "--slot", slot] if slot else []))
    # Not by --write-recovery-conf: newer clients write options that an older server does not know.
    signal, conninfo = standby.data / "standby.signal", make_conninfo(primary.dsn_of("postgres"), application_name=folder.name)
    signal.touch()
    account_for(os.geteuid()).give(signal)
    settings_file = standby.data / "postgresql.auto.conf"
    quoted = conninfo.replace("'", "''")
    slot_name = f"primary_slot_name = '{slot}'\n" if slot else ""
    settings_file.write_text(f"{settings_file.read_text()}primary_conninfo = '{quoted}'\n{slot_name}")
    standby.start_again()
    try:
        yield standby
    finally:
        standby.stop("immediate")
        remove(folder)


@contextmanager
def pair(
    folder: Path,
    slot: str = "",
    settings: Mapping[str, str] | None = None,
    primary_settings: Mapping[str, str] | None = None,
    build: Build | None = None,
) -> Iterator[Pair]:
    """Start a server and its standby `replica` in a folder; `settings` are the standby's."""
    access = Access(password="kept-on-this-machine")
    with (
        start_server(folder / "primary", access, {**PRIMARY, **(primary_settings or {})}, build=build) as primary,
        follow(primary, folder / "replica", settings, slot) as standby,
    ):
        yield Pair(primary, standby)
    remove(folder / "primary")
