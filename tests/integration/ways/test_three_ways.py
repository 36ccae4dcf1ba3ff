"""What works with plain dbt and `publish: Direct` works equally with `Swap`, or is rejected by lint and before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.postgres import Database, create_database, drop_database
from support.ways.comparison import Comparison, Found, differing
from support.ways.facts import facts_of
from support.ways.project import READER, Edit, Project, Way
from support.ways.projects import all_projects

EVERY_TIME = {"a_mart_that_changes_its_shape", "schemas_by_a_macro"}
QUICK = [
    pytest.param(project, id=project.name, marks=() if project.name in EVERY_TIME else pytest.mark.slow)
    for project in all_projects()
    if project.quick
]
CONTROL = Project(
    name="temoin",
    files={
        "models/mart.sql": "{{ config(materialized='table') }} select {{ var('valeur', 1) }} as a",
        "models/mart.yml": "models: [{name: mart, columns: [{name: a, data_tests: [{accepted_values: {arguments: {values: [1]}}}]}]}]",
    },
    marts=("dwh.mart",),
    tests="Fail",
    edits=(),
)
_BY_WAY = "{{ config(materialized='table') }} select {{ 1 if 'target' == invocation_args_dict['target_path'].split('/')[1] else 2 }} as a"

TABLE = """
create schema dwh;
create table dwh.autre (id integer primary key);
create table dwh.mart (id integer, prix numeric(8, 2), mois text);
insert into dwh.mart values (1, 1.5, 'mai'), (2, null, null);
create view dwh.vue as select id from dwh.mart;
create function dwh.un() returns integer language sql return 1;
"""
PLANTED = {
    "a row": ("insert into dwh.mart values (2, null, null)", "rows dwh.mart"),
    "a value": ("update dwh.mart set prix = 1.51 where id = 1", "rows dwh.mart"),
    "a NULL": ("update dwh.mart set mois = '' where id = 2", "rows dwh.mart"),
    "a type": ("alter table dwh.autre alter id type bigint", "column dwh.autre.id"),
    "a precision": ("alter table dwh.mart alter prix type numeric(9, 2)", "column dwh.mart.prix"),
    "the order of columns": (
        "alter table dwh.autre add nom text; alter table dwh.autre drop id; alter table dwh.autre add id integer primary key",
        "column dwh.autre.id",
    ),
    "not null": ("alter table dwh.mart alter id set not null", "column dwh.mart.id"),
    "a default": ("alter table dwh.mart alter mois set default 'mai'", "column dwh.mart.mois"),
    "identity": ("alter table dwh.autre alter id add generated always as identity", "column dwh.autre.id"),
    "a constraint": ("alter table dwh.mart add constraint positif check (prix > 0)", "constraint dwh.mart CHECK"),
    "a foreign key": ("alter table dwh.mart add foreign key (id) references dwh.autre not valid", "constraint dwh.mart FOREIGN KEY"),
    "an index": ("create index on dwh.mart (mois)", "index dwh.mart"),
    "a comment": ("comment on table dwh.mart is 'à lire'", "comment dwh.mart"),
    "a column's comment": ("comment on column dwh.mart.prix is 'en euros'", "column dwh.mart.prix"),
    "a grant": (f"grant select on dwh.mart to {READER}", "grants dwh.mart"),
    "a grant to all": ("grant select on dwh.vue to public", "grants dwh.vue"),
    "a column's grant": (f"grant select (prix) on dwh.mart to {READER}", "column dwh.mart.prix"),
    "a schema's grant": (f"grant usage on schema dwh to {READER}", "schema dwh"),
    "default privileges": (f"alter default privileges in schema dwh grant select on tables to {READER}", "default privileges"),
    "an owner": (f"alter table dwh.mart owner to {READER}", "relation dwh.mart"),
    "a policy": ("create policy seul on dwh.mart using (id = 1)", "policy dwh.mart seul"),
    "row security": ("alter table dwh.mart enable row level security", "relation dwh.mart"),
    "a storage parameter": ("alter table dwh.mart set (fillfactor = 70)", "relation dwh.mart"),
    "unlogged": ("alter table dwh.mart set unlogged", "relation dwh.mart"),
    "a replica identity": ("alter table dwh.mart replica identity full", "relation dwh.mart"),
    "a view": ("create or replace view dwh.vue as select id from dwh.mart where id > 0", "definition dwh.vue"),
    "a trigger": ("create trigger t after insert on dwh.mart execute function suppress_redundant_updates_trigger()", "trigger dwh.mart t"),
    "a rule": ("create rule r as on delete to dwh.mart do instead nothing", "rule dwh.mart r"),
    "statistics": ("create statistics dwh.s on id, mois from dwh.mart", "statistics dwh.s"),
    "a publication": ("create publication p for table dwh.mart", "publication p dwh.mart"),
    "a function": ("create or replace function dwh.un() returns integer language sql return 2", "function dwh.un()"),
    "a type by hand": ("create type dwh.humeur as enum ('gaie')", "type dwh.humeur"),
    "a table that is left behind": ("create schema dwh__next; create table dwh__next.mart ()", "relation dwh__next.mart"),
    "a schema that is left behind": ("create schema dwh__next", "schema dwh__next"),
}
"""Statements that change one of two equal databases, and the fact that must differ."""


@pytest.fixture(scope="module")
def base(ways: Comparison) -> Iterator[Database]:
    """A database from which others are copied."""
    database = create_database(ways.server, "egal")
    database.run(TABLE)
    yield database
    drop_database(database)


@pytest.mark.parametrize("project", QUICK)
def test_every_way_comes_to_the_same(ways: Comparison, project: Project) -> None:
    """Relations, rows, grants, constraints, results and exit codes are compared after each run, unless the project is rejected."""
    assert ways.verdict(project) == []


@pytest.mark.parametrize("name", PLANTED)
def test_each_difference_is_told(postgres: EmbeddedPostgres, base: Database, name: str) -> None:
    """The positive control of each fact: one of two equal databases is changed."""
    statement, fact = PLANTED[name]
    before = facts_of(base.dsn, {}, ())
    other = create_database(postgres, "autre", template=base.name)
    try:
        assert facts_of(other.dsn, {}, ()) == before
        other.run(statement)
        said = differing("one", before, "other", facts_of(other.dsn, {}, ()))
    finally:
        drop_database(other)
    assert any(line.startswith(fact) for line in said), said


def test_a_difference_between_the_ways_is_told(ways: Comparison) -> None:
    """The positive control of the whole comparison: the outcome of one project depends on the way it is run."""
    one = replace(CONTROL, name="temoin_env", files={**CONTROL.files, "models/mart.sql": _BY_WAY})
    found = ways.compared(one)
    said = "\n".join(found.differences)
    assert "run 1: rows dwh.mart: plain dbt: 1 rows" in said
    assert "run 1: relation dwh.mart: plain dbt: kind r" in said
    assert "run 1: test.essai.accepted_values_mart_a__1." in said
    assert "run 1: Swap ended with 1, not 0" in found.codes


@pytest.mark.slow
def test_a_run_is_killed_and_resumed(ways: Comparison) -> None:
    """The positive control of that way: a hook that runs in each attempt has run twice, and nothing else differs."""
    hooks = "on-run-start: [create table if not exists public.journal (), insert into public.journal default values]\n"
    one = replace(CONTROL, name="temoin_repris", config=hooks)
    found = ways.compared(one, (Way.PLAIN, Way.RESUMED))
    assert len(found.differences) == 1, found
    assert re.match(r"run 1: rows public\.journal: plain dbt: 1 rows.* / Swap, resumed: 2 rows", found.differences[0])
    assert found.codes == []


@pytest.mark.slow
def test_an_exit_code_is_told(ways: Comparison) -> None:
    """A project that fails in every way is an error, unless it says so; also in a run that others follow, and if its results may differ."""
    failing = replace(CONTROL, name="temoin_code", dbt={"vars": {"valeur": 2}}, marts=(), edits=(Edit(),))
    told = ["run 1: plain dbt ended with 1, not 0", "run 1: Direct ended with 1, not 0", "run 1: Swap ended with 1, not 0"]
    assert ways.compared(failing).codes == told
    assert ways.verdict(replace(failing, name="temoin_codes_marque", differs=True))[: len(told)] == told
    stated = replace(failing, name="temoin_codes", codes=dict.fromkeys(Way, 1))
    assert ways.compared(stated) == Found()
    healed = replace(stated, name="temoin_codes_edit", edits=(Edit(codes={}),))
    assert "run 2: Swap ended with 1, not 0" in ways.compared(healed).codes


def test_what_is_not_refused_is_told(ways: Comparison) -> None:
    """The positive control of `refused`: neither lint nor the run refuses it, and the run changes something."""
    said = "\n".join(ways.refused(replace(CONTROL, name="temoin_refus", refused="no such words", refused_by=(Way.SWAP,))))
    assert "Swap: lint refuses nothing" in said
    assert "Swap: the run does not say 'no such words'" in said
    assert "Swap: although refused: relation dwh.mart: before: (nothing)" in said


def test_a_mark_is_taken_away_once_it_holds_no_more(ways: Comparison) -> None:
    """A project marked as different must lose the mark once it is equal."""
    said = ways.verdict(replace(CONTROL, name="temoin_marque", differs=True))
    assert said == ["it is the same now: take its mark away"]
