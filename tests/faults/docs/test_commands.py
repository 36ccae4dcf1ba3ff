"""Commands of the guide work on a real API server with operator and chart, and on a real PostgreSQL."""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import nullcontext
from itertools import takewhile

import psycopg
import pytest
import yaml

from refresh_runner.postgres import own_tables
from refresh_runner.publish import versions
from refresh_runner.runlog import schema
from support.guide import ROOT, all_blocks, blocks, pages
from support.postgres import Database

PAGES = [page for page in pages() if page != "install" and any(block.kind == "cluster" for block in blocks(page))]
OLD_TABLE = """create table dbt_refresh_log (
    refresh_id serial primary key, run_date timestamptz default now(), success boolean, models_updated integer, notes text)"""


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(installed, page):
    """Readers type one block after the other. Each must work at its position on the page."""
    for block in blocks(page):
        if block.kind == "cluster":
            installed.run(block)


@pytest.mark.parametrize("block", all_blocks("console", "refused"), ids=str)
def test_what_must_be_refused_is(installed, block):
    """Commands marked `refused` must fail."""
    answers = {command: installed.attempt(command) for command in block.commands}
    assert [command for command, done in answers.items() if done.returncode == 0 or done.stdout.strip() != "no"] == []


@pytest.mark.parametrize("block", all_blocks("console", "checked"), ids=str)
def test_options_of_kubectl_that_are_not_run_exist(installed, block):
    """Options of commands that are not run are looked up in kubectl's help."""
    for command in block.commands:
        program, *words = shlex.split(command)
        if program == "kubectl" and words[0] != "dashboardrefresh":
            # a command may begin with an option that all have, and its value
            subject = takewhile(lambda word: not word.startswith("-"), words[2:] if words[0].startswith("-") else words)
            says = installed.attempt(f"kubectl {' '.join(subject)} --help", "kubectl options").stdout
            options = [word.partition("=")[0] for word in words if word.startswith("-")]
            assert [option for option in options if not re.search(rf"(?<![\w-]){option}[ =]", says)] == [], command


@pytest.mark.parametrize("block", all_blocks("yaml", "values"), ids=str)
def test_values_of_the_chart_are_taken(helm, block, tmp_path):
    """`helm template` refuses unknown values."""
    (tmp_path / "values.yaml").write_text(block.text)
    command = [str(helm), "template", "r", str(ROOT / "deploy/helm"), "-f", str(tmp_path / "values.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_on_taking_it_away_works(installed):
    """Runs last, because nothing is left afterwards. Objects owned by the refresh are deleted with it."""
    for block in all_blocks("console", "gone"):
        installed.run(block)


@pytest.fixture
def log(fresh_database: Database) -> Database:
    """A database with the old flow's log table, the runner's tables and columns, and a mart."""
    fresh_database.run(OLD_TABLE)
    fresh_database.run("create schema dwh_marts_operationnel")
    fresh_database.run("create table dwh_marts_operationnel.mart_indemnisations (zone_id integer, montant_du numeric)")
    for table in (schema.LEGACY_LOG, *schema.RUN_LOG, versions.TABLE):
        columns = "refresh_id run_date success models_updated notes".split()
        found = [(table.name, column) for column in columns] if table is schema.LEGACY_LOG else []
        for statement in own_tables.ddl_statements(table, found):
            fresh_database.run(statement)
    return fresh_database


def test_the_queries_of_the_guide_work(log: Database):
    """The queries must match the tables that the runner creates."""
    with log.connect() as connection:
        for block in all_blocks("sql"):
            # roles belong to the whole server, so they are created in a transaction that is rolled back
            with nullcontext() if "commit" in block.text else connection.transaction(force_rollback=True):
                try:
                    connection.execute(block.text.encode())
                except psycopg.Error as error:
                    pytest.fail(f"{block}: {error}")


def test_the_old_flow_and_ours_are_compared_by_their_rows(log: Database):
    """Two runs of each flow: the marts of one pair agree, those of the other do not."""
    log.run("""insert into dbt_refresh_log (run_date, success, models_updated, notes, refresh, run_id) values
        (now() - interval '5 hours', true, 4, '4/4', null, null),
        (now() - interval '4 hours', true, 4, '4/4', 'phase2-dashboards-refresh', 'a'),
        (now() - interval '2 hours', true, 4, '4/4', null, null),
        (now() - interval '1 hours', true, 4, '3/4', 'phase2-dashboards-refresh', 'b'),
        (now(), true, 9, 'Main', 'main-pipeline', 'c')""")
    compare, disagreements = [block.text for block in all_blocks("sql") if block.page == "prefect"]
    assert [(ours, theirs) for *_, ours, theirs in log.rows(compare)] == [("3/4", "4/4"), ("4/4", "4/4")]
    assert log.rows(disagreements) == [(2, 1)]


def test_alerts_link_to_the_guide(helm):
    """Alerts link to the guide where `monitoring.runbookUrl` is set, and have no link otherwise."""

    def urls(*sets: str) -> list[str]:
        words = [word for each in ("monitoring.alerts=true", *sets) for word in ("--set", each)]
        command = [str(helm), "template", "r", str(ROOT / "deploy/helm"), "-s", "templates/monitoring.yaml", *words]
        rule = yaml.safe_load(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
        return [each["annotations"].get("runbook_url", "") for each in rule["spec"]["groups"][0]["rules"]]

    assert set(urls()) == {""}
    assert urls("monitoring.runbookUrl=https://guide.example.org")[0] == "https://guide.example.org/monitoring.html#dashboarddatastale"
