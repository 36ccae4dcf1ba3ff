"""Data tests whose statements may differ between runs are compiled by dbt in each run, and have the results of plain dbt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest

from refresh_api.run_request import ExitCode
from refresh_runner.cli.parse import cache_project
from refresh_runner.dbt import manifest_cache
from refresh_runner.dbt.project import Dbt
from refresh_runner.dbt.template_purity import Templates
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import NodeResult, NodeState
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.conninfo import ConnectionInfo, from_variables
from support.runner_harness import HAS_OPTIONAL_PATCHES, RunnerHarness, write_project

SETTINGS = DbtSettings(4, "prod", "dwh", {"as_of": "2026-02-03"})
FINDS, PASSES = "select 1 as one", "select 1 as one where false"
MART = "{{ ref('mart_a') }}"

KEPT = {
    "plain": f"select * from {MART} where id < 0",
    "the_date_as_it_is": f"select * from {MART} where date '{{{{ var('as_of') }}}}' <> '2026-02-03'",
    "the_date_by_a_macro": f"select * from {MART} where {{{{ the_day() }}}} <> '2026-02-03'",
    "another_variable": f"{{% if var('zone', 3) == 3 %}}{FINDS} from {MART}{{% else %}}{PASSES} from {MART}{{% endif %}}",
    "the_target": f"{{% if target.name == 'prod' %}}{FINDS} from {MART}{{% else %}}{PASSES} from {MART}{{% endif %}}",
    "a_macro_of_dbts": f"select * from {MART} where id < 0 and {{{{ dbt.current_timestamp() }}}} is null",
    "may_complain": f"{{% if var('zone', 3) == 4 %}}{{{{ exceptions.raise_compiler_error('no') }}}}{{% endif %}}{FINDS} from {MART}",
    "has_a_comment": f"{FINDS} from {MART} where current_query() like '%a comment of this run%'",
}
"""These are the control: nothing of the others' kind is in them."""
NOT_KEPT = {
    "the_clock_as_text": f"select at from src.read_at where timestamptz '{{{{ run_started_at }}}}' < at -- {MART}",
    "the_day_of_the_week": f"{{% if run_started_at.weekday() in {{days}} %}}{FINDS}{{% else %}}{PASSES}{{% endif %}}",
    "the_clock_of_python": "{% set today = modules.datetime.date.today() %}" + f"{FINDS} where '{{{{ today }}}}' = current_date::text",
    "the_environment": f"{FINDS} from {MART} where {{% if execute %}}{{{{ env_var('LEAST', '0') }}}} > 0{{% endif %}}",
    "the_invocation": f"{{% if invocation_id[0] in '01234567' %}}{FINDS}{{% else %}}{FINDS} where true{{% endif %}}",
    "the_database": f"{{% if target.dbname == 'petit' %}}{FINDS}{{% else %}}{PASSES}{{% endif %}}",
    "where_a_mart_is": f"{{% if ref('mart_a').database == 'petit' %}}{FINDS}{{% else %}}{PASSES}{{% endif %}}",
    "the_date_decides": f"{{% if var('as_of') == '2026-02-03' %}}{FINDS}{{% else %}}{PASSES}{{% endif %}}",
    "the_date_decides_later": "{% set day = 'on ' ~ var('as_of') %}"
    + f"{{% if '02-03' in day %}}{FINDS} as o{{% else %}}{PASSES}{{% endif %}}",
    "a_part_of_the_date": f"{{% set digit = var('as_of')[0] %}}{FINDS} where {{{{ digit }}}} = 2",
    "the_date_is_printed_as_a_verdict": f"{FINDS} where {{{{ var('as_of').endswith('-03') }}}}",
    "asks_for_columns": "select 1 as one where {{ adapter.get_columns_in_relation(ref('mart_a')) | length }} = 3",
    "asks_for_a_relation": f"{{% if load_relation(ref('mart_a')) is none %}}{PASSES}{{% else %}}{FINDS}{{% endif %}}",
    "asks_unguarded": "{% set found = run_query('select count(*) from ' ~ ref('mart_a')) %}"
    + "select 1 as one where {{ found.columns[0].values()[0] if execute else 0 }} = 100",
    "asks_by_a_block": "{% call statement('n', fetch_result=True) %}select 100{% endcall %}"
    + "select 1 as one where {{ load_result('n')['data'][0][0] if execute else 0 }} = 100",
    "asks_by_a_macro": f"select 1 as one where {{{{ how_many() }}}} = 100 /* {MART} */",
    "calls_by_a_made_name": f"select 1 as one where {{{{ context['how_' ~ 'many']() }}}} = 100 /* {MART} */",
    "says_something": "{{ log('found', info=true) }}" + FINDS,
    "by_chance": f"{FINDS} where {{{{ [1, 2, 3, 4, 5, 6, 7, 8] | random }}}} > 0",
    "in_any_order": "select {{ set(['a', 'b', 'c']) | length }} as one",
    "reads_what_has_no_table": "select at from src.read_at, {{ ref('passing') }} where day < at",
}
DAYS = "(0, 1, 2, 3, 4, 5, 6)"
MACROS = """
{% macro the_day() %}{% set day = var('as_of', (run_started_at | string)[:10]) | string %}
{%- if not modules.re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}', day) %}{{ exceptions.raise_compiler_error('no date: ' ~ day) }}{% endif -%}
date '{{ day }}'{% endmacro %}
{% macro how_many() %}{% if execute %}{{ return(run_query('select 100').columns[0].values()[0]) }}{% endif %}0{% endmacro %}
{% test not_since(model, column_name, hours=1) %}
select 1 as one from src.read_at where timestamptz '{{ run_started_at }}' < at -- {{ model }}
{% endtest %}
{% test below(model, column_name, most) %}select * from {{ model }} where {{ column_name }} >= {{ most }}{% endtest %}
"""
PROPERTIES = """
models:
  - name: stg_lignes
    columns:
      - name: id
        data_tests:
          - not_since
          - below: {name: below_a_thousand, arguments: {most: 1000}}
          - below: {name: below_by_environment, arguments: {most: "{{ env_var('LEAST', '1000') if execute else 1000 }}"}}
          - below: {name: below_by_date, arguments: {most: "{{ var('as_of')[:4] }}"}}
"""
GENERIC_KEPT = {"below_a_thousand"}
GENERIC_NOT = {"not_since_stg_lignes_id", "below_by_environment", "below_by_date"}


