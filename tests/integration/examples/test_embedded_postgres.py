"""The embedded PostgreSQL starts, stops, restarts on its port and protects its password."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from refresh_examples.embedded import Access, EmbeddedPostgres, EmbeddedPostgresError, remove
from support.postgres import Database


def test_what_was_written_is_there_after_a_restart_on_the_same_port(tmp_path: Path) -> None:
    """A stopped server refuses connections. Once restarted, it responds on the same port with its data."""
    folder = tmp_path / "warehouse"
    with EmbeddedPostgres.start(folder) as server:
        port = server.port
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table t as select 42 as answer")
        server.stop()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(server.dsn)
        server.start_again()
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("select answer from t").fetchone() == (42,)
        assert server.port == port
    remove(folder)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as somebody else")
def test_the_data_stay_where_they_were_made(tmp_path: Path) -> None:
    """Even if the server's account can enter another folder later: it would find nothing there, and begin with an empty database."""
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    with EmbeddedPostgres.start(place / "warehouse") as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table t as select 42 as answer")
        server.stop()
        opened = [folder for folder in (place, *place.parents) if not folder.stat().st_mode & 0o001]
        assert opened
        for folder in opened:
            folder.chmod(folder.stat().st_mode | 0o011)
        try:
            server.start_again()
            with psycopg.connect(server.dsn) as connection:
                assert connection.execute("select answer from t").fetchone() == (42,)
        finally:
            for folder in opened:
                folder.chmod(folder.stat().st_mode & ~0o011)
    remove(place / "warehouse")


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    """Tests of a wrong Secret rely on a server that checks passwords."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn, password="not it")


def test_a_folder_in_use_is_refused_with_the_servers_own_words(tmp_path: Path) -> None:
    """A second server on the same data reports why it cannot start, and the first one continues."""
    folder = tmp_path / "warehouse"
    with EmbeddedPostgres.start(folder) as first:
        with pytest.raises(EmbeddedPostgresError, match="lock file"):
            EmbeddedPostgres.start(folder)
        assert first.pid
    remove(folder)


def test_the_password_is_not_in_the_servers_representation(postgres: EmbeddedPostgres) -> None:
    """The representation of a server in a traceback or log must not reveal its password."""
    assert postgres.access.password not in repr(postgres)


def test_fresh_databases_know_nothing_of_each_other(fresh_database: Database) -> None:
    """Each test has its own empty database on the shared server."""
    assert fresh_database.rows("select count(*) from pg_tables where schemaname = 'public'") == [(0,)]
    fresh_database.run("create table public.mine (a int)")


def test_user_and_database_are_those_asked_for(tmp_path: Path) -> None:
    """Superuser and database have the requested names."""
    access = Access(user="dbt", password="x", database="dwh")
    with EmbeddedPostgres.start(tmp_path / "w", access) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == ("dbt", "dwh")
    remove(tmp_path / "w")
