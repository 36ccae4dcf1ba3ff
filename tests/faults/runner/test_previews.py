"""Previews of changes that fail, hooks, incremental models, reports, and previews that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys

from refresh_runner.__main__ import main
from support.changed_project import ChangedProject
from support.eventually import eventually


def test_columns_tests_and_what_is_allowed(changed: ChangedProject):
    """A column more, a test that fails, and an exit code for a pipeline that accepts new columns."""
    changed.live()
    changed.replace("marts/mart_a", "select id, zone, mois", "select id % 50 as id, zone, mois, 'x' as nouveau")
    code, output = changed.preview("--allow", "columns")
    assert code == 3
    assert "nouveau: no such column → text, 1 distinct, 0 NULL, x to x" in output
    assert "1 failed" in output
    assert "unique_mart_a_id" in output
    changed.replace("marts/mart_a", "id % 50 as id", "id")
    assert changed.preview("--allow", "columns")[0] == 0
    code, output = changed.preview("-o", "markdown")
    assert code == 3
    assert "| nouveau |  | no such column | text, 1 distinct, 0 NULL, x to x |" in output


def test_a_change_that_cannot_be_built_says_why_and_leaves_nothing(changed: ChangedProject):
    """As a run would fail, but before anybody is affected."""
    changed.live()
    changed.replace("marts/mart_b", "select id, mois", "select id, mois / 0 as mois")
    code, output = changed.preview()
    assert code == 1
    assert "the change cannot be built: mart_b: " in output
    assert "division by zero" in output
    assert changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []


def test_hooks_do_not_run_and_incremental_models_begin_with_what_is_live(changed: ChangedProject):
    """A hook could write anywhere. An incremental model adds to a copy of its live table."""
    config = "{{ config(materialized='incremental', schema='dwh_facts', unique_key='id') }}\n"
    body = "select id, mois from {{ ref('stg_lignes') }}{% if is_incremental() %} where id > (select max(id) from {{ this }}){% endif %}"
    for project in (changed.runner.project, changed.project):
        (project / "models/facts/fait_jours.sql").write_text(config + body)
    try:
        changed.live()
        changed.runner.database.run("insert into src.lignes values (101, 1, 1, 0)")
        (changed.models / "facts/fait_jours.sql").write_text(
            config.replace(") }}", ", post_hook='delete from src.lignes') }}")
            + body.replace("select id, mois", "select id, mois + 100 as mois", 1)
        )
        code, found = changed.preview_json()
        assert code == 3
        (mart,) = found["marts"]
        assert (mart["relation"], mart["rowsBefore"], mart["rowsAfter"], mart["added"]) == ("dwh_marts.mart_b", 100, 101, 1)
        assert "hook not run: fait_jours: delete from src.lignes" in found["leftOut"]
        assert changed.runner.database.rows("select count(*) from src.lignes") == [(101,)]
        assert changed.runner.database.rows("select count(*) from dwh_facts.fait_jours") == [(100,)]
    finally:
        original = "{{ config(schema='dwh_facts') }}\nselect id, mois from {{ ref('stg_lignes') }}\n"
        (changed.runner.project / "models/facts/fait_jours.sql").write_text(original)


def test_no_test_stores_its_rows(changed: ChangedProject):
    """They would be in a schema that is not the preview's, and stay. The control is the run before, whose test stores them."""
    for project in (changed.runner.project, changed.project):
        (project / "tests").mkdir(exist_ok=True)
        (project / "tests/stores.sql").write_text(
            "{{ config(store_failures=true, severity='warn', tags=['P2']) }} select * from {{ ref('mart_a') }} where id < 4"
        )
    try:
        changed.live()
        audit = (
            "select c.oid, relfilenode from pg_class c join pg_namespace n on n.oid = relnamespace where nspname like '%dbt_test__audit'"
        )
        before = changed.runner.database.rows(audit)
        assert before
        changed.replace("marts/mart_a", "select id, zone, mois", "select id, zone + 1 as zone, mois")
        code, found = changed.preview_json()
        assert (code, [problem["name"] for problem in found["problems"]]) == (3, ["stores"])
        assert changed.runner.database.rows(audit) == before
        assert changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []
    finally:
        (changed.runner.project / "tests/stores.sql").unlink()


def test_a_killed_preview_is_removed_by_cleanup(changed: ChangedProject):
    """SIGKILL leaves its schemas, which the registry of the warehouse knows. SIGTERM leaves nothing. The live marts stay."""
    changed.live()
    changed.replace("marts/mart_b", "select id, mois", "select id, mois, pg_sleep(0.2)::text as lent")
    command = [sys.executable, "-m", "refresh_runner", "preview", str(changed.file), "--project", str(changed.project)]
    for number, left in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        process = subprocess.Popen(
            [*command, "--base", str(changed.runner.project)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        eventually(lambda: changed.runner.running_queries("pg_sleep"), within=60)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        schemas = changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'")
        assert bool(schemas) == left, output
    changed.runner.database.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'preview-%'")
    eventually(lambda: not changed.runner.running_queries("pg_sleep"), within=10)
    ((schema,),) = changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'")
    changed.runner.database.run(f"create table {schema}.vu (n integer); create view public.regard as select n from {schema}.vu")
    changed.capsys.readouterr()
    assert main(["cleanup", "petit", "--namespace", "essai", "--yes"]) == 0
    assert "stay, since view regard depends on them" in changed.capsys.readouterr().out
    assert changed.runner.database.rows("select count(*) from public.regard") == [(0,)]
    changed.runner.database.run("drop view public.regard")
    assert main(["cleanup", "petit", "--namespace", "essai", "--yes"]) == 0
    assert "removed the schema dwh_marts__preview_" in changed.capsys.readouterr().out
    assert changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []
    assert changed.runner.database.rows("select count(*) from dwh_marts.mart_b") == [(100,)]
