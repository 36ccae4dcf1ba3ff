"""Every kind of column and table in PostgreSQL can be published, by merging and by swapping.

Afterwards the live table is as plain dbt would have built it, with all objects that were added by hand. Otherwise publishing fails with a
message and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.live import publish
from refresh_runner.publish.options import Mart, NotPublishableError, PublishOptions, PublishStrategy
from support.postgres import create_database, drop_database
from support.table_facts import table_facts

TERMS = PublishOptions(timedelta(seconds=60), lambda: None)

READY = """
create schema marts; create schema marts__next; create schema wanted; create schema autre;
create type autre.humeur as enum ('gaie', 'triste', 'sobre');
create domain autre.positif as int check (value > 0);
create type autre.paire as (a int, b text);
create collation autre.octets (provider = {provider}, locale = '{locale}');
create function autre.compte() returns trigger language plpgsql
  as $$ begin insert into autre.journal values (tg_op); return coalesce(new, old); end $$;
create function autre.change() returns trigger language plpgsql as $$ begin new.gen := 99; return new; end $$;
create function autre.refuse() returns trigger language plpgsql as $$ begin raise 'nobody writes here'; end $$;
create table autre.journal (op text);
create table autre.cibles (id int primary key); insert into autre.cibles select generate_series(1, 40);
create table autre.parent (n int, gen int);
do $$ begin create role lecteur_kinds; exception when duplicate_object then null; end $$;
do $$ begin create role proprietaire_kinds; exception when duplicate_object then null; end $$;
set allow_in_place_tablespaces = on;
create tablespace kinds_rapide location '';
"""


@pytest.fixture(scope="module")
def kinds(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """One database for all kinds."""
    database = create_database(postgres, "kinds")
    with database.connect() as connection:
        provider, locale = ("builtin", "C.UTF-8") if connection.info.server_version >= 170000 else ("libc", "C")
        for statement in READY.strip().split(";\n"):
            connection.execute(statement.replace("{provider}", provider).replace("{locale}", locale).encode())
        yield connection
        connection.execute("drop schema marts, marts__next, marts__previous, wanted cascade")
        connection.execute("drop tablespace kinds_rapide")
    drop_database(database)


@dataclass(frozen=True)
class Kind:
    """A kind of column or table."""

    columns: str = ""
    """What the model selects, beside n and gen; {g} is the generation."""
    hook: str = ""
    """What the model's post-hook does to {t}."""
    hand: str = ""
    """What somebody does by hand to the live table {t}."""
    way: PublishStrategy | None = PublishStrategy.MERGE
    """How the second generation is made live; None if it is refused."""
    moved: str = ""
    """What a change of the shape is refused with; empty if it is published."""
    is_lost: bool = False
    """What was done by hand is undone, as dbt does it: of an unlogged table nothing is left after a crash."""
    rows: int = 20
    create: str = "create table"
    since: int = 14
    """PostgreSQL's first version that has it."""
    needs: str = ""
    """A statement that is refused by builds of PostgreSQL without it."""


