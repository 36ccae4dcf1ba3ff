"""Marts with dependencies: foreign keys, subscribers, default privileges, views of other roles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.live import publish
from refresh_runner.publish.options import Mart, NotPublishableError, PublishOptions, PublishStrategy
from refresh_runner.publish.rollback import rollback
from refresh_runner.publish.staging import prepare_staging
from support.postgres import Database

A, B = Mart(Relation("marts", "a")), Mart(Relation("marts", "b"))
TERMS = PublishOptions(timedelta(seconds=20), lambda: None)
ROLES = ("lieur", "abonne", "analyste")


@pytest.fixture
def holder(fresh_database: Database) -> Iterator[psycopg.Connection]:
    """The connection that publishes, as a role that owns only what it must, and further roles."""
    with fresh_database.connect() as connection:
        for role in ROLES:
            connection.execute(f"drop role if exists {role}; create role {role}".encode())
        connection.execute("create schema marts authorization lieur; grant usage on schema marts to public; create schema autre")
        connection.execute(f'grant create on database "{fresh_database.name}" to lieur; grant create on schema public to lieur'.encode())
        connection.execute("set role lieur")
        yield connection
        connection.execute("reset role")
        for role in ROLES:
            connection.execute(f"drop owned by {role} cascade; drop role {role}".encode())


def rows(connection: psycopg.Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


def as_admin(connection: psycopg.Connection, statements: str) -> None:
    """Execute statements as an administrator instead of the role that publishes."""
    connection.execute(f"reset role; {statements}; set role lieur".encode())


def build(connection: psycopg.Connection, query: str, then: str = "", mart: Mart = A) -> None:
    """Build a mart in staging, and execute what its model does to it ({t})."""
    place = f"marts__next.{mart.relation.table}"
    connection.execute(f"create schema if not exists marts__next; create table {place} as {query}; {then.format(t=place)}".encode())


def put_live(connection: psycopg.Connection, *marts: Mart) -> set[PublishStrategy]:
    """Publish, and return the strategies."""
    return {written.strategy for written in publish(connection, marts, lambda _live: None, TERMS).values()}


def pair(connection: psycopg.Connection, parents: str, children: str, more: str = "", action: str = "") -> None:
    """Build two marts, of which one references the other by a foreign key, as in a contract."""
    build(connection, f"select n as id, {more or '1 as gen'} from unnest(array[{parents}]) n", "alter table {t} add primary key (id)")
    key = "alter table {t} add foreign key (a_id) references marts__next.a (id) " + action
    build(connection, f"select n as a_id, {more or '1 as gen'} from unnest(array[{children}]) n", key, B)


@pytest.mark.parametrize("action", ["", "on delete cascade", "on delete set null", "deferrable initially deferred"])
def test_marts_of_which_one_refers_to_the_other_are_published_time_and_again(holder: psycopg.Connection, action: str) -> None:
    """With new, deleted and changed rows in both: by merging, by swapping one of them, and by merging again. The foreign key is kept."""
    pair(holder, "1, 2, 3", "1, 1, 3", action=action)
    assert put_live(holder, A, B) == {PublishStrategy.CREATE}
    pair(holder, "2, 3, 4", "3, 3, 4", "case n when 3 then 2 else 1 end as gen", action)
    assert put_live(holder, A, B) == {PublishStrategy.MERGE}
    assert rows(holder, "select id, gen from marts.a order by 1") == [(2, 1), (3, 2), (4, 1)]
    assert rows(holder, "select a_id, gen from marts.b order by 1, 2") == [(3, 2), (3, 2), (4, 1)]
    assert put_back(holder) == ([(1,), (2,), (3,)], [(1,), (1,), (3,)])
    assert put_back(holder) == ([(2,), (3,), (4,)], [(3,), (3,), (4,)])
    pair(holder, "3, 4, 5", "5", action=action)
    holder.execute("alter table marts__next.b add column autre int")
    assert put_live(holder, A, B) == {PublishStrategy.SWAP}
    assert rows(holder, "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint where contype = 'f' order by 1") == [
        ("marts.b", "marts.a"),
        ("marts__previous.b", "marts__previous.a"),
    ]
    pair(holder, "5", "5", action=action)
    holder.execute("alter table marts__next.b add column autre int")
    assert put_live(holder, A, B) == {PublishStrategy.MERGE}
    # The control: the constraint is enforced.
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        holder.execute("insert into marts.b values (77, 1)")


def put_back(connection: psycopg.Connection) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Return the rows of both marts after a rollback."""
    rollback(connection, [B, A], lambda _live: None, TERMS)
    return rows(connection, "select id from marts.a order by 1"), rows(connection, "select a_id from marts.b order by 1")


