"""Relations beside the live marts have their own names, and a run drops only what the runner has created."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.derived_names import previous_relation, staging_relation
from support.eventually import eventually
from support.runner_harness import SLOWNESS, Json, RunnerHarness, write_project

LONG = "m" * 61
LONGEST = "n" * 63
"""With the first, what is built and what is kept had one name; with the second, both had that of the live schema."""


@pytest.fixture(scope="module")
def lengthy(shared_runner: RunnerHarness, tmp_path_factory: pytest.TempPathFactory) -> RunnerHarness:
    """A project with marts in schemas with names of maximum length; one mart has a named key and a hook at its end."""
    place = tmp_path_factory.mktemp("lengthy")
    project = write_project(place / "project")
    a, b = project / "models/marts/mart_a.sql", project / "models/marts/mart_b.sql"
    named = "post_hook='alter table {{ this }} add constraint pk_mart_a primary key (id)'"
    a.write_text(a.read_text().replace("schema='dwh_marts'", f"schema='{LONG}', {named}"))
    b.write_text(b.read_text().replace("schema='dwh_marts'", f"schema='{LONGEST}'"))
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return replace(shared_runner, folder=place, project=project)


@pytest.fixture
def long_bench(lengthy: RunnerHarness, runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """The same project, reset to the state in which the other fixture left the database."""
    lengthy.secrets, lengthy.api = runner.secrets, runner.api
    yield lengthy
    schemas = {f(Relation(schema, "a")).schema for schema in (LONG, LONGEST) for f in (previous_relation, staging_relation)}
    lengthy.database.run("; ".join(f'drop schema if exists "{schema}" cascade' for schema in {*schemas, LONG, LONGEST}))


def long_spec(runner: RunnerHarness) -> Json:
    """Return the refresh of that project."""
    text = json.dumps(runner.spec())
    return dict(json.loads(text.replace("dwh_marts.mart_a", f"{LONG}.mart_a").replace("dwh_marts.mart_b", f"{LONGEST}.mart_b")))


def counts(runner: RunnerHarness, relation: Relation) -> object:
    """Return the number of rows of a table."""
    return runner.database.rows(f'select count(*) from "{relation.schema}"."{relation.table}"')[0][0]


@pytest.mark.slow
def test_marts_in_schemas_with_the_longest_names_are_published_and_put_back(long_bench: RunnerHarness) -> None:
    """By merging and by swapping. The previous version is kept, and nothing else is left beside the marts."""
    a, b = Relation(LONG, "mart_a"), Relation(LONGEST, "mart_b")
    spec = long_spec(long_bench)
    assert long_bench.run(spec).code == 0
    long_bench.database.run("insert into src.lignes values (101, 1, 1, 0)")
    long_bench.database.run(f'alter table "{LONG}".mart_a add column autre integer')
    ran = long_bench.run(spec)
    assert ran.code == 0, ran.output
    assert ["(swap)" in ran.messages, "(merge)" in ran.messages] == [True, True]
    assert [counts(long_bench, each) for each in (a, b, previous_relation(a), previous_relation(b))] == [101, 101, 100, 100]
    assert long_bench.run(spec, mode="rollback").code == 0
    assert [counts(long_bench, each) for each in (a, b, previous_relation(a), previous_relation(b))] == [100, 100, 101, 101]
    left = "select to_regnamespace(name) from unnest(%s::text[]) name"
    with long_bench.database.connect() as connection:
        assert connection.execute(left, [[staging_relation(a).schema, staging_relation(b).schema]]).fetchall() == [(None,), (None,)]


@pytest.mark.parametrize("name", ["dwh_marts__next.mart_a", "dwh_marts__next.mart_b__dbt_tmp", "dwh_marts__previous.mart_a"])
def test_a_table_of_somebody_else_that_has_such_a_name_is_refused_before_anything_is_built(runner: RunnerHarness, name: str) -> None:
    """It is named with a remedy, and kept. The control: once it has another name, the same run succeeds."""
    runner.database.run(f"create schema {name.split('.')[0]}; create table {name} as select 42 as theirs")
    ran = runner.run()
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.PUBLISH_FAILED), ran.output
    assert f"{name} already exists and was not created by a refresh" in (ran.termination_message.message or "")
    assert "rename, move or drop it" in (ran.termination_message.message or "")
    assert runner.database.rows(f"select theirs from {name}") == [(42,)]
    assert runner.database.rows("select to_regclass('dwh_staging.stg_lignes')") == [(None,)]
    runner.database.run(f"alter table {name} rename to theirs")
    assert runner.run().code == 0
    # The schema is kept, although it contains nothing of the runner.
    assert runner.database.rows(f"select theirs from {name.split('.')[0]}.theirs") == [(42,)]


def killed_while_it_builds(runner: RunnerHarness, spec: Json) -> None:
    """Leave a mart in staging, like a runner that is killed after it has built one of two marts."""
    with psycopg.connect(runner.database.dsn) as holder:
        holder.execute("lock table dwh_facts.fait_jours in access exclusive mode")
        process = runner.start_process({**spec, "layers": spec["layers"][2:]}, RUN_ID="killed")
        try:
            a = staging_relation(Relation(spec["validation"]["marts"][0]["relation"].split(".")[0], "mart_a"))
            exists = f"""select to_regclass('"{a.schema}".mart_a') is not null"""
            eventually(lambda: runner.database.rows(exists) == [(True,)], within=30 * SLOWNESS)
        finally:
            process.kill()
            process.communicate()


def test_what_a_killed_attempt_has_left_does_not_stop_the_next_run(long_bench: RunnerHarness) -> None:
    """Both marts' keys have the same name, which can exist only once in a schema."""
    spec = long_spec(long_bench)
    assert long_bench.run(spec).code == 0
    killed_while_it_builds(long_bench, spec)
    long_bench.database.run("insert into src.lignes values (101, 1, 1, 0)")
    ran = long_bench.run(spec, RUN_ID="next")
    assert ran.code == 0, ran.output
    assert counts(long_bench, Relation(LONG, "mart_a")) == 101
    # The control: the mart existed, registered by its oid, as long as its run could continue.
    assert "pk_mart_a" in str(long_bench.database.rows("select conname from pg_constraint"))