COLUMNS = {
    "integers": "n::int2 as a, (n * 4611686018427387)::int8 as b, n::oid as c",
    "numeric": "case n when 1 then 'NaN'::numeric when 2 then 'infinity' when 3 then 1.10 else n / 3.0 end as a,"
    " (n + {g})::numeric(9,2) as b",
    "floats": "case n when 1 then 'NaN'::float8 when 2 then '-infinity' when 3 then '-0' else 0.1::float8 + {g}e-16 end as a,"
    " n::float4 as b",
    "text": "repeat('é', n + {g}) as a, (n || 'x')::varchar(20) as b, 'a'::char(5) as c, n::text::name as d, '\\x41'::\"char\" as e",
    "bytes": "decode('00ff', 'hex') || sha256(n::text::bytea) as a, n::bit(8) as b, n::bit(8)::varbit as c",
    "dates": "case n when 1 then 'infinity'::date when 2 then '-infinity' else date '2026-01-01' + n end as a, 'infinity'::timestamp as b,"
    " timestamptz '2026-10-25 00:30+00' + n * interval '1 hour' as c, time '24:00' as d, timetz '12:00+05:30' as e,"
    " make_interval(months => -n, secs => 0.{g}) as f",
    "json": "json_build_object('n', n, 'g', {g}) as a, '{\"a\": 1, \"a\":  2}'::json as b,"
    " jsonb_build_object('n', {g}) as c, '$.a'::jsonpath as d",
    "enum and domain": "'gaie'::autre.humeur as a, n::autre.positif as b, array[n]::autre.positif[] as c",
    "arrays": "array[array[n, null], array[{g}, 1]] as a, '[2:3]={1,2}'::int[] as b, array['a,b', 'null', ''] as c, array[]::json[] as d",
    "ranges": "int4range(n, n + {g}) as a, nummultirange(numrange(0, n), numrange(99, 100)) as b, 'empty'::tsrange as c",
    "composite": "row(n, case n when 1 then null when 2 then '' else 'x(,\"' end)::autre.paire as a,"
    " array[row({g}, 'b')::autre.paire] as b",
    "collation": "(n || 'é') collate autre.octets as a, 'A' collate \"C\" as b",
    "money": "(n + 0.99)::numeric::money as a",
    "addresses": "'10.0.0.0/8'::cidr as a, ('10.0.0.' || n)::inet as b, '08:00:2b:01:02:03'::macaddr as c, md5(n::text)::uuid as d",
    "shapes": "point(n, {g}) as a, '((0,0),(1,1))'::box as b, '<(0,0),1>'::circle as c,"
    " '((0,0),(1,{g}))'::polygon as d, '[(0,0),(1,1)]'::path as e",
    "search": "to_tsvector('simple', 'le mart ' || n) as a, 'a & b'::tsquery as b",
    "catalog": "'pg_class'::regclass as a, 'int4'::regtype as b, '0/{g}'::pg_lsn as c, '1:2:'::pg_snapshot as d",
    "nulls": "null::json as a, null::xml as x, null::int as b, case when n % 2 = 0 then {g} end as c",
    "1,600 columns": ", ".join(f"n + {{g}} as c{number}" for number in range(1597)),
    "megabytes": "repeat(md5(n::text || '{g}'), 60000) as a",
    "doubled rows": "1 as a",
}
OTHERS = {
    "xml": Kind("xmlelement(name a, xmlattributes(n as b), {g}) as a, '<a/>'::xml as b", needs="select '<a/>'::xml"),
    # Their operators are in a schema outside of the search path.
    "citext": Kind("('É' || n)::autre.citext as a, '{g}'::autre.citext as b", needs="create extension citext schema autre"),
    "hstore": Kind("autre.hstore(array['n', n::text, 'g', '{g}', '\"', null]) as a", needs="create extension hstore schema autre"),
    "vector": Kind("('[' || n || ',{g}]')::autre.vector(2) as a", needs="create extension vector schema autre"),
    "keys of citext": Kind(
        "('e' || n)::autre.citext as a", hook="create unique index on {t} (a)", needs="create extension if not exists citext schema autre"
    ),
    "nothing": Kind(),
    "no rows": Kind(rows=0),
    "unlogged": Kind(create="create unlogged table"),
    "unlogged by hand": Kind(hand="alter table {t} set unlogged", way=PublishStrategy.SWAP, is_lost=True),
    "tablespace by the model": Kind(hook="alter table {t} set tablespace kinds_rapide"),
    "tablespace by hand": Kind(hand="alter table {t} set tablespace kinds_rapide"),
    "parameters by the model": Kind(hook="alter table {t} set (fillfactor = 70, toast.autovacuum_enabled = off)", columns="'x' as a"),
    "parameters by hand": Kind(hand="alter table {t} set (fillfactor = 70, toast.autovacuum_enabled = off)", columns="'x' as a"),
    "planner by hand": Kind(hand="alter table {t} alter n set statistics 500, alter n set (n_distinct = 7)"),
    "planner by the model": Kind(hook="alter table {t} alter n set statistics 500, alter n set (n_distinct = 7)"),
    "storage by hand": Kind(hand="alter table {t} alter a set storage external", columns="'x' as a"),
    "storage by the model": Kind(hook="alter table {t} alter a set storage external, alter a set compression pglz", columns="'x' as a"),
    "default by hand": Kind(hand="alter table {t} alter n set default 7"),
    "default by the model": Kind(hook="alter table {t} alter n set default 7"),
    "comments by hand": Kind(hand="comment on table {t} is 'à la main'; comment on column {t}.n is 'n'"),
    "comments by the model": Kind(hook="comment on table {t} is 'du modèle {g}'; comment on column {t}.n is 'n'"),
    "key": Kind(hook="alter table {t} add primary key (n)"),
    "deferred key": Kind(hook="alter table {t} add unique (n) deferrable initially deferred"),
    "exclusion": Kind(hook="alter table {t} add exclude using btree (n with =)"),
    "checks": Kind(hook="alter table {t} add constraint positif check (n > 0), alter gen set not null"),
    "indexes": Kind(hook="create index on {t} (gen); create unique index on {t} ((n + 1)) where n > 0; create index on {t} using hash (n)"),
    "always an identity": Kind(hook="alter table {t} add id int generated always as identity"),
    "identity by default": Kind(hook="alter table {t} add id int generated by default as identity"),
    "an identity by hand": Kind(
        hand="alter table {t} alter n set not null, alter n add generated always as identity", moved="identity of column n"
    ),
    "a new identity by hand": Kind(hand="alter table {t} add id int generated always as identity", moved="identity of column id"),
    "serial": Kind(hook="alter table {t} add id serial"),
    "generated and stored": Kind(hook="alter table {t} add a int generated always as (n * 2) stored"),
    "generated and virtual": Kind(hook="alter table {t} add a int generated always as (n * gen) virtual", since=18),
    "generated by hand": Kind(hand="alter table {t} add a int generated always as (n * 2) stored", moved="generated column a"),
    "generated instead, by hand": Kind(
        "n * 2 as a",
        since=18,
        hand="alter table {t} drop a; alter table {t} add a int generated always as (n * 2) virtual",
        moved="generated column a",
    ),
    "generated instead, otherwise": Kind(
        "n * 2 as a", hand="alter table {t} drop a; alter table {t} add a int generated always as (n * 3) virtual", way=None, since=18
    ),
    "dropped columns": Kind("1 as a", hand="alter table {t} add b int; alter table {t} drop b"),
    "policies by hand": Kind(
        hand="alter table {t} enable row level security; create policy p on {t} to lecteur_kinds using (n > 3)",
        moved="policy p, row-level security",
    ),
    "policies by the model": Kind(hook="alter table {t} enable row level security; create policy p on {t} to lecteur_kinds using (n > 3)"),
    "rules by hand": Kind(hand="create rule r as on insert to {t} do also insert into autre.journal values ('rule')", moved="rule r"),
    "rules that swallow rows": Kind(hand="create rule r as on insert to {t} do instead nothing", way=None, moved="rule r"),
    "triggers by hand": Kind(hand="create trigger j after insert on {t} for each row execute function autre.compte()", moved="trigger j"),
    "triggers by the model": Kind(hook="create trigger j after insert on {t} for each row execute function autre.compte()"),
    "triggers that change rows": Kind(
        hand="create trigger c before insert on {t} for each row execute function autre.change()", way=None, moved="trigger c"
    ),
    "such triggers by the model": Kind(
        hook="create trigger c before insert on {t} for each row execute function autre.change()", way=PublishStrategy.SWAP
    ),
    "triggers that refuse": Kind(hand="create trigger r before delete on {t} execute function autre.refuse()", way=None, moved="trigger r"),
    "statistics by hand": Kind(hand="create statistics on n, gen from {t}", since=16),
    "statistics by the model": Kind(hook="create statistics on n, gen from {t}", since=16),
    "named statistics by hand": Kind(hand="create statistics {t}_nom on n, gen from {t}"),
    "named statistics by the model": Kind(hook="create statistics {t}_nom{g} on n, gen from {t}"),
    "a child by hand": Kind(
        hand="create table autre.enfant () inherits ({t}); insert into autre.enfant values (1, 1)", moved="table autre.enfant"
    ),
    "a parent by hand": Kind(hand="alter table {t} inherit autre.parent", moved="parent autre.parent"),
    "replica identity by hand": Kind(hand="alter table {t} replica identity full"),
    "clustered by hand": Kind(hook="create index on {t} (gen)", hand="cluster {t} using {n}_gen_idx", moved="index to cluster by"),
    "grants by hand": Kind(hand="grant select, update on {t} to lecteur_kinds with grant option; grant select (n) on {t} to public"),
    "grants by the model": Kind(hook="grant select on {t} to lecteur_kinds; grant update (gen) on {t} to lecteur_kinds"),
    "a foreign key by the model": Kind(hook="alter table {t} add foreign key (n) references autre.cibles"),
    "a foreign key to it": Kind(
        hook="alter table {t} add primary key (n)",
        hand="create table autre.suite (n int references {t} on delete cascade); insert into autre.suite values (1)",
        moved="constraint suite_n_fkey on table autre.suite",
    ),
    "a function of its rows": Kind(
        hand="create function autre.lignes() returns setof {t} language plpgsql as 'begin end'", moved="function autre.lignes()"
    ),
    "a column of its rows": Kind(hand="create table autre.poche (ligne {t})", moved="column ligne of table autre.poche"),
    "a materialized view": Kind(hand="create materialized view autre.photo as select n from {t}", moved="materialized view autre.photo"),
    "a view with a rule": Kind(
        hand="create view autre.porte as select n from {t};"
        " create rule r as on insert to autre.porte do instead insert into {t} values (new.n)",
        moved="rule r on view autre.porte",
    ),
    "a view of somebody else": Kind(
        hand="create view autre.leur as select n from {t}; alter view autre.leur owner to proprietaire_kinds", way=PublishStrategy.MERGE
    ),
    "in a publication": Kind(
        hand="create publication une for table {t}", hook="alter table {t} add primary key (n)", moved="publication une"
    ),
}
KINDS = {name: Kind(columns) for name, columns in COLUMNS.items()} | OTHERS


