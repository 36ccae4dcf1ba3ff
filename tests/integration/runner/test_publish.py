"""Publishing all marts at once: what is preserved, what readers see, and what is rejected."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.live import publish, vacuum_analyze
from refresh_runner.publish.options import Mart, NotPublishableError, PublishOptions, PublishStrategy
from refresh_runner.publish.rollback import rollback
from support.eventually import eventually
from support.postgres import Database
from support.runner_harness import in_background

A, B = Mart(Relation("marts", "a")), Mart(Relation("marts", "b"))
TERMS = PublishOptions(timedelta(seconds=20), lambda: None)


@pytest.fixture
def holder(fresh_database: Database) -> Iterator[psycopg.Connection]:
    """The connection that publishes, with roles that read, and another team's mart in the same schema."""
    with fresh_database.connect() as connection:
        connection.execute("""
            create schema marts;
            create table marts.theirs as select 1 as id;
            do $$ begin create role lecteur; exception when duplicate_object then null; end $$;
            do $$ begin create role direction; exception when duplicate_object then null; end $$;
        """)
        yield connection


def build(connection: psycopg.Connection, name: str, columns: str = "n as id, 1 as gen", rows: int = 10, keyed: bool = True) -> None:
    """Build a mart in staging, as dbt does."""
    connection.execute(f"""
        create schema if not exists marts__next;
        create table marts__next.{name} as select {columns} from generate_series(1, {rows}) n;
        {f"alter table marts__next.{name} add primary key (id)" if keyed else ""};
        create index on marts__next.{name} (gen);
        comment on table marts__next.{name} is 'Par run';
    """)


def put_live(connection: psycopg.Connection, *marts: Mart, gen: int = 1) -> dict[Mart, PublishStrategy]:
    """Build marts of a version, and publish them."""
    for mart in marts:
        build(connection, mart.relation.table, f"n as id, {gen} as gen")
    live = publish(connection, marts, lambda _live: None, TERMS)
    vacuum_analyze(connection, live)
    return {mart: live[mart.relation].strategy for mart in marts}


