"""Data tests whose statements are stored at parse time have the results that dbt gives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from shutil import copytree

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from refresh_runner.cli.parse import cache_project
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import NodeResult, NodeState
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.conninfo import ConnectionInfo, from_variables
from support.runner_harness import HAS_OPTIONAL_PATCHES, RunnerHarness, write_project

pytestmark = pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="no statement is stored without the optional patches")


MART = "{{ ref('mart_a') }}"
TESTS = {
    "finds_nothing": f"select * from {MART} where id < 0",
    "finds_three": f"select * from {MART} where id < 4",
    "warns": f"{{{{ config(severity='warn') }}}} select * from {MART} where id < 4",
    "may_find_five": f"{{{{ config(warn_if='>2', error_if='>5') }}}} select * from {MART} where id < 4",
    "sums": f"{{{{ config(fail_calc='sum(id)') }}}} select * from {MART} where id < 4",
    "sums_nothing": f"{{{{ config(fail_calc='sum(id)') }}}} select * from {MART} where id < 0",
    "stops_at_two": f"{{{{ config(limit=2) }}}} select * from {MART} where id < 4",
    "knows_the_date": f"select * from {MART} where date '{{{{ var(\"as_of\") }}}}' = '2026-02-03' and id = 1",
    "is_broken": f"select nothing_of_it from {MART}",
    "does_not_divide": f"select * from {MART} where 1 / (id - id) = 1",
    "stores": f"{{{{ config(store_failures=true) }}}} select * from {MART} where id < 4",
    "asks_first": "{% set n = run_query('select 4').columns[0].values()[0] if execute else 0 %}"
    + f"select * from {MART} where id < {{{{ n }}}}",
    "knows_its_schema": f"select 1 where '{{{{ ref('mart_a').schema }}}}' = 'dwh_marts' and exists (select from {MART})",
}
NOT_KNOWN = {"stores", "asks_first", "knows_its_schema"}
"""Two statements, a question before, and a schema that is a value."""
SETTINGS = DbtSettings(4, "prod", "dwh", {"as_of": "2026-02-03"})


def _dbt(project: Path, workdir: Path, access: ConnectionInfo) -> Dbt:
    dbt = Dbt(project, workdir, access, SETTINGS, "known-tests", lambda _level, _line: None)
    dbt.parse()
    return dbt


def _found(dbt: Dbt) -> dict[str, tuple[NodeState, str, str | None]]:
    results: tuple[NodeResult, ...] = dbt.test(dbt.graph.tests(Selection(("test_type:singular",))), timedelta(minutes=1)).nodes
    return {result.node.name: (result.state, result.message, result.sqlstate) for result in results}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same project twice: parsed in each run, and parsed in advance."""
    place = tmp_path_factory.mktemp("known")
    each = write_project(place / "each")
    with (each / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\n")
    (each / "tests").mkdir()
    for name, text in TESTS.items():
        (each / "tests" / f"{name}.sql").write_text(text)
    ahead = Path(copytree(each, place / "ahead"))
    said: list[str] = []
    assert cache_project(ahead, DbtSettings(4, "prod", "dwh", {}), said.append) is ExitCode.OK
    # The project's properties have three more tests.
    assert f"the statements of {len(TESTS) - len(NOT_KNOWN) + 3} tests" in said[0]
    return each, ahead


def test_a_stored_test_has_the_result_of_dbt(runner: RunnerHarness, projects: tuple[Path, Path], tmp_path: Path) -> None:
    """State, message and SQLSTATE agree for each kind of test."""
    assert runner.run().code == 0
    access = from_variables(runner.database.env)
    each, ahead = (_dbt(project, tmp_path / project.name, access) for project in projects)
    expected = _found(each)
    assert expected["finds_three"] == (NodeState.FAILED, "Got 3 results, configured to fail if != 0", None)
    assert expected["is_broken"][0] is NodeState.BROKEN
    assert expected["is_broken"][2] == "42703"
    assert {name: found[0] for name, found in expected.items()} == {
        "finds_nothing": NodeState.OK,
        "finds_three": NodeState.FAILED,
        "warns": NodeState.WARNED,
        "may_find_five": NodeState.WARNED,
        "sums": NodeState.FAILED,
        "sums_nothing": NodeState.BROKEN,
        "stops_at_two": NodeState.FAILED,
        "knows_the_date": NodeState.FAILED,
        "is_broken": NodeState.BROKEN,
        "does_not_divide": NodeState.BROKEN,
        "stores": NodeState.FAILED,
        "asks_first": NodeState.FAILED,
        "knows_its_schema": NodeState.FAILED,
    }
    assert _found(ahead) == expected


def test_stored_tests_are_sent_as_they_were_stored(runner: RunnerHarness, projects: tuple[Path, Path], tmp_path: Path) -> None:
    """The control of the test above: a modified stored statement has another result."""
    assert runner.run().code == 0
    dbt = _dbt(projects[1], tmp_path / "other", from_variables(runner.database.env))
    nodes = [node for node in dbt.graph.tests(Selection(("test_type:singular",))) if node.name in {"finds_nothing", "stores"}]
    dbt._engine.test_templates = {id_: kept.replace("id < 0", "id < 3") for id_, kept in dbt.test_templates.items()}
    assert [(result.node.name, result.message.split(",")[0]) for result in dbt.test(nodes, timedelta(minutes=1)).nodes] == [
        ("finds_nothing", "Got 2 results"),
        ("stores", "Got 3 results"),
    ]


def test_stored_tests_share_their_connections(runner: RunnerHarness, projects: tuple[Path, Path], tmp_path: Path) -> None:
    """There is at most one connection per thread, and none is left open. Plain dbt connects once per test."""
    assert runner.run().code == 0
    counts = []
    for project in projects:
        dbt = _dbt(project, tmp_path / project.name, from_variables(runner.database.env))
        nodes = [node for node in dbt.graph.tests(Selection(("test_type:singular",))) if node.name not in NOT_KNOWN]
        with psycopg.connect(runner.database.dsn, autocommit=True) as watcher:
            runner.database.settle()
            before = _sessions(watcher)
            dbt.test(nodes, timedelta(minutes=1))
            runner.database.settle()
            counts.append(_sessions(watcher) - before)
            left = watcher.execute("select count(*) from pg_stat_activity where application_name = 'known-tests'").fetchone()
            assert left == (0,)
    assert counts[0] >= len(TESTS) - len(NOT_KNOWN)
    assert counts[1] <= SETTINGS.threads + 2, "one more for hooks"


def _sessions(connection: psycopg.Connection) -> int:
    connection.execute("select pg_stat_clear_snapshot(), pg_sleep(0.2)")
    row = connection.execute("select sessions from pg_stat_database where datname = current_database()").fetchone()
    return int(row[0]) if row else 0
