"""What is made of schedules of other tools selects what the dbt project has: `lint` agrees, and the layers build what dbt would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.lint import lint
from refresh_runner.cli.parse import settings_of_request
from refresh_runner.dbt.open_project import open_project
from refresh_runner.model.loader import run_request_from_file
from refresh_runner.model.steps import Selection
from support.guide import ROOT
from support.imports import SOURCES, example, imported, imported_example
from support.plain_dbt import plain_dbt
from support.postgres import Database, create_database, drop_database

PROJECT = ROOT / "examples/velos"


@pytest.mark.parametrize("source", SOURCES)
def test_lint_finds_nothing_in_an_imported_refresh(tmp_path: Path, source: str):
    """The examples were written for this project, so every selection matches."""
    file = tmp_path / "refresh.yaml"
    file.write_text(imported_example(source))
    said: list[str] = []
    code = lint(file, PROJECT, None, datetime.now(UTC), lambda check: said.append(str(check)))
    assert (code, [line for line in said if not line.startswith("✓")]) == (0, [])


def test_lint_finds_a_selection_that_the_project_does_not_have(tmp_path: Path):
    """Control of the test above."""
    text = imported_example("CronJob").replace("+trajets_par_jour", "+trajets_par_an")
    (tmp_path / "refresh.yaml").write_text(text)
    said: list[str] = []
    assert lint(tmp_path / "refresh.yaml", PROJECT, None, datetime.now(UTC), lambda check: said.append(str(check))) == 1
    assert any("trajets_par_an" in line for line in said)


TYPED = {
    "CronJob": [["seed"], ["snapshot"], ["run", "--select", "+trajets_par_jour"]],
    "Cosmos": [["build", "--select", "tarifs", "stations_suivies"], ["build", "--select", "path:models", "--exclude", "longs_trajets"]],
    "Dagster": [["build", "--select", "+trajets_par_jour", "--exclude", "longs_trajets"]],
}
"""What people would type to build the same as each source does."""


def built(database: Database) -> dict[tuple[object, ...], int]:
    """Return what dbt has built, by schema, name and kind, with its number of rows."""
    query = "select relnamespace::regnamespace::text, relname, relkind::text from pg_class where relkind in ('r', 'v')"
    found = database.rows(f"{query} and relnamespace::regnamespace::text like 'dwh\\_%'")
    return {relation: int(str(database.rows(f"select count(*) from {relation[0]}.{relation[1]}")[0][0])) for relation in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_an_imported_refresh_builds_what_the_source_builds(postgres: EmbeddedPostgres, tmp_path: Path, name: str):
    """Plain dbt in one database, the refresh in another: the same tables and views with the same rows."""
    databases = [create_database(postgres, f"{side}_{name.lower()}") for side in ("theirs", "ours")]
    theirs, ours = databases
    try:
        for database in databases:
            database.run((PROJECT / "source.sql").read_text())
        for number, command in enumerate(TYPED[name]):
            done = plain_dbt(PROJECT, theirs, tmp_path / str(number), *command, "--profile", "petit")
            assert done.returncode == 0, done.stdout
        source, words = SOURCES[name]
        files = example(name)
        text = imported(source, *files, options=[*words[len(files) :], "--schema", "dwh"])
        (tmp_path / "refresh.yaml").write_text(text)
        command = ["run", str(tmp_path / "refresh.yaml"), "--project", str(PROJECT), "--termination-log", str(tmp_path / "log")]
        ran = runner(command, {**os.environ, **ours.env})
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert built(ours) == built(theirs)
        assert ("dwh_rapport", "trajets_par_jour", "r") in built(ours), "the control: something was built"
    finally:
        for database in databases:
            drop_database(database)


def runner(arguments: list[str], environment: Mapping[str, str], content: str = "") -> subprocess.CompletedProcess[str]:
    """Run `refresh-runner` in a process of its own."""
    words = [sys.executable, "-m", "refresh_runner", *arguments]
    return subprocess.run(words, input=content, env=dict(environment), capture_output=True, text=True, check=False, timeout=120)


def test_standard_input_is_read_and_errors_go_elsewhere():
    """So that the output of kubectl can be piped in, and that of the command into kubectl."""
    done = runner(["import", "cronjob", "-", "--name", "mine"], os.environ, example("CronJob")[0].read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert "metadata: {name: mine}" in done.stdout
    done = runner(["import", "cronjob", "-"], os.environ, "kind: Pod")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "✗ -: there is no CronJob in it\n")


def test_layers_select_what_the_commands_of_the_source_build(tmp_path: Path):
    """`dbt run --select +trajets_par_jour` builds models only, although it reads a seed and a snapshot."""
    file = tmp_path / "refresh.yaml"
    file.write_text(imported_example("CronJob"))
    request = run_request_from_file(file)
    with open_project(PROJECT, settings_of_request(request), "test") as dbt:
        built = {
            layer.name: [node.name for node in dbt.graph.buildable(Selection(tuple(layer.select), tuple(layer.exclude)))]
            for layer in request.spec.layers
        }
        everything = [node.name for node in dbt.graph.buildable(Selection(("+trajets_par_jour",)))]
    assert built == {"seeds": ["tarifs"], "snapshots": ["stations_suivies"], "models": ["trajets", "trajets_par_jour"]}
    assert set(everything) == {"tarifs", "stations_suivies", "trajets", "trajets_par_jour"}