def rows(connection: psycopg.Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_the_first_time_the_marts_appear_together(holder: psycopg.Connection) -> None:
    """They have their indexes, comments and statistics, and nothing is left beside them."""
    assert put_live(holder, A, B) == {A: PublishStrategy.CREATE, B: PublishStrategy.CREATE}
    assert rows(holder, "select count(*), (select count(*) from marts.b) from marts.a") == [(10, 10)]
    assert rows(holder, "select reltuples from pg_class where oid = 'marts.a'::regclass") == [(10,)]
    assert len(rows(holder, "select from pg_indexes where schemaname = 'marts' and tablename = 'a'")) == 2
    assert rows(holder, "select relname from pg_class where relnamespace = 'marts__next'::regnamespace") == []
    assert rows(holder, "select id from marts.theirs") == [(1,)]


def test_a_mart_of_the_same_shape_is_changed_by_its_rows_so_that_all_that_hangs_on_it_stays(holder: psycopg.Connection) -> None:
    """Views and materialized views, manual grants, an open reader and the table itself are kept. Only rows that differ are written."""
    put_live(holder, A)
    holder.execute("""
        create view marts.vue as select gen from marts.a;
        create materialized view marts.photo as select gen from marts.a;
        grant select on marts.a to lecteur;
    """)
    before = rows(holder, "select 'marts.a'::regclass::oid")
    build(holder, "a", "n as id, case when n > 8 then 2 else 1 end as gen", rows=11)
    live = publish(holder, [A], lambda _live: None, TERMS)
    # Two changed rows are deleted and inserted, one is new.
    assert (live[A.relation].strategy, live[A.relation].rows, live[A.relation].rows_written) == (PublishStrategy.MERGE, 11, 5)
    assert rows(holder, "select gen, count(*) from marts.vue group by 1 order by 1") == [(1, 8), (2, 3)]
    assert rows(holder, "select 'marts.a'::regclass::oid") == before
    assert rows(holder, "select has_table_privilege('lecteur', 'marts.a', 'select')") == [(True,)]
    assert rows(holder, "select gen, count(*) from marts__previous.a group by 1") == [(1, 10)]


def test_rows_of_every_type_and_doubled_ones_are_equal_afterwards(holder: psycopg.Connection) -> None:
    """Compared as a multiset: JSON, floats, arrays and NULLs have no usual equality."""
    shape = "n % 3 as gen, null::int as id, json_build_object('n', n % 2) as j, array[n % 2] as l, ('NaN'::float8) as f, n % 2 as n"
    build(holder, "a", shape, rows=20, keyed=False)
    publish(holder, [A], lambda _live: None, TERMS)
    build(holder, "a", shape, rows=31, keyed=False)
    holder.execute("create table wanted as table marts__next.a")
    live = publish(holder, [A], lambda _live: None, TERMS)
    assert (live[A.relation].strategy, live[A.relation].rows_written) == (PublishStrategy.MERGE, 11)
    both = "select t::text, count(*) from {} t group by 1 order by 1"
    assert rows(holder, both.format("marts.a")) == rows(holder, both.format("wanted"))


def test_a_mart_of_another_shape_takes_the_place_of_the_old_one(holder: psycopg.Connection) -> None:
    """Views keep their options and read the new table, which gets the manual grants. The old table is kept."""
    put_live(holder, A)
    holder.execute("""
        create view marts.vue with (security_barrier=true) as select id, gen from marts.a;
        create view marts.vue_de_vue as select count(*) as n from marts.vue;
        grant select on marts.a to lecteur; grant select on marts.a to public;
    """)
    build(holder, "a", "n as id, 2 as gen, 'x' as nouveau", rows=7)
    live = publish(holder, [A], lambda _live: None, TERMS)
    assert live[A.relation].strategy is PublishStrategy.SWAP
    assert rows(holder, "select n, (select max(gen) from marts.vue), (select max(nouveau) from marts.a) from marts.vue_de_vue") == [
        (7, 2, "x")
    ]
    assert rows(holder, "select reloptions from pg_class where oid = 'marts.vue'::regclass") == [(["security_barrier=true"],)]
    assert rows(holder, "select has_table_privilege('lecteur', 'marts.a', 'select')") == [(True,)]
    assert rows(holder, "select count(*) from marts__previous.a") == [(10,)]


def test_comments_indexes_and_statistics_are_those_of_what_was_built(holder: psycopg.Connection) -> None:
    """By merging and by swapping. The planner knows the number of rows."""
    put_live(holder, A)
    about = """select obj_description('marts.a'::regclass), col_description('marts.a'::regclass, 1), reltuples,
        (select count(*) from pg_indexes where schemaname = 'marts' and tablename = 'a') from pg_class where oid = 'marts.a'::regclass"""
    assert rows(holder, about) == [("Par run", None, 10, 2)]
    build(holder, "a", "n as id, 2 as gen", rows=20)
    holder.execute("comment on table marts__next.a is 'Autre'; comment on column marts__next.a.id is 'Clef'")
    vacuum_analyze(holder, publish(holder, [A], lambda _live: None, TERMS))
    assert rows(holder, about) == [("Autre", "Clef", 20, 2)]
    build(holder, "a", "n as id, 3 as gen, 'x' as nouveau", rows=30)
    holder.execute("comment on column marts__next.a.id is 'Identifiant'; create index on marts__next.a (nouveau)")
    vacuum_analyze(holder, publish(holder, [A], lambda _live: None, TERMS))
    assert rows(holder, about) == [("Par run", "Identifiant", 30, 3)]


def test_grants_that_the_project_states_are_all_that_there_are(holder: psycopg.Connection) -> None:
    """A role that the project no longer names loses its privilege, even if only rows change."""
    stated = Mart(A.relation, grants_declared=True)
    put_live(holder, stated)
    holder.execute("grant select on marts.a to lecteur")
    build(holder, "a", "n as id, 2 as gen")
    holder.execute("grant select on marts__next.a to direction")
    assert publish(holder, [stated], lambda _live: None, TERMS)[A.relation].strategy is PublishStrategy.MERGE
    assert rows(holder, "select has_table_privilege(r, 'marts.a', 'select') from unnest(array['lecteur', 'direction']) r") == [
        (False,),
        (True,),
    ]


@pytest.mark.parametrize(
    ("attached", "named"),
    [
        ("create materialized view marts.photo as select id from marts.a", "materialized view marts.photo"),
        ("create table marts.enfant (id int references marts.a)", "constraint enfant_id_fkey on table marts.enfant"),
        ("alter table marts.a enable row level security", "row-level security"),
    ],
)
def test_what_cannot_follow_to_another_table_refuses_the_change_of_shape(holder: psycopg.Connection, attached: str, named: str) -> None:
    """Nothing is lost silently: the message names the object, and no mart is changed."""
    put_live(holder, A, B)
    holder.execute(attached.encode())
    build(holder, "a", "n as id, 2 as gen, 'x' as nouveau")
    build(holder, "b", "n as id, 2 as gen")
    with pytest.raises(NotPublishableError, match=f"marts.a changed its columns.*{named}"):
        publish(holder, [A, B], lambda _live: None, TERMS)
    assert rows(holder, "select max(gen), (select max(gen) from marts.b) from marts.a") == [(1, 1)]


def test_a_view_that_reads_a_column_which_is_gone_is_named(holder: psycopg.Connection) -> None:
    """The live mart stays unchanged."""
    put_live(holder, A)
    holder.execute("create view marts.vue as select id, gen from marts.a")
    build(holder, "a", "n as id, 1 as autre, 2 as gen, null as x", rows=3)
    holder.execute("alter table marts__next.a drop column gen")
    with pytest.raises(NotPublishableError, match=r"the view marts.vue reads marts.a .*column .*gen.? does not exist; change or drop"):
        publish(holder, [A], lambda _live: None, TERMS)
    assert rows(holder, "select count(*) from marts.vue") == [(10,)]


def test_a_reader_that_keeps_its_transaction_open_is_waited_for_and_never_ended(
    holder: psycopg.Connection, fresh_database: Database
) -> None:
    """A swap is retried until its deadline. Meanwhile other readers are served."""
    put_live(holder, A)
    build(holder, "a", "n as id, 2 as gen, 'x' as nouveau")
    with fresh_database.connect() as reader, fresh_database.connect() as other:
        reader.execute("begin; select count(*) from marts.a")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            publish(holder, [A], lambda _live: None, PublishOptions(timedelta(seconds=1), lambda: None))
        assert time.monotonic() - began < 5
        assert rows(other, "select max(gen) from marts.a") == [(1,)]
        reader.execute("commit")
    assert publish(holder, [A], lambda _live: None, TERMS)[A.relation].strategy is PublishStrategy.SWAP


@pytest.mark.parametrize(("columns", "seen"), [("n as id, 2 as gen", (10, 1)), ("n as id, 2 as gen, 'x' as nouveau", (0, None))])
def test_what_a_repeatable_read_transaction_sees_that_is_older_than_the_publishing(
    holder: psycopg.Connection, fresh_database: Database, columns: str, seen: tuple[int, int | None]
) -> None:
    """A mart that it reads for the first time has the old version after a merge, and no rows after a swap that stopped waiting for it."""
    put_live(holder, A, B)
    with fresh_database.connect() as reader:
        reader.execute("begin isolation level repeatable read; select count(*) from marts.b")
        build(holder, "a", columns)
        publish(holder, [A], lambda _live: None, PublishOptions(timedelta(seconds=4), lambda: None))
        assert rows(reader, "select count(*), max(gen) from marts.a") == [seen]
        reader.execute("commit")
        assert rows(reader, "select count(*), max(gen) from marts.a") == [(10, 2)]


def test_a_mart_takes_anothers_place_only_once_older_transactions_have_ended(holder: psycopg.Connection, fresh_database: Database) -> None:
    """Otherwise a transaction that reads the mart for the first time would find it empty. The swap does not wait for later sessions."""
    put_live(holder, A, B)
    with fresh_database.connect() as reader, fresh_database.connect() as later:
        reader.execute("begin isolation level repeatable read; select count(*) from marts.b")
        build(holder, "a", "n as id, 2 as gen, 'x' as nouveau")
        later.execute("begin isolation level repeatable read; select count(*) from marts.b")
        with in_background(lambda: publish(holder, [A], lambda _live: None, TERMS)):
            waits = "select from pg_stat_activity where pid <> pg_backend_pid() and query like '%age(needs)%'"
            eventually(lambda: fresh_database.rows(waits), 5)
            assert rows(reader, "select count(*), max(gen) from marts.a") == [(10, 1)]
            reader.execute("commit")
        assert rows(later, "select count(*), max(gen) from marts.a") == [(10, 2)]


def test_a_connection_that_is_gone_publishes_nothing(holder: psycopg.Connection, fresh_database: Database) -> None:
    """The warehouse lock is lost with it, so another run may be active."""
    put_live(holder, A, B)
    for mart in ("a", "b"):
        build(holder, mart, "n as id, 2 as gen")
    pid = rows(holder, "select pg_backend_pid()")[0][0]

    def end_it(_live: object) -> None:
        fresh_database.run(f"select pg_terminate_backend({pid})")

    with pytest.raises(psycopg.OperationalError):
        publish(holder, [A, B], end_it, TERMS)
    assert fresh_database.rows("select max(gen), (select max(gen) from marts.b) from marts.a") == [(1, 1)]


@pytest.mark.parametrize("columns", ["n as id, 3 as gen", "n as id, 3 as gen, 'x' as nouveau"])
def test_a_run_that_publishes_again_keeps_what_was_live_before_it(holder: psycopg.Connection, columns: str) -> None:
    """By merging and by swapping: its own first publish is not the version for a rollback. The control: without the option, it is."""
    put_live(holder, A, gen=1)
    put_live(holder, A, gen=2)
    holder.execute("create view marts.vue as select gen from marts.a")
    build(holder, "a", columns)
    publish(holder, [A], lambda _live: None, replace(TERMS, republish=frozenset({A.relation})))
    assert rows(holder, "select max(a.gen), (select max(gen) from marts.vue), (select max(gen) from marts__previous.a) from marts.a a") == [
        (3, 3, 1)
    ]
    assert rows(holder, "select nspname from pg_namespace where nspname like '%\\_\\_replaced'") == []
    build(holder, "a", columns)
    publish(holder, [A], lambda _live: None, TERMS)
    assert rows(holder, "select max(gen) from marts__previous.a") == [(3,)]


def test_the_previous_generation_is_put_back_whole(holder: psycopg.Connection) -> None:
    """The version that was live becomes the previous one, so that nothing is lost."""
    put_live(holder, A, B, gen=1)
    put_live(holder, A, B, gen=2)
    rollback(holder, [A, B], lambda _live: None, TERMS)
    assert rows(holder, "select max(gen), (select max(gen) from marts.b) from marts.a") == [(1, 1)]
    assert rows(holder, "select max(gen), (select max(gen) from marts__previous.b) from marts__previous.a") == [(2, 2)]
    with pytest.raises(NotPublishableError, match=r"there is no previous relation of marts\.c"):
        rollback(holder, [A, Mart(Relation("marts", "c"))], lambda _live: None, TERMS)
    assert rows(holder, "select max(gen) from marts.a") == [(1,)]


def mixed_reads(
    database: Database, act: object, query: str = "select (select max(gen) from marts.a), (select max(gen) from marts.b)"
) -> tuple[int, int]:
    """Read both marts continuously during an action. Return the number of reads, and of those that saw two versions."""
    done, found = threading.Event(), []

    def read() -> None:
        with database.connect() as connection:
            while not done.is_set():
                one, other = connection.execute(query.encode()).fetchone() or (None, None)
                found.append(one == other)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        act()  # type: ignore[operator]
    finally:
        done.set()
        for reader in readers:
            reader.join(10)
    return len(found), found.count(False)


def test_readers_never_see_half_of_it(holder: psycopg.Connection, fresh_database: Database) -> None:
    """By merging and by swapping. The control: readers do notice marts that are changed one after the other."""
    put_live(holder, A, B)

    def by_rows() -> None:
        for gen in range(2, 12):
            assert put_live(holder, A, B, gen=gen) == {A: PublishStrategy.MERGE, B: PublishStrategy.MERGE}

    def by_moving() -> None:
        for gen in range(12, 22):
            for mart in ("a", "b"):
                build(holder, mart, f"n as id, {gen} as gen, n as colonne_{gen}")
            assert publish(holder, [A, B], lambda _live: None, TERMS)[A.relation].strategy is PublishStrategy.SWAP

    def one_by_one() -> None:
        for gen in range(22, 42):
            put_live(holder, A, gen=gen)
            put_live(holder, B, gen=gen)

    for act in (by_rows, by_moving):
        reads, mixed = mixed_reads(fresh_database, act)
        assert reads > 20
        assert mixed == 0
    reads, mixed = mixed_reads(fresh_database, one_by_one)
    assert mixed > 0
