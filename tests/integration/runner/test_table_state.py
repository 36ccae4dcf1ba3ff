"""What the transactions of a table's rows show: whether rows are new, and who has written them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.data_version import TableState
from refresh_runner.postgres.table_state import Moment, identify, snapshot, table_state, written_when_created
from support.postgres import Database, create_database, drop_database

TABLE = Relation("public", "lignes")
EPOCH = 1 << 32


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database of these tests."""
    database = create_database(postgres, "table_state")
    yield database
    drop_database(database)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to the database, with a table of three rows by one transaction."""
    database.run("drop table if exists lignes; create table lignes as select n as id from generate_series(1, 3) n")
    with database.connect() as connection:
        yield connection


def state(connection: psycopg.Connection, before: TableState | None, moment: Moment | None = None) -> tuple[TableState, str]:
    """Return the state of the table and its change."""
    with snapshot(connection, timedelta(minutes=1)) as now:
        return table_state(connection, TABLE, identify(connection, TABLE), moment or now, before, with_counter=False)


def author(connection: psycopg.Connection, id_: int) -> int:
    """Return the transaction that wrote a row."""
    row = connection.execute("select xmin::text::bigint from lignes where id = %s", [id_]).fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
def test_rows_of_known_transactions_are_not_new(connection: psycopg.Connection, others: int) -> None:
    """However many are known. The control: a row of another transaction is new, and its author is told."""
    first = author(connection, 1)
    known = TableState(storage_id="", row_count=3, xmin=first, xids=[first, *range(first + 10_000, first + 10_000 + others)])
    with snapshot(connection, timedelta(minutes=1)) as moment:
        known.storage_id = identify(connection, TABLE).storage_id
    held = replace(moment, xmin=first)  # as if a transaction had been open since then
    found, change = state(connection, known, held)
    assert change == ""
    assert first in found.xids
    connection.execute("insert into lignes values (4)")
    held = replace(held, next_xid=author(connection, 4) + 1)
    found, change = state(connection, known, held)
    assert "has 1 new rows" in change
    assert {first, author(connection, 4)} <= set(found.xids)


def test_a_transaction_with_the_same_last_bits_is_another_one(connection: psycopg.Connection) -> None:
    """After four thousand million transactions, PostgreSQL counts from the beginning. The control: before that, the rows are known."""
    first = author(connection, 1)
    with snapshot(connection, timedelta(minutes=1)) as moment:
        storage = identify(connection, TABLE).storage_id
    known = TableState(storage_id=storage, row_count=3, xmin=first, xids=[first])
    assert state(connection, known, moment)[1] == ""
    later = Moment(moment.next_xid + EPOCH, moment.xmin + EPOCH)
    assert "has 3 new rows" in state(connection, known, later)[1]


def test_only_the_transaction_that_created_a_table_has_filled_it(connection: psycopg.Connection) -> None:
    """Its state is that which a comparison of the order of transactions gives; None if others have written one row, or all."""

    def found() -> TableState | None:
        with snapshot(connection, timedelta(minutes=1)) as moment:
            return written_when_created(connection, TABLE, identify(connection, TABLE), moment)

    assert found() == state(connection, None)[0]
    for statement in ("insert into lignes values (4)", "update lignes set id = id"):
        connection.execute(statement.encode())
        assert found() is None
    connection.execute("truncate lignes")
    empty = found()
    assert empty is not None
    assert empty.row_count == 0