def _write(place: Path) -> Path:
    project = write_project(place)
    with (project / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\nquery-comment: 'a comment of this run, {{ invocation_id }}'\n")
    (project / "tests").mkdir()
    for name, text in {**KEPT, **NOT_KEPT}.items():
        (project / "tests" / f"{name}.sql").write_text(text.replace("{days}", DAYS))
    (project / "macros" / "ours.sql").write_text(MACROS)
    (project / "models" / "further.yml").write_text(PROPERTIES)
    (project / "models" / "passing.sql").write_text(
        "{{ config(materialized='ephemeral') }} select timestamptz '{{ run_started_at }}' as day"
    )
    return project


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same project twice: parsed in each run, and parsed in advance."""
    place = tmp_path_factory.mktemp("frozen")
    each = _write(place / "each")
    ahead = Path(copytree(each, place / "ahead"))
    said: list[str] = []
    assert cache_project(ahead, replace(SETTINGS, variables={}), said.append) is ExitCode.OK
    assert "is cached: " in said[0], said
    return each, ahead


def _dbt(project: Path, workdir: Path, access: ConnectionInfo, as_of: str = "2026-02-03") -> Dbt:
    dbt = Dbt(project, workdir, access, replace(SETTINGS, variables={"as_of": as_of}), "frozen", lambda _level, _line: None)
    dbt.parse()
    return dbt


def _found(dbt: Dbt) -> dict[str, tuple[NodeState, str, str | None]]:
    results: tuple[NodeResult, ...] = dbt.test(dbt.graph.tests(Selection(("*",))), timedelta(minutes=1)).nodes
    return {result.node.name: (result.state, result.message, result.sqlstate) for result in results}


@pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="no statement is stored without the optional patches")
def test_a_statement_is_kept_where_it_is_the_same_in_every_run_and_nowhere_else(projects: tuple[Path, Path], tmp_path: Path) -> None:
    """Compared by the tests' names, so that each kind is covered."""
    dbt = _dbt(projects[1], tmp_path / "ahead", ConnectionInfo("127.0.0.1", 5432, "d", "u", "p"))
    names = {test.id: test.name for test in dbt.graph.tests(Selection(("*",)))}
    kept = {names[id_] for id_ in dbt.test_templates}
    assert kept & (NOT_KEPT.keys() | GENERIC_NOT) == set()
    assert kept >= KEPT.keys() | GENERIC_KEPT


@pytest.mark.parametrize("as_of", ["2026-02-03", "2026-02-01"])
def test_every_test_says_what_dbt_says(
    runner: RunnerHarness, projects: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_of: str
) -> None:
    """On another day, in another environment, and after the project was parsed."""
    monkeypatch.setenv("LEAST", "5")
    assert runner.run().code == 0
    # All stored statements were stored earlier.
    runner.database.run("create table src.read_at as select now() as at")
    access = from_variables(runner.database.env)
    each, ahead = (_found(_dbt(project, tmp_path / project.name, access, as_of)) for project in projects)
    assert each == ahead
    states = {name: state for name, (state, _, _) in ahead.items()}
    on_the_day = NodeState.FAILED if as_of == "2026-02-03" else NodeState.OK
    assert states["the_date_decides"] is states["the_date_is_printed_as_a_verdict"] is on_the_day
    assert states["the_date_as_it_is"] is states["the_date_by_a_macro"] is (NodeState.OK if as_of == "2026-02-03" else NodeState.FAILED)
    assert states["the_clock_as_text"] is states["reads_what_has_no_table"] is states["not_since_stg_lignes_id"] is NodeState.OK
    assert states["the_environment"] is states["the_clock_of_python"] is states["has_a_comment"] is NodeState.FAILED
    asking = [name for name in NOT_KEPT if name.startswith("asks_")]
    assert {states[name] for name in asking} == {NodeState.FAILED}, "the mart has 100 rows and 3 columns"
    assert states["below_by_environment"] is NodeState.FAILED


@pytest.mark.slow
@pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="no statement is stored without the optional patches")
@pytest.mark.parametrize(
    ("macro", "kept"),
    [
        pytest.param(
            "{% materialization test, default %}{% call statement('main', fetch_result=True) %}"
            "select 1 as failures, false as should_warn, true as should_error{% endcall %}{{ return({'relations': []}) }}"
            "{% endmaterialization %}",
            0,
            id="a materialization of its own",
        ),
        pytest.param(
            "{% macro default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) %}"
            "select {{ fail_calc }} + 1 as failures, false as should_warn, true as should_error from ({{ main_sql }}) t{% endmacro %}",
            4,
            id="another statement around it",
        ),
        pytest.param(
            "{% macro postgres__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) %}{% set n = run_query('select 1 as asks') %}"
            "select 1 as failures, false as should_warn, true as should_error from ({{ main_sql }}) t{% endmacro %}",
            0,
            id="which asks the warehouse",
        ),
        pytest.param(
            "{% macro get_where_subquery(relation) %}"
            "{{ return('(select * from ' ~ relation ~ ' where ' ~ (run_started_at.year > 1) ~ ') t') }}{% endmacro %}",
            1,
            id="which looks at the clock",
        ),
    ],
)
def test_a_projects_own_way_of_testing_counts(runner: RunnerHarness, tmp_path: Path, macro: str, kept: int) -> None:
    """Each test has the result that it has in plain dbt, whether or not its statement is stored."""
    assert runner.run().code == 0
    each = write_project(tmp_path / "each")
    (each / "macros" / "ours.sql").write_text(macro)
    with (each / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\n")
    (each / "tests").mkdir()
    (each / "tests" / "plain.sql").write_text(KEPT["plain"])
    ahead = Path(copytree(each, tmp_path / "ahead"))
    assert cache_project(ahead, replace(SETTINGS, variables={}), lambda _line: None) is ExitCode.OK
    assert manifest_cache.path(ahead, SETTINGS).is_file()
    access = from_variables(runner.database.env)
    theirs, ours = (_dbt(project, tmp_path / f"{project.name}-work", access) for project in (each, ahead))
    assert len(ours.test_templates) == kept
    assert (expected := _found(theirs)) == _found(ours)
    assert expected["plain"][0] is (NodeState.OK if kept == 1 else NodeState.BROKEN if "asks" in macro else NodeState.FAILED)


KEEP_READING = {
    "writes_the_clock": "select '{{ run_started_at.strftime(\"%Y\") }}' as id where '{{ var(\"as_of\") }}' > '1999'",
    "executes_only": "{% if execute and run_started_at.hour > 25 %}{{ log('x') }}{% endif %}select 1 as id",
    "decides_what_is_written": "{% set day = var('as_of') %}select '{{ day }}' as id{% if day > '1999' %} where true{% endif %}",
    "writes_by_a_macro": "select {{ by() }} as id",
    "decides_by_the_target": "{{ config(tags=[target.name, target['schema']]) }}select '{{ target.dbname }}' as id",
}
READ_AGAIN = {
    "enabled_on_a_day": "{{ config(enabled=run_started_at.weekday() < 9) }} select 1 as id",
    "never_yet_enabled": "{{ config(enabled=run_started_at.weekday() == 9) }} select 1 as id",
    "reads_by_date": "select 1 as id {% if var('as_of') > '1999' %} from {{ ref('mart_a') }}{% endif %}",
    "a_verdict_kept": "{% set late = run_started_at.hour > 25 %}{{ config(tags=[late | string]) }} select 1 as id",
    "by_a_macro": "{{ config(meta={'by': by()}) }} select 1 as id",
    "macro_decides": "{{ tell(var('as_of')) }}select 1 as id",
    "whole_target": "{% set t = target %}{{ config(enabled=t.host != 'x') }} select 1 as id",
    "where_it_is": "{% if this.database == 'x' %}{{ config(alias='n') }}{% endif %}select 1 as id",
    "by_a_loop": "{% for each in set(['a', 'b']) %}{{ config(tags=[each]) }}{% endfor %}select 1 as id",
}
READ_MACROS = """
{% macro by() %}{{ modules.datetime.date.today().year }}{% endmacro %}
{% macro tell(day) %}{% if day > '1999' %}{{ config(tags=['late']) }}{% endif %}{% endmacro %}
{% macro generate_alias_name(n, node) %}{{ 'x' if target.dbname == 'x' else node.name }}{% endmacro %}
{% macro generate_database_name(n, node) %}{{ n if n is not none else target.database }}{% endmacro %}
"""
SETTINGS_KEPT = ["{{ target.dbname }}", "{{ target.name == 'prod' }}", "{{ var('zone', 3) }}", "no template, run_started_at"]
SETTINGS_NOT = ["{{ run_started_at.year }}", "{{ var('as_of') > '1' }}", "{{ 'a' if target.dbname == 'x' else 'b' }}"]


def test_a_project_is_kept_where_nothing_that_it_says_to_dbt_depends_on_the_day(tmp_path: Path) -> None:
    """Parsing the project on two Mondays would not show a difference. What a model only outputs to its SQL is compiled in each run."""
    project = write_project(tmp_path / "project")
    (project / "macros" / "further.sql").write_text(READ_MACROS)
    for name, text in {**KEEP_READING, **READ_AGAIN}.items():
        (project / "models" / f"{name}.sql").write_text(text)
    manifest = _dbt(project, tmp_path / "work", ConnectionInfo("127.0.0.1", 5432, "d", "u", "p")).graph.manifest
    naming = {id_: macro for id_, macro in manifest.macros.items() if macro.package_name == "petit" and macro.name.startswith("generate_")}
    nodes, disabled, macros = manifest.nodes, manifest.disabled, {id_: each for id_, each in manifest.macros.items() if id_ not in naming}

    def why(model: str = "", settings: object = None, macro: str = "") -> str | None:
        id_ = f"model.petit.{model}"
        manifest.nodes = {id_: nodes[id_]} if id_ in nodes else {}
        manifest.disabled = {id_: disabled[id_]} if id_ in disabled else {}
        manifest.macros = {**macros, **{each: naming[each] for each in naming if macro and each.endswith(macro)}}
        return Templates(manifest).why_reading_may_differ([("a.yml", {"models": [{"config": {"meta": settings}}]})])

    assert [name for name in KEEP_READING if why(name)] == []
    assert [name for name in READ_AGAIN if f"model.petit.{name} depends" not in str(why(name)) and name != "macro_decides"] == []
    assert "macro.petit.tell depends" in str(why("macro_decides"))
    assert [text for text in SETTINGS_KEPT if why(settings=text)] == []
    assert [text for text in SETTINGS_NOT if "a.yml" not in str(why(settings=text))] == []
    assert "generate_alias_name depends" in str(why(macro="generate_alias_name"))
    assert why(macro="generate_database_name") is None


@pytest.mark.slow
def test_what_keeps_a_project_from_being_read_ahead_is_said(tmp_path: Path) -> None:
    """The message names the model or the variable."""
    for text, why in {
        READ_AGAIN["reads_by_date"]: "model.petit.m depends on a value that differs between runs: `if` in line 1",
        "select {{ env_var('LEAST', '0') }} as id": "it reads environment variables: LEAST",
    }.items():
        project = write_project(tmp_path / "project")
        (project / "models" / "m.sql").write_text(text)
        said: list[str] = []
        assert cache_project(project, replace(SETTINGS, variables={}), said.append) is ExitCode.OK
        assert f"can be parsed, but not cached, so every run parses it: {why}" in said[0]
        assert not manifest_cache.path(project, replace(SETTINGS, variables={})).exists()
