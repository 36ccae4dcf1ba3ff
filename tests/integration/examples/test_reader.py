"""The reader of `make break` counts mixed reads, with marts of two versions, and failed reads."""

import pytest

from reader import Reader
from support.eventually import eventually
from support.postgres import Database

RELATIONS = ("public.mart_a", "public.mart_b")
VERSION = "update dbt_refresh_version set version = '2'"
CHANGES = ("update mart_a set valeur = 2", "update mart_b set valeur = 2")


@pytest.fixture
def marts(fresh_database: Database) -> Database:
    """Two marts of version 1."""
    fresh_database.run(
        "create table dbt_refresh_version as select 'essai' as refresh, '1' as version;"
        "create table mart_a as select 1 as valeur; create table mart_b as select 1 as valeur"
    )
    return fresh_database


def read_on(reader: Reader) -> None:
    """Wait for two more reads, so that the second one began after now."""
    seen = reader.reads
    eventually(lambda: reader.reads >= seen + 2, within=20)


def test_versions_that_are_published_whole_are_no_mixed_reads(marts: Database):
    """Published in one transaction, as our runner does."""
    with Reader(marts.dsn, "essai", RELATIONS) as reader:
        read_on(reader)
        marts.run(f"begin; {'; '.join(CHANGES)}; {VERSION}; commit")
        read_on(reader)
    assert (reader.mixed, len(reader.contents), reader.errors) == (0, 2, 0)


def test_a_mart_that_is_published_before_the_others_is_a_mixed_read(marts: Database):
    """The control: one mart after the other, as dbt does."""
    with Reader(marts.dsn, "essai", RELATIONS) as reader:
        read_on(reader)
        marts.run(CHANGES[0])
        read_on(reader)
    assert reader.mixed > 0


def test_a_read_that_fails_is_counted_and_the_reader_reads_on(marts: Database):
    """All connections are terminated; the reader counts the failure and continues."""
    with Reader(marts.dsn, "essai", RELATIONS) as reader:
        read_on(reader)
        marts.run("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        eventually(lambda: reader.errors > 0, within=20)
        read_on(reader)
    assert reader.mixed == 0