def test_rows_of_another_team_that_refer_to_a_mart_stay(holder: psycopg.Connection) -> None:
    """A changed row is updated. If it were deleted and inserted, the delete would silently cascade to the rows that reference it."""
    build(holder, "select n as id, 1 as gen from generate_series(1, 3) n", "alter table {t} add primary key (id)")
    put_live(holder, A)
    holder.execute("create table marts.leurs (id int references marts.a on delete cascade); insert into marts.leurs values (1), (2)")
    build(holder, "select n as id, 2 as gen from generate_series(1, 3) n", "alter table {t} add primary key (id)")
    assert put_live(holder, A) == {PublishStrategy.MERGE}
    assert rows(holder, "select id, (select max(gen) from marts.a) from marts.leurs order by 1") == [(1, 2), (2, 2)]
    # The control: a delete cascades.
    holder.execute("delete from marts.a where id = 1")
    assert rows(holder, "select id from marts.leurs") == [(2,)]


def test_rows_are_found_by_a_key_as_its_type_compares_it(holder: psycopg.Connection) -> None:
    """Even if the type's operators are outside of the search path.

    Compared as text, E1 and e1 would be two rows, and one of them superfluous.
    """
    try:
        as_admin(holder, "create extension citext schema autre; grant usage on schema autre to public")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        pytest.skip("this build of PostgreSQL has no citext")
    key = "alter table {t} add primary key (id)"
    build(holder, "select ('e' || n)::autre.citext as id, 1 as gen from generate_series(1, 3) n", key)
    put_live(holder, A)
    holder.execute("create table marts.leurs (id autre.citext references marts.a on delete cascade); insert into marts.leurs values ('e1')")
    build(holder, "select ('E' || n)::autre.citext as id, 2 as gen from generate_series(1, 3) n", key)
    assert put_live(holder, A) == {PublishStrategy.MERGE}
    assert rows(holder, "select id::text, gen from marts.a order by 1") == [("E1", 2), ("E2", 2), ("E3", 2)]
    assert rows(holder, "select count(*) from marts.leurs") == [(1,)]
    # The control: if its operators are not in the search path, the type compares as text.
    assert rows(holder, "select 'e1'::autre.citext = 'E1'::autre.citext") == [(False,)]


def test_a_row_that_others_need_and_that_is_gone_is_said(holder: psycopg.Connection) -> None:
    """The error has PostgreSQL's message and the referencing table. Nothing is changed."""
    build(holder, "select n as id from generate_series(1, 3) n", "alter table {t} add primary key (id)")
    put_live(holder, A)
    holder.execute("create table marts.leurs (id int references marts.a); insert into marts.leurs values (1)")
    build(holder, "select n as id from generate_series(2, 4) n", "alter table {t} add primary key (id)")
    with pytest.raises(NotPublishableError, match=r"violates foreign key.*depend on it: constraint leurs_id_fkey on table marts.leurs"):
        put_live(holder, A)
    assert rows(holder, "select id from marts.a order by 1") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("of_what", ["for all tables", "for tables in schema marts", "for table marts.a"])
