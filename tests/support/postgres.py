"""Fixtures with a real PostgreSQL: one server per session, one database per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from refresh_examples.embedded import Access, EmbeddedPostgres, remove
from support import postgres_builds


@dataclass(frozen=True)
class Database:
    """One database of the session's server."""

    server: EmbeddedPostgres
    name: str

    @property
    def dsn(self) -> str:
        """Return the connection string, password included."""
        return self.server.dsn_of(self.name)

    @property
    def env(self) -> dict[str, str]:
        """Return libpq's environment variables for this database."""
        return {**self.server.env, "PGDATABASE": self.name}

    @property
    def secret(self) -> dict[str, str]:
        """Return the keys of a Secret for this database."""
        keys = ("host", "port", "user", "password")
        return {**{key: self.env[f"PG{key.upper()}"] for key in keys}, "dbname": self.name}

    def connect(self) -> psycopg.Connection:
        """Return a new connection in autocommit mode; the caller closes it."""
        return psycopg.connect(self.dsn, autocommit=True)

    def run(self, statement: str) -> None:
        """Execute SQL text of one or more statements."""
        with self.connect() as connection:
            connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return all rows of a query."""
        with self.connect() as connection:
            return list(connection.execute(query.encode()).fetchall())

    def settle(self) -> None:
        """Wait until PostgreSQL's counters have what was written. Before version 15, another process counts, every half a second."""
        with self.connect() as connection:
            if connection.info.server_version < 150_000:
                connection.execute("select pg_sleep(1.2)")


def start_server(
    folder: Path, access: Access | None = None, settings: Mapping[str, str] | None = None, *, build: postgres_builds.Build | None = None
) -> EmbeddedPostgres:
    """Start a server of a build. Defaults to the one that REFRESH_POSTGRES names."""
    programs = postgres_builds.programs(build or postgres_builds.chosen())
    return EmbeddedPostgres.start(folder, access, settings=settings, programs=programs)


def create_database(server: EmbeddedPostgres, name: str, template: str = "template0") -> Database:
    """Create a database as a copy of the template."""
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return Database(server, name)


def drop_database(database: Database) -> None:
    """Drop a database and disconnect its sessions."""
    with psycopg.connect(database.server.dsn_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database.name)))


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's server; its password has the characters that break badly quoted connection strings."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    with start_server(folder, Access(password="p%40:/'\"$")) as server:
        yield server
    remove(folder)


@pytest.fixture
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database for this test."""
    database = create_database(postgres, f"essai_{next(_numbers)}")
    yield database
    drop_database(database)