@pytest.mark.slow
def test_a_table_that_took_the_name_of_what_a_killed_attempt_left_is_not_ours(runner: RunnerHarness) -> None:
    """The registry has oids, not names. The schema is registered too, but it is not dropped unless it is empty."""
    assert runner.run().code == 0
    killed_while_it_builds(runner, runner.spec())
    noted = "select to_regclass('dwh_marts__next.mart_a')::oid::bigint in (select oid from dbt_refresh_relation)"
    assert runner.database.rows(noted) == [(True,)]
    runner.database.run("drop table dwh_marts__next.mart_a; create table dwh_marts__next.mart_a as select 42 as theirs")
    ran = runner.run(RUN_ID="killed")
    assert "dwh_marts__next.mart_a already exists" in ran.messages, ran.output
    assert runner.database.rows("select theirs from dwh_marts__next.mart_a") == [(42,)]


@pytest.mark.slow
def test_an_installation_from_before_these_notes_goes_on(runner: RunnerHarness) -> None:
    """Earlier versions had no registry: only the previous relations of published marts count as created by the runner."""
    assert [runner.run().code, runner.run().code] == [0, 0]
    runner.database.run("drop table dbt_refresh_relation; create table dwh_marts__previous.theirs as select 42 as theirs")
    runner.database.run("insert into src.lignes values (101, 1, 1, 0)")
    assert runner.run().code == 0
    assert counts(runner, Relation("dwh_marts__previous", "mart_a")) == 100
    assert runner.database.rows("select theirs from dwh_marts__previous.theirs") == [(42,)]
    # A downgrade and an upgrade: the older runner has published in between.
    runner.database.run("delete from dbt_refresh_relation; update dbt_refresh_version set marts = marts #- '{dwh_marts.mart_a,noted}'")
    runner.database.run("update dbt_refresh_version set marts = marts #- '{dwh_marts.mart_b,noted}'")
    assert runner.run().code == 0
    # The control: what this version has published is registered.
    runner.database.run("delete from dbt_refresh_relation")
    assert "dwh_marts__previous.mart_a, dwh_marts__previous.mart_b already exist" in runner.run().messages


def test_an_oid_that_was_given_away_again_is_not_enough(runner: RunnerHarness) -> None:
    """The oid of the row type must match as well."""
    assert [runner.run().code, runner.run().code] == [0, 0]
    runner.database.run("update dbt_refresh_relation set type_oid = type_oid + 1 where name = 'dwh_marts__previous.mart_a'")
    assert "dwh_marts__previous.mart_a already exists" in runner.run().messages


@pytest.mark.slow
def test_two_refreshes_that_share_schemas_leave_each_other_alone(runner: RunnerHarness) -> None:
    """One publishes its own mart beside what a killed run of the other has left, and removes nothing of it."""
    assert runner.run().code == 0
    killed_while_it_builds(runner, runner.spec())
    spec = runner.spec()
    spec["layers"][2]["select"], spec["validation"]["marts"] = ["mart_b"], spec["validation"]["marts"][1:]
    spec["tests"]["select"] = ["mart_b"]
    mine, runner.ref = runner.ref, runner.ref.model_copy(update={"name": "autre"})
    ran = runner.run(spec)
    assert ran.code == 0, ran.output
    assert counts(runner, Relation("dwh_marts__next", "mart_a")) == 100
    runner.ref = mine
    assert runner.run(RUN_ID="killed").code == 0
    assert runner.database.rows("select to_regnamespace('dwh_marts__next')") == [(None,)]


def test_nobody_elses_view_on_what_is_kept_is_dropped(runner: RunnerHarness) -> None:
    """A run that would have to drop it names the view and the remedy before it builds anything."""
    assert [runner.run().code, runner.run().code] == [0, 0]
    runner.database.run("create view src.avant as select count(*) as n from dwh_marts__previous.mart_a; drop view dwh_staging.stg_lignes")
    ran = runner.run()
    assert ran.termination_message is not None
    assert (
        ran.termination_message.reason,
        "view src.avant depends on table dwh_marts__previous.mart_a" in str(ran.termination_message.message),
    ) == (
        Reason.PUBLISH_FAILED,
        True,
    )
    assert runner.database.rows("select n, to_regclass('dwh_staging.stg_lignes') from src.avant") == [(100, None)]