@pytest.mark.parametrize(
    ("then", "identity"), [("", "f"), ("alter table {t} add primary key (id)", "d"), ("create unique index on {t} (id)", "f")]
)
def test_marts_that_subscribers_follow_are_changed_by_rows(holder: psycopg.Connection, of_what: str, then: str, identity: str) -> None:
    """Without a key, PostgreSQL refuses to delete from them. A replica identity is set, but only if there is none."""
    build(holder, "select n as id, 1 as gen from generate_series(1, 10) n", then)
    put_live(holder, A)
    if "schema" in of_what and holder.info.server_version < 150000:
        pytest.skip("PostgreSQL 15 and newer publish schemas")
    as_admin(holder, f"create publication suivi {of_what}")
    if identity == "f":
        # The control.
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="does not have a replica identity"):
            holder.execute("delete from marts.a")
    for generation in (2, 3):
        build(holder, f"select n as id, {generation} as gen from generate_series({generation}, 10) n", then)
        assert put_live(holder, A) == {PublishStrategy.MERGE}
    assert rows(
        holder, "select min(id), min(gen), (select relreplident::text from pg_class where oid = 'marts.a'::regclass) from marts.a"
    ) == [(3, 3, identity)]


def test_a_unique_index_without_nulls_tells_rows_apart(holder: psycopg.Connection) -> None:
    """With an index as identity, PostgreSQL writes less for subscribers than with whole rows."""
    then = "alter table {t} alter id set not null; create unique index on {t} (id)"
    build(holder, "select n as id, 1 as gen from generate_series(1, 10) n", then)
    as_admin(holder, "create publication suivi for all tables")
    put_live(holder, A)
    build(holder, "select n as id, 2 as gen from generate_series(2, 10) n", then)
    assert put_live(holder, A) == {PublishStrategy.MERGE}
    assert rows(holder, "select relreplident::text from pg_class where oid = 'marts.a'::regclass") == [("i",)]


def test_published_rows_that_nobody_can_compare_leave_the_way_to_another_table(holder: psycopg.Connection) -> None:
    """JSON has no equality operator, so a subscriber could not find the row."""
    build(holder, "select n as id, '{{}}'::json as j from generate_series(1, 10) n".replace("{{}}", "{}"))
    put_live(holder, A)
    as_admin(holder, "create publication suivi for all tables")
    build(holder, "select n as id, '{}'::json as j from generate_series(2, 10) n")
    assert put_live(holder, A) == {PublishStrategy.SWAP}
    assert rows(holder, "select min(id) from marts.a") == [(2,)]


def rights(connection: psycopg.Connection, of: str = "a") -> set[tuple[object, ...]]:
    """Return the privileges on a mart and its columns."""
    return set(
        rows(
            connection,
            f"""select grantee::regrole::text, privilege_type, '' from pg_class, aclexplode(relacl) where oid = 'marts.{of}'::regclass
                and grantee <> relowner
            union all select grantee::regrole::text, privilege_type, attname from pg_attribute, aclexplode(attacl)
                where attrelid = 'marts.{of}'::regclass""",
        )
    )


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("more", ["1 as gen", "1 as gen, 'x' as nouveau"], ids=["rows", "move"])
def test_what_a_schema_gives_on_new_tables_is_given_on_marts(holder: psycopg.Connection, more: str, stated: bool) -> None:
    """As for tables of plain dbt: on a new mart, on an existing one and on one that replaces it, including sequences."""
    holder.execute("alter default privileges in schema marts grant select on tables to abonne")
    mart = Mart(A.relation, grants_declared=stated)
    build(holder, "select 1 as id, 1 as gen", "alter table {t} add nr int generated always as identity")
    put_live(holder, mart)
    assert rights(holder) == {("abonne", "SELECT", "")}
    holder.execute("alter default privileges in schema marts grant insert on tables to analyste")
    holder.execute("alter default privileges in schema marts grant usage on sequences to analyste")
    # The control: a table that dbt rebuilds in that schema.
    holder.execute("create table marts.temoin (id int generated always as identity)")
    build(holder, f"select 2 as id, {more}", "alter table {t} add nr int generated always as identity; grant update on {t} to abonne")
    put_live(holder, mart)
    assert rights(holder) == rights(holder, "temoin") | {("abonne", "UPDATE", "")}
    assert len(rights(holder)) == 3
    sequence = "select relacl::text from pg_class where oid = 'marts.{}_seq'::regclass"
    assert rows(holder, sequence.format("a_nr")) == rows(holder, sequence.format("temoin_id"))


