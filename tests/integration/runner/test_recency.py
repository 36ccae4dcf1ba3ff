"""The age of a mart's newest record, for every value that PostgreSQL accepts as a date: it only warns, in the refresh's time zone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest

from refresh_api.status import Verdict
from refresh_api.steps import Recency
from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.model.steps import MartCheck
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.validation.checks import MartCounts, mart_status
from refresh_runner.validation.counting import count
from support.postgres import create_database, drop_database
from support.runner_harness import warehouse_connection

AS_OF = date(2026, 6, 30)
CHECK = MartCheck("marts", "m", key_columns=("id",), time_zone="Europe/Paris")


_TABLE = """
    create schema marts;
    create domain marts.moment as timestamptz;
    create table marts.m (
        id int, moment timestamptz, of_domain marts.moment, local timestamp, day date, written text, short varchar(40),
        endless timestamptz, endless_day date, beginning timestamp, caesar date, caesar_moment timestamptz, far timestamptz,
        farther date, nothing timestamptz, flag boolean, number numeric, words text, several date[], document jsonb
    );
    insert into marts.m (id, words, flag, number, several, document) values (1, 'pas une date', true, 7, '{2026-06-30,2026-01-01}', '{}');
    insert into marts.m values (
        2, '2026-06-29 23:30+00', '2026-06-29 23:30+00', '2026-06-29 23:30', '2026-06-29', '2026-06-29 23:30+00', '2026-06-29',
        'infinity', 'infinity', '-infinity', '0044-03-15 BC', '0044-03-15 12:00+00 BC', '12025-01-02 00:00+00', '5000000-01-02'
    );
"""


@pytest.fixture(scope="module")
def warehouse(postgres: EmbeddedPostgres) -> Iterator[WarehouseConnection]:
    """The runner's connection to a server with another time zone and DateStyle. The mart has a column for each kind of date."""
    database = create_database(postgres, "nouveautes")
    database.run(_TABLE)
    database.run("alter database nouveautes set timezone = 'America/Los_Angeles'")
    database.run("alter database nouveautes set datestyle = 'German'")
    with warehouse_connection(database.env) as ours:
        yield ours
    drop_database(database)


def counts(warehouse: WarehouseConnection, column: str, zone: str = "Europe/Paris") -> tuple[MartCheck, MartCounts]:
    check = replace(CHECK, recency=Recency(column=column, max_age_days=0), time_zone=zone)
    return check, count(warehouse, check, timedelta(seconds=10))


@pytest.mark.parametrize(
    ("column", "newest", "message"),
    [
        ("moment", "2026-06-30", None),
        ("of_domain", "2026-06-30", None),
        ("local", "2026-06-29", "its newest local is 2026-06-29, 1 days before 2026-06-30"),
        ("day", "2026-06-29", "its newest day is 2026-06-29, 1 days before 2026-06-30"),
        ("written", "2026-06-29", "its newest written is 2026-06-29, 1 days before 2026-06-30"),
        ("short", "2026-06-29", "its newest short is 2026-06-29, 1 days before 2026-06-30"),
        ("endless", "infinity", "its newest endless is infinity, which has no age"),
        ("endless_day", "infinity", "its newest endless_day is infinity, which has no age"),
        ("beginning", "-infinity", "its newest beginning is -infinity, which has no age"),
        ("caesar", "0044-03-15 BC", "its newest caesar is 0044-03-15 BC, 755794 days before 2026-06-30"),
        ("caesar_moment", "0044-03-15 BC", "its newest caesar_moment is 0044-03-15 BC, 755794 days before 2026-06-30"),
        ("far", "12025-01-02", None),
        ("farther", "5000000-01-02", None),
        ("nothing", None, "no row has a nothing"),
        ("flag", None, "flag has a type for which PostgreSQL has no max()"),
        ("document", None, "document has a type for which PostgreSQL has no max()"),
        ("number", None, "the newest number is not a date"),
        ("words", None, "the newest words is not a date"),
        ("several", None, "the newest several is not a date"),
    ],
)
def test_an_odd_newest_value_is_at_most_a_warning(
    warehouse: WarehouseConnection, column: str, newest: str | None, message: str | None
) -> None:
    """The other counts are kept. Python cannot represent the odd dates, so PostgreSQL counts their days."""
    check, found = counts(warehouse, column)
    status = mart_status(check, found, AS_OF)
    assert (found.rows, found.nulls) == (2, {"id": 0})
    assert (status.newest_date, status.message) == (newest, message)
    assert status.verdict is (Verdict.WARNING if message else Verdict.VALID)


def test_dates_are_in_the_time_zone_of_the_refresh(warehouse: WarehouseConnection) -> None:
    """23:30 in Greenwich is the next day in Paris, but not in Los Angeles, where the server is."""
    by_zone = {zone: str(counts(warehouse, "moment", zone)[1].newest) for zone in ("Europe/Paris", "Etc/UTC", "America/Los_Angeles")}
    assert by_zone == {"Europe/Paris": "2026-06-30", "Etc/UTC": "2026-06-29", "America/Los_Angeles": "2026-06-29"}
    check, found = counts(warehouse, "moment", "Mars/Olympus")
    message = "cannot compute the age of moment: PostgreSQL does not know the time zone Mars/Olympus"
    assert mart_status(check, found, AS_OF).message == message


def test_a_missing_column_fails_the_check(warehouse: WarehouseConnection) -> None:
    """The mart is FAILED, as for a missing key column."""
    assert counts(warehouse, "jamais")[1].error == 'column "jamais" does not exist'
