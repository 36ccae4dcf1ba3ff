"""A preview on a real warehouse: it says what a change does to the marts, readers see nothing of it, and nothing is left of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from refresh_api.names import API_VERSION, KIND
from refresh_runner.__main__ import main
from support.eventually import eventually
from support.runner_harness import RunnerHarness

EVERYTHING = """
    select n.nspname, c.relname, c.relkind::text, c.oid::bigint, c.relfilenode::bigint, pg_stat_get_tuples_inserted(c.oid), c.reltoastrelid
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relname !~ '^dbt_refresh_relation' order by 1, 2"""
"""Every relation with its files: what a preview must leave as it was."""


class Case:
    """A refresh that has run, and a copy of its project to change."""

    def __init__(self, runner: RunnerHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.runner, self.capsys = runner, capsys
        self.project = tmp_path / "changed"
        shutil.copytree(runner.project, self.project, ignore=shutil.ignore_patterns("target"))
        self.file = tmp_path / "refresh.yaml"
        self.models = self.project / "models"

    def live(self, **changes: object) -> None:
        """Run the refresh, so that its marts are live."""
        spec = self.runner.spec(**changes)
        assert self.runner.run(spec).code == 0
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "petit", "namespace": "essai"}, "spec": spec}
        self.file.write_text(yaml.safe_dump(body))

    def replace(self, model: str, old: str, new: str) -> None:
        """Change the text of a model."""
        path = self.models / f"{model}.sql"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def preview(self, *options: str) -> tuple[int, str]:
        """Preview the change; return exit code and output."""
        self.capsys.readouterr()
        code = main(["preview", str(self.file), "--project", str(self.project), "--base", str(self.runner.project), *options])
        return code, self.capsys.readouterr().out

    def preview_json(self, *options: str) -> tuple[int, Any]:
        """Preview the change; return exit code and report."""
        code, output = self.preview("-o", "json", *options)
        return code, json.loads(output)


@pytest.fixture
def case(runner: RunnerHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Case:
    """A refresh whose marts are live, with the warehouse in the variables of libpq."""
    secret = runner.database.secret
    for name, key in (("PGHOST", "host"), ("PGPORT", "port"), ("PGDATABASE", "dbname"), ("PGUSER", "user"), ("PGPASSWORD", "password")):
        monkeypatch.setenv(name, secret[key])
    return Case(runner, tmp_path, capsys)


def test_a_change_of_a_fact_shows_in_the_mart_that_reads_it(case: Case):
    """mart_a reads fait_lignes, mart_b does not. Readers see nothing: every relation is the file that it was, and no schema is left."""
    spec = case.runner.spec()
    spec["validation"]["marts"][0]["uniqueKey"] = ["id"]
    case.live(validation=spec["validation"])
    before = case.runner.database.rows(EVERYTHING)
    case.replace("facts/fait_lignes", "select id, zone, mois", "select id, case when id <= 3 then 0 else zone end as zone, mois")
    case.replace("marts/mart_a", "from {{ ref('fait_lignes') }}", "from {{ ref('fait_lignes') }} where id > 1")
    code, found = case.preview_json()
    assert code == 3
    assert [each["name"] for each in found["models"]] == ["fait_lignes", "mart_a"]
    (mart,) = found["marts"]
    assert mart["relation"] == "dwh_marts.mart_a"
    assert (mart["rows_before"], mart["rows_after"], mart["added"], mart["removed"], mart["changed"]) == (100, 99, 0, 1, 2)
    assert {column["name"]: column["changed"] for column in mart["columns"]} == {"id": None, "zone": 2, "mois": 0}
    assert {test["state"] for test in found["tests"]} == {"ok"}
    assert case.runner.database.rows(EVERYTHING) == before
    assert case.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []


def test_a_change_that_changes_nothing(case: Case):
    """The control: the model is built and compared, and the exit code is 0. A project without any change builds nothing."""
    case.live()
    code, output = case.preview()
    assert (code, output) == (0, "The change touches no model of this refresh.\n")
    case.replace("marts/mart_b", "select id, mois", "select id, mois + 0 as mois")
    code, output = case.preview()
    assert code == 0
    assert "dwh_marts.mart_b: no difference, 100 rows" in output


def test_columns_tests_and_what_is_allowed(case: Case):
    """A column more, a test that fails, and an exit code for a pipeline that accepts new columns."""
    case.live()
    case.replace("marts/mart_a", "select id, zone, mois", "select id % 50 as id, zone, mois, 'x' as nouveau")
    code, output = case.preview("--allow", "columns")
    assert code == 3
    assert "nouveau: no such column → text, 1 distinct, 0 NULL, x to x" in output
    assert "1 failed" in output
    assert "unique_mart_a_id" in output
    case.replace("marts/mart_a", "id % 50 as id", "id")
    assert case.preview("--allow", "columns")[0] == 0
    code, output = case.preview("-o", "markdown")
    assert code == 3
    assert "| nouveau |  | no such column | text, 1 distinct, 0 NULL, x to x |" in output


def test_a_change_that_cannot_be_built_says_why_and_leaves_nothing(case: Case):
    """As a run would fail, but before anybody is affected."""
    case.live()
    case.replace("marts/mart_b", "select id, mois", "select id, mois / 0 as mois")
    code, output = case.preview()
    assert code == 1
    assert "the change cannot be built: mart_b: " in output
    assert "division by zero" in output
    assert case.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []


def test_hooks_do_not_run_and_incremental_models_begin_with_what_is_live(case: Case):
    """A hook could write anywhere. An incremental model adds to a copy of its live table."""
    config = "{{ config(materialized='incremental', schema='dwh_facts', unique_key='id') }}\n"
    body = "select id, mois from {{ ref('stg_lignes') }}{% if is_incremental() %} where id > (select max(id) from {{ this }}){% endif %}"
    for project in (case.runner.project, case.project):
        (project / "models/facts/fait_jours.sql").write_text(config + body)
    try:
        case.live()
        case.runner.database.run("insert into src.lignes values (101, 1, 1, 0)")
        (case.models / "facts/fait_jours.sql").write_text(
            config.replace(") }}", ", post_hook='delete from src.lignes') }}")
            + body.replace("select id, mois", "select id, mois + 100 as mois", 1)
        )
        code, found = case.preview_json()
        assert code == 3
        (mart,) = found["marts"]
        assert (mart["relation"], mart["rows_before"], mart["rows_after"], mart["added"]) == ("dwh_marts.mart_b", 100, 101, 1)
        assert "hook not run: fait_jours: delete from src.lignes" in found["leftOut"]
        assert case.runner.database.rows("select count(*) from src.lignes") == [(101,)]
        assert case.runner.database.rows("select count(*) from dwh_facts.fait_jours") == [(100,)]
    finally:
        original = "{{ config(schema='dwh_facts') }}\nselect id, mois from {{ ref('stg_lignes') }}\n"
        (case.runner.project / "models/facts/fait_jours.sql").write_text(original)


def test_a_killed_preview_is_removed_by_cleanup(case: Case):
    """SIGKILL leaves its schemas, which the registry of the warehouse knows. SIGTERM leaves nothing. The live marts stay."""
    case.live()
    case.replace("marts/mart_b", "select id, mois", "select id, mois, pg_sleep(0.2)::text as lent")
    command = [sys.executable, "-m", "refresh_runner", "preview", str(case.file), "--project", str(case.project)]
    for number, left in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        process = subprocess.Popen(
            [*command, "--base", str(case.runner.project)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        eventually(lambda: case.runner.running_queries("pg_sleep"), within=60)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        schemas = case.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'")
        assert bool(schemas) == left, output
    case.runner.database.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'preview-%'")
    eventually(lambda: not case.runner.running_queries("pg_sleep"), within=10)
    case.capsys.readouterr()
    assert main(["cleanup", "petit", "--namespace", "essai", "--yes"]) == 0
    assert "removed the schema dwh_marts__preview_" in case.capsys.readouterr().out
    assert case.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []
    assert case.runner.database.rows("select count(*) from dwh_marts.mart_b") == [(100,)]
