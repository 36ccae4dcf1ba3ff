"""Subcommands on a laptop with a project in a repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from refresh_api.names import API_VERSION, KIND
from refresh_runner.__main__ import main
from support.git_project import spec_of
from support.git_server import GitServer, Repository
from support.runner_harness import RunnerHarness


def test_a_laptop_checks_a_branch_without_a_checkout(
    runner: RunnerHarness, git_server: GitServer, repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The branch is fetched as in a run, with the caller's git configuration. lint of such a refresh never checks another project."""
    file = tmp_path / "refresh.yaml"
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "petit"}, "spec": spec_of(runner, git_server)}
    file.write_text(yaml.safe_dump(body))
    (repository.tree / "dbt/models/marts/mart_b.sql").unlink()
    repository.commit("Remove a mart", branch="essai")
    address = f"git+file://{repository.bare}"
    assert main(["lint", str(file), "--project", f"{address}@main#subdirectory=dbt"]) == 0
    assert main(["lint", str(file), "--project", f"{address}@essai#subdirectory=dbt"]) == 1
    assert "mart_b" in capsys.readouterr().out
    for option, says in (
        (f"{address}@gone#subdirectory=dbt", "gone does not exist"),
        (f"{address}@main", "the repository's top folder has no dbt_project.yml"),
        ("git+http://example.org/x.git", "use git+URL@REF#subdirectory=FOLDER"),
    ):
        assert main(["lint", str(file), "--project", option]) == 1
        assert says in capsys.readouterr().out
    assert main(["lint", str(file)]) == 1
    assert f"use --project git+{git_server.url()}#subdirectory=dbt" in capsys.readouterr().out
