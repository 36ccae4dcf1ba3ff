"""lint names what `dbt build` would do with a project but a refresh does not, whatever the project's settings for warnings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from refresh_runner.cli.lint import lint
from support.guide import ROOT
from support.ways.project import Project, Way
from support.ways.projects.functions import PROJECTS

SUM = next(project for project in PROJECTS if project.name == "unit_test")
DOUBLE = next(project for project in PROJECTS if project.name == "function")


def linted(folder: Path, project: Project, **changes: object) -> tuple[int, list[str]]:
    """Lint the project with another spec. Return the exit code, and all lines that do not just pass."""
    project = Project(**{**vars(project), **changes})
    project.write(folder / "project")
    (folder / "refresh.yaml").write_text(project.manifest(Way.SWAP))
    said: list[str] = []
    code = lint(folder / "refresh.yaml", folder / "project", None, datetime.now(UTC), lambda check: said.append(str(check)))
    return code, [line for line in said if not line.startswith("✓")]


@pytest.mark.slow
def test_a_function_that_no_layer_makes_is_named(tmp_path: Path):
    """It may belong to another refresh, so it is not an error. With the function in a layer, there is no message."""
    said = "calls dwh.double, a function of the project that no layer creates: add it to this layer's select"
    assert linted(tmp_path, DOUBLE, layers=(("fait", "mart"),)) == (0, [f"! spec.layers[0].select (couche-1): mart {said}"])
    assert linted(tmp_path / "all", DOUBLE, layers=(("fait", "mart", "double"),)) == (0, [])


def test_a_function_of_a_later_layer_is_an_error(tmp_path: Path):
    """The same holds for a model of a later layer."""
    code, said = linted(tmp_path, DOUBLE, layers=(("fait", "mart"), ("double",)))
    assert code == 1
    assert "reads dwh.double, which a later layer builds" in said[0]


@pytest.mark.slow
def test_unit_tests_that_nothing_runs_are_named(tmp_path: Path):
    """The refresh's tests do not select them, or the refresh has no tests."""
    said = ["! spec.tests.select: selects none of vingt_et_un, which `dbt build` would run with the models: select them, or their models"]
    assert linted(tmp_path, SUM, tests="") == (0, said)
    assert linted(tmp_path / "run", SUM) == (0, [])


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "flags: {warn_error: true}",
        "flags: {warn_error_options: {error: all, warn: [NoNodesForSelectionCriteria, NothingToDo]}}",
        "flags: {warn_error_options: {error: [Deprecations], warn: [NothingToDo], silence: [NoNodesForSelectionCriteria]}}",
    ],
)
def test_a_selector_that_takes_nothing_is_always_an_error(tmp_path: Path, flags: str):
    """It does not depend on the project's flags for warnings."""
    code, said = linted(tmp_path, SUM, config=f"{SUM.config}{flags}\n", layers=(("base", "fait", "no_such_model"), ("somme",)))
    assert code == 1
    assert "no_such_model" in said[0]


def test_a_check_of_sources_that_checks_none_is_an_error(tmp_path: Path):
    """The run would fail before its first layer. The control: the same project with a source that declares a freshness."""
    project = copytree(ROOT / "examples/velos", tmp_path / "project")
    refresh = yaml.safe_load((project / "refresh.yaml").read_text())
    refresh["spec"]["sources"] = {"stalePolicy": "Warn"}
    (tmp_path / "refresh.yaml").write_text(yaml.safe_dump(refresh))

    def checks() -> list[str]:
        said: list[str] = []
        lint(tmp_path / "refresh.yaml", project, None, datetime.now(UTC), lambda check: said.append(str(check)))
        return [line for line in said if "spec.sources" in line]

    assert checks() == ["✗ spec.sources: no source of the layers declares a freshness and a loaded_at_field"]
    declared = "name: trajets, loaded_at_field: parti_le, freshness: {error_after: {count: 1, period: day}}"
    models = project / "models/velos.yml"
    models.write_text(models.read_text().replace("- name: trajets\n\n", f"- {{{declared}}}\n\n", 1))
    assert checks() == ["✓ spec.sources: checks the freshness of 1 source"]
