"""Who keeps a relation locked, as the warehouse's user may see it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from refresh_runner.catalog import Relation
from refresh_runner.obstacles import held_by_others
from support.runs import Bench

MART = Relation("dwh_marts", "mart_a")
ROLE = "sans-droits"


@pytest.fixture
def modest(bench: Bench) -> Iterator[psycopg.Connection]:
    """A session of a role that may see nothing of what others do."""
    bench.database.run(
        f"""create schema dwh_marts; create table dwh_marts.mart_a (id integer); create role "{ROLE}" login;
        grant usage on schema dwh_marts to "{ROLE}" """
    )
    with psycopg.connect(bench.database.dsn, autocommit=True) as connection:
        connection.execute(f'set session authorization "{ROLE}"'.encode())
        yield connection
    bench.database.run(f'drop schema dwh_marts cascade; drop role "{ROLE}"')


def test_who_reads_a_mart_is_named(bench: Bench, modest: psycopg.Connection):
    """Number, user and name of the session are anybody's to see; what it does is not. Nobody is named once it has ended."""
    with psycopg.connect(bench.database.dsn, autocommit=True) as us, psycopg.connect(bench.database.dsn, application_name="bi") as reader:
        assert held_by_others(us, [MART]) == ""
        reader.execute("select from dwh_marts.mart_a")
        pid, user = reader.info.backend_pid, reader.info.user
        assert held_by_others(modest, [MART]) == f"dwh_marts.mart_a, held by session {pid} ({user}, bi)"
        told = held_by_others(us, [Relation("dwh_marts", "not there"), MART])
        assert told.startswith(f"dwh_marts.mart_a, held by session {pid} ({user}, bi), idle in transaction, in a transaction since 20")
        reader.rollback()
        assert held_by_others(us, [MART]) == ""
