"""Parsing a dbt project once for all runs, and when this is not possible."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from refresh_api.run_request import ExitCode
from refresh_runner.__main__ import main
from refresh_runner.cli.parse import cache_project
from refresh_runner.dbt import manifest_cache
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import ConnectionInfo
from support.runner_harness import write_project

SETTINGS = DbtSettings(8, "prod", "dwh", {})
ACCESS = ConnectionInfo(host="127.0.0.1", port=5432, dbname="entrepot", user="u", password="p")


def _parsed(project: Path, workdir: Path, as_of: str) -> Dbt:
    settings = DbtSettings(2, "prod", "dwh", {"as_of": as_of})
    dbt = Dbt(project, workdir, ACCESS, settings, "test", lambda _level, _line: None)
    dbt.parse()
    return dbt


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that has not yet been parsed."""
    return write_project(tmp_path_factory.mktemp("parse") / "project")


@pytest.mark.slow
def test_what_was_read_ahead_is_what_a_run_would_have_read(project: Path, tmp_path: Path) -> None:
    """For another warehouse and date than those of the parse. Without moving nodes between databases, both would differ."""
    parsed = _parsed(project, tmp_path / "parsed", "2026-02-03").graph.manifest
    said: list[str] = []
    assert cache_project(project, SETTINGS, said.append) is ExitCode.OK
    assert "for every warehouse and date" in said[0]
    assert manifest_cache.path(project, SETTINGS).is_file()

    ahead = _parsed(project, tmp_path / "ahead", "2026-02-03").graph.manifest
    assert manifest_cache.difference(parsed, ahead) is None
    assert {node.database for node in ahead.nodes.values()} == {"entrepot"}
    manifest_cache.move(ahead, "warehouse")
    assert manifest_cache.difference(parsed, ahead) is not None


def test_a_changed_project_is_read_anew(project: Path) -> None:
    """The file's name is a hash of everything that the parse depends on: model, variables and target."""
    before = manifest_cache.path(project, SETTINGS)
    further = DbtSettings(8, "prod", "dwh", {"zone": 3})
    assert manifest_cache.path(project, further) != before
    assert manifest_cache.path(project, DbtSettings(8, "prod", "dwh", {"as_of": "2020-01-01"})) == before
    (project / "models" / "marts" / "mart_c.sql").write_text("select 1 as id")
    assert manifest_cache.path(project, SETTINGS) != before


@pytest.mark.slow
def test_a_project_is_read_ahead_for_the_refreshes_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For each refresh with its own schema and variables, and without a file for the defaults. Results for others are removed."""
    project = write_project(tmp_path / "project")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file, dbt in zip(files, ({"schema": "ventes"}, {"vars": {"zone": 3}}), strict=True):
        body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": file.stem}}
        spec = {"schedule": "0 0 1 1 *", "warehouse": {"secretRef": {"name": "w"}}, "layers": [{"name": "a", "select": ["*"]}]}
        file.write_text(yaml.safe_dump({**body, "spec": {**spec, "dbt": dbt}}))
    there = [
        manifest_cache.path(project, each)
        for each in (SETTINGS, DbtSettings(8, "prod", "ventes", {}), DbtSettings(8, "prod", "dwh", {"zone": 3}))
    ]
    assert main(["parse", "--project", str(project)]) == 0
    assert [each.exists() for each in there] == [True, False, False]
    assert main(["parse", "--project", str(project), *map(str, files)]) == 0
    assert [each.exists() for each in there] == [False, True, True]
    assert main(["parse", "--project", str(project), str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: No such file" in capsys.readouterr().out


def test_a_project_that_differs_by_date_is_not_kept(tmp_path: Path) -> None:
    """A model with the date in its configuration would keep an old one. Every run parses such a project itself."""
    project = write_project(tmp_path / "project")
    model = project / "models" / "marts" / "mart_b.sql"
    model.write_text("{{ config(meta={'jour': var('as_of', 'none')}) }}\n" + model.read_text())
    said: list[str] = []
    assert cache_project(project, SETTINGS, said.append) is ExitCode.OK
    assert "every run parses it: config.meta.jour of model.petit.mart_b differs between warehouses or dates" in said[0]
    assert not manifest_cache.path(project, SETTINGS).exists()


def test_a_project_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """The build of an image fails with this error."""
    project = write_project(tmp_path / "project")
    (project / "models" / "marts" / "mart_b.sql").write_text("select * from {{ ref('nowhere') }}")
    said: list[str] = []
    assert cache_project(project, SETTINGS, said.append) is ExitCode.FAILED
    assert "nowhere" in said[0]


SEMANTICS = """
semantic_models:
  - name: lignes
    model: ref('mart_a')
    defaults: {agg_time_dimension: jour}
    entities: [{name: id, type: primary}]
    dimensions: [{name: jour, type: time, type_params: {time_granularity: day}}]
    measures: [{name: nombre, agg: count, expr: id}]
metrics:
  - {name: nombre, label: Nombre, type: simple, type_params: {measure: nombre}}
saved_queries:
  - name: par_jour
    query_params: {metrics: [nombre], group_by: ["TimeDimension('lignes__jour', 'day')"]}
    exports: [{name: par_jour, config: {export_as: table, schema: exports}}]
models:
  - name: jours
    time_spine: {standard_granularity_column: date_day}
    columns: [{name: date_day, granularity: day}]
"""


@pytest.mark.slow
@pytest.mark.parametrize("quoting", ["{database: false}", "{database: false, schema: false, identifier: false}", "{}"])
def test_what_names_a_database_is_moved_to_the_runs(tmp_path: Path, quoting: str) -> None:
    """Nodes, sources, semantic models and exports of saved queries, quoted or not. A literal database name is left alone."""
    project = write_project(tmp_path / "project")
    with (project / "dbt_project.yml").open("a") as file:
        file.write(f"quoting: {quoting}\n")
    (project / "models" / "jours.sql").write_text("select date '2026-01-01' as date_day")
    (project / "models" / "semantics.yml").write_text(SEMANTICS)
    parsed = _parsed(project, tmp_path / "parsed", "2026-02-03").graph.manifest
    said: list[str] = []
    assert cache_project(project, SETTINGS, said.append) is ExitCode.OK
    assert "is cached: " in said[0], said
    ahead = _parsed(project, tmp_path / "ahead", "2026-02-03").graph.manifest
    assert manifest_cache.difference(parsed, ahead) is None
    relation = next(iter(ahead.semantic_models.values())).node_relation
    assert relation is not None
    assert relation.relation_name == parsed.nodes["model.petit.mart_a"].relation_name
    assert "entrepot" in str(relation.relation_name)
    assert next(iter(ahead.saved_queries.values())).exports[0].config.database == "entrepot"
    before = str(ahead.nodes["model.petit.mart_b"].relation_name)
    manifest_cache.move(ahead, "elsewhere", "another")
    assert ahead.nodes["model.petit.mart_b"].relation_name == before, "it did not stand in that one"
    manifest_cache.move(ahead, "elsewhere", "entrepot")
    assert ahead.nodes["model.petit.mart_b"].relation_name == before.replace("entrepot", "elsewhere")