@pytest.mark.parametrize("more", ["2 as gen", "2 as gen, 'x' as nouveau"], ids=["rows", "move"])
def test_rights_on_columns_stay_unless_the_project_states_who_may_read(holder: psycopg.Connection, more: str) -> None:
    """People granted them by hand. If the project declares grants, only these apply, as in dbt."""
    build(holder, "select 1 as id, 1 as gen")
    put_live(holder, A)
    holder.execute("grant select (id), update (gen) on marts.a to analyste; grant select on marts.a to abonne")
    by_hand = {("abonne", "SELECT", ""), ("analyste", "SELECT", "id"), ("analyste", "UPDATE", "gen")}
    build(holder, f"select 1 as id, {more}")
    put_live(holder, A)
    assert rights(holder) == by_hand
    build(holder, f"select 1 as id, {more}", "grant select on {t} to analyste")
    put_live(holder, Mart(A.relation, grants_declared=True))
    assert rights(holder) == {("analyste", "SELECT", "")}


def test_a_view_of_another_role_is_named_with_its_owner(holder: psycopg.Connection) -> None:
    """The message also has the remedy. Once it is applied, the same mart is published, and the view reads it."""
    build(holder, "select 1 as id")
    put_live(holder, A)
    holder.execute("grant select on marts.a to analyste")
    as_admin(
        holder, "create schema rapports; create view rapports.vue as select id from marts.a; alter view rapports.vue owner to analyste"
    )
    build(holder, "select 2 as id, 'x' as nouveau")
    user = holder.info.user
    with pytest.raises(NotPublishableError, match=f"the view rapports.vue, which reads it, is owned by analyste.*grant analyste to {user}"):
        put_live(holder, A)
    as_admin(holder, "grant analyste to lieur")
    with pytest.raises(NotPublishableError, match=r"grant create on schema rapports to"):
        put_live(holder, A)
    as_admin(holder, "grant usage, create on schema rapports to lieur, analyste")
    assert put_live(holder, A) == {PublishStrategy.SWAP}
    as_admin(holder, "set role analyste; do $$ begin assert (select id from rapports.vue) = 2; end $$; reset role")


@pytest.mark.parametrize(
    "made",
    [
        "create table marts.a (id int) partition by list (id)",
        "create materialized view marts.a as select 1 as id; create view marts.vue as select id from marts.a",
        "create view marts.a as select 1 as id; create view marts.vue as select id from marts.a",
        "create sequence marts.a",
    ],
    ids=["partitioned", "materialized view", "view that another reads", "sequence"],
)
def test_what_no_table_can_take_the_place_of_is_refused_before_anything_is_built(holder: psycopg.Connection, made: str) -> None:
    """The control: a plain or materialized view without dependents is replaced, as in dbt."""
    holder.execute(made.encode())
    with pytest.raises(NotPublishableError, match=r"marts\.a already exists and is not a table that can be published: drop it"):
        prepare_staging(holder, [A], [], TERMS.origin)
    for kind in ("view", "materialized view"):
        holder.execute(f"drop table if exists marts.b; create {kind} marts.b as select 1 as id".encode())
        prepare_staging(holder, [B], [], TERMS.origin)
        build(holder, "select 2 as id", mart=B)
        assert put_live(holder, B) == {PublishStrategy.SWAP}
        assert rows(holder, "select id from marts.b") == [(2,)]