def build(connection: psycopg.Connection, kind: Kind, place: str, generation: int, more: str = "") -> None:
    """Build the table of a version, in which some rows are new, deleted or changed, and execute the model's hook."""
    columns = ", ".join(filter(None, ["n", "case when n > 15 then {g} else 0 end as gen", kind.columns, more]))
    rows = f"generate_series({generation if kind.rows else 1}, {kind.rows + generation if kind.rows else 0}) n"
    connection.execute(f"{kind.create} {place} as select {columns} from {rows}".replace("{g}", str(generation)).encode())
    perform(connection, kind.hook, place, generation)


def perform(connection: psycopg.Connection, statements: str, place: str, generation: int = 0) -> None:
    """Execute statements on a table."""
    name = place.split(".")[1]
    for statement in filter(None, statements.split("; ")):
        connection.execute(statement.replace("{t}", place).replace("{g}", str(generation)).replace("{n}", name).encode())


def require(connection: psycopg.Connection, kind: Kind) -> None:
    """Skip the test if this PostgreSQL does not have the kind."""
    if connection.info.server_version // 10000 < kind.since:
        pytest.skip(f"PostgreSQL {kind.since} and newer")
    if kind.needs:
        try:
            connection.execute(kind.needs.encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            pytest.skip(f"this build of PostgreSQL lacks it: {str(error).splitlines()[0]}")


def rows(connection: psycopg.Connection, place: str, columns: str = "*") -> list[tuple[object, ...]]:
    """All rows of a table as text, in order."""
    return connection.execute(
        f'select t::text from (select {columns} from only {place}) t order by t::text collate "C"'.encode()
    ).fetchall()


def built_columns(connection: psycopg.Connection, place: str) -> str:
    """Return the columns of a table, as written in a query."""
    query = "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    return str((connection.execute(query + " and not attisdropped", [place]).fetchone() or ("",))[0])


class Mirror:
    """A table of one kind, live and as plain dbt would rebuild it."""

    def __init__(self, connection: psycopg.Connection, kind: Kind, name: str) -> None:
        self.connection, self.kind, self.name = connection, kind, name
        self.mart = Mart(Relation("marts", name))
        self.plain: set[str] = set()

    @property
    def facts(self) -> set[str]:
        """Return all facts about the live table."""
        return set(table_facts(self.connection, "marts", self.name))

    def make(self, generation: int, more: str = "") -> None:
        """Build a version in staging, and again as plain dbt would."""
        build(self.connection, self.kind, f"marts__next.{self.name}", generation, more)
        self.connection.execute(f"drop table if exists wanted.{self.name}".encode())
        build(self.connection, self.kind, f"wanted.{self.name}", generation, more)

    def publish(self) -> PublishStrategy:
        """Make it live."""
        return publish(self.connection, [self.mart], lambda _live: None, TERMS)[self.mart.relation].strategy

    def assert_as_wanted(self, before: set[str]) -> None:
        """Assert that the table is as plain dbt would have built it, with everything that was added by hand."""
        fresh = set(table_facts(self.connection, "wanted", self.name))
        expected = (before - self.plain) | (fresh - (self.plain - before))
        assert sorted(self.facts) == sorted(expected)
        columns = built_columns(self.connection, f"wanted.{self.name}")
        assert rows(self.connection, f"marts.{self.name}", columns) == rows(self.connection, f"wanted.{self.name}", columns)
        self.plain = fresh

    def assert_refused(self, words: str) -> None:
        """Assert that the message says why, and that nothing has changed."""
        before, lines = self.facts, rows(self.connection, f"marts.{self.name}")
        with pytest.raises(NotPublishableError, match=f"marts.{self.name} .*while these depend on it: .*{re.escape(words)}"):
            self.publish()
        assert (self.facts, rows(self.connection, f"marts.{self.name}")) == (before, lines)
        self.connection.execute(f"drop table marts__next.{self.name}".encode())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_table_of_each_kind(kinds: psycopg.Connection, kind: Kind) -> None:
    """For the first time, by merging and by swapping. What cannot be preserved is named in an error."""
    require(kinds, kind)
    mirror = Mirror(kinds, kind, f"k{list(KINDS.values()).index(kind)}")
    mirror.make(1)
    assert mirror.publish() is PublishStrategy.CREATE
    mirror.assert_as_wanted(set())
    perform(kinds, kind.hand, f"marts.{mirror.name}")
    before = mirror.facts
    mirror.make(2)
    if kind.way is None:
        mirror.assert_refused(kind.moved)
        return
    assert mirror.publish() is kind.way
    mirror.assert_as_wanted(mirror.plain if kind.is_lost else before)
    before = mirror.facts
    mirror.make(3, "'x' as nouveau")
    if kind.moved:
        mirror.assert_refused(kind.moved)
        return
    assert mirror.publish() is PublishStrategy.SWAP
    mirror.assert_as_wanted(before)


def test_the_comparison_would_see_what_is_lost(kinds: psycopg.Connection) -> None:
    """The control: an object that was added by hand and is lost silently shows as a difference of facts, and a lost row as one of rows."""
    mirror = Mirror(kinds, Kind(), "temoin")
    mirror.make(1)
    mirror.publish()
    mirror.assert_as_wanted(set())
    kinds.execute("comment on table marts.temoin is 'à la main'")
    before = mirror.facts
    mirror.make(2)
    mirror.publish()
    kinds.execute("comment on table marts.temoin is null")
    with pytest.raises(AssertionError):
        mirror.assert_as_wanted(before)
    kinds.execute("comment on table marts.temoin is 'à la main'; update marts.temoin set gen = 7 where n = 3")
    with pytest.raises(AssertionError):
        mirror.assert_as_wanted(before)
