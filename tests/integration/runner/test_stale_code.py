"""A cached parse and earlier work are not used once any file that dbt reads has changed, wherever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from refresh_api.run_request import ExitCode
from refresh_runner.cli.parse import cache_project, parse
from refresh_runner.dbt import manifest_cache
from refresh_runner.dbt.project import Dbt
from refresh_runner.dbt.project_files import project_files
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.runlog.resume import fingerprint_of
from support.plans import plan
from support.runner_harness import RunnerHarness, write_project

SETTINGS = DbtSettings(2, "prod", "dwh", {})
ACCESS = ConnectionInfo(host="127.0.0.1", port=5432, dbname="entrepot", user="u", password="p")
NEW = "select 2 as edited"
PROJECT = """
macro-paths: [macros, ../shared_macros]
model-paths: [models, ../shared_models, logs/models]
docs-paths: [docs]
packages-install-path: ../packages
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with files in every location from which dbt reads."""
    project = write_project(tmp_path / "project")
    settings = project / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("macro-paths: [macros]\n", PROJECT))
    for name, text in {
        "project/models/logs/in_logs.sql": "select 1 as id",
        "project/models/target/in_target.sql": "select 1 as id",
        "project/logs/models/below_logs.sql": "select 1 as id",
        "project/seeds/villes.csv": "id,nom\n1,Abidjan\n",
        "project/docs/page.md": "{% docs page %}old{% enddocs %}",
        "project/selectors.yml": "selectors: [{name: tout, definition: 'fqn:*'}]",
        "project/.dbtignore": "nothing\n",
        "shared_macros/said.sql": "{% macro said() %}1{% endmacro %}",
        "shared_models/far.sql": "select {{ said() }} as id",
        "elsewhere/linked.sql": "select 1 as id",
        "package/dbt_project.yml": "name: paquet\nversion: 1.0.0\nconfig-version: 2\nprofile: petit\nmodel-paths: [modeles]\n",
        "package/modeles/of_package.sql": "select 1 as id",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (project / "models" / "linked.sql").symlink_to(tmp_path / "elsewhere" / "linked.sql")
    (project / "models" / "round").symlink_to(project / "models")
    (project / "snapshots").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "paquet").symlink_to(tmp_path / "package")
    return project


def _code(project: Path, workdir: Path) -> str:
    dbt = Dbt(project, workdir, ACCESS, replace(SETTINGS, variables={"as_of": "2026-02-03"}), "test", lambda _level, _line: None)
    dbt.parse()
    nodes = [str(node.raw_code) for node in dbt.graph.manifest.nodes.values()]
    texts = [
        *(macro.macro_sql for macro in dbt.graph.manifest.macros.values()),
        *(doc.block_contents for doc in dbt.graph.manifest.docs.values()),
    ]
    return "\n".join([*nodes, *texts])


EDITS = {
    "project/models/marts/mart_b.sql": NEW,
    "project/models/logs/in_logs.sql": NEW,
    "project/models/target/in_target.sql": NEW,
    "project/logs/models/below_logs.sql": NEW,
    "project/models/target/new_one.sql": NEW,
    "elsewhere/linked.sql": NEW,
    "shared_models/far.sql": NEW,
    "shared_macros/said.sql": "{% macro said() %}2 as edited{% endmacro %}",
    "package/modeles/of_package.sql": NEW,
    "project/docs/page.md": "{% docs page %}edited{% enddocs %}",
}
"""Of which dbt's own reading tells that they were edited."""
FURTHER = {
    "project/seeds/villes.csv": "id,nom\n1,Bouake\n",
    "project/selectors.yml": "selectors: []",
    "project/.dbtignore": "models/marts/mart_b.sql\n",
    "project/dbt_project.yml": None,
    "package/dbt_project.yml": None,
    "project/packages.yml": "packages: []",
    "project/package-lock.yml": "packages: []",
    "project/dependencies.yml": "projects: []",
}


