"""What is made of schedules of other tools selects what the dbt project has: `lint` agrees, and the layers build what dbt would."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from refresh_runner.cli.lint import lint
from refresh_runner.cli.parse import settings_of_request
from refresh_runner.dbt.open_project import open_project
from refresh_runner.model.loader import run_request_from_file
from refresh_runner.model.steps import Selection
from support.guide import ROOT
from support.imports import SOURCES, imported_example

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