@pytest.mark.slow
def test_code_that_was_edited_is_read_wherever_it_is(project: Path, tmp_path: Path) -> None:
    """Right after `parse` reported the project as parsed. Each edit is tried separately, and dbt's manifest has the new code."""
    said: list[str] = []
    assert parse(project, [SETTINGS], said.append) is ExitCode.OK
    assert "nodes and the statements of" in said[0], said
    assert parse(project, [SETTINGS], said.append) is ExitCode.OK
    assert "is already parsed" in said[2], "the control: as long as nothing changes, what was read is kept"
    assert "edited" not in _code(project, tmp_path / "before")
    places, prints = {manifest_cache.path(project, SETTINGS)}, {fingerprint_of(plan(), project).value}
    for number, (name, text) in enumerate({**EDITS, **FURTHER}.items(), 2):
        file = tmp_path / name
        file.write_text(file.read_text() + "\n# edited" if text is None else text)
        places.add(manifest_cache.path(project, SETTINGS))
        prints.add(fingerprint_of(plan(), project).value)
        assert (len(places), len(prints)) == (number, number), f"{name} may change without being noticed"
    assert not manifest_cache.path(project, SETTINGS).exists()
    (project / ".dbtignore").write_text("")
    assert _code(project, tmp_path / "after").count("edited") == len(EDITS)


def test_what_dbt_does_not_read_changes_nothing(project: Path) -> None:
    """The control of the test above: files that dbt or its users write beside the project do not count."""
    before = project_files(project)
    assert not before.unknown
    for name in ("target/manifest.json", "logs/dbt.log", "README.txt", "models/marts/mart_b.sql~", ".git/HEAD", "target/compiled/a.sql"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("edited")
    assert project_files(project) == before


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("model-paths: [models, \"{{ env_var('WHERE', 'far') }}\"]", "model-paths in dbt_project.yml names a folder by a template"),
        ("seeds: {petit: {+schema: \"{{ env_var('A_VARIABLE', 'x') }}\"}}", "A_VARIABLE"),
    ],
)
def test_a_project_whose_files_are_not_known_is_not_kept(tmp_path: Path, setting: str, why: str) -> None:
    """The output says why. Its builds are neither reused nor considered unchanged."""
    project = write_project(tmp_path / "project")
    settings = project / "dbt_project.yml"
    settings.write_text(settings.read_text() + setting + "\n")
    said: list[str] = []
    assert cache_project(project, SETTINGS, said.append) is ExitCode.OK
    assert "every run parses it" in said[0]
    assert why in said[0]
    assert not manifest_cache.path(project, SETTINGS).exists()
    if "template" in why:
        assert fingerprint_of(plan(), project).value != fingerprint_of(plan(), project).value


def test_work_is_not_taken_for_the_same_in_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that a template uses is part of the code; any other is not."""
    project = write_project(tmp_path / "project")
    (project / "models" / "marts" / "mart_b.sql").write_text("select {{ env_var('REGION_ID', '1') }} as id")
    before = fingerprint_of(plan(), project).value
    monkeypatch.setenv("SOMETHING_ELSE", "2")
    assert fingerprint_of(plan(), project).value == before
    monkeypatch.setenv("REGION_ID", "2")
    assert fingerprint_of(plan(), project).value != before


@pytest.mark.slow
def test_a_run_builds_what_was_edited_in_a_folder_named_logs(runner: RunnerHarness, tmp_path: Path) -> None:
    """The live data shows the edit. The control: before it, the run used the cached parse."""
    project = write_project(tmp_path / "project")
    model = project / "models" / "logs" / "mart_b.sql"
    model.parent.mkdir()
    (project / "models" / "marts" / "mart_b.sql").rename(model)
    ours = RunnerHarness(tmp_path, project, runner.database, runner.api, runner.secrets)
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    assert ours.run().code == 0
    assert runner.database.rows("select count(*) from dwh_marts.mart_b") == [(100,)]
    model.write_text(model.read_text() + " where id <= 7")
    assert ours.run().code == 0
    assert runner.database.rows("select count(*) from dwh_marts.mart_b") == [(7,)]
