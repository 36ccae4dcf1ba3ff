"""A dbt project from a Git repository, on a real `git http-backend` behind TLS: fetched as in an init container, then run."""

from __future__ import annotations

import pytest

from refresh_runner.repository import handover
from support.git_project import spec_of
from support.git_server import GitServer, Repository
from support.runner_harness import RunnerHarness


@pytest.mark.slow
def test_a_commit_becomes_live_data(runner: RunnerHarness, git_server: GitServer, repository: Repository):
    """No image is built: the next run uses the newest commit at its start."""
    spec = spec_of(runner, git_server, ref={"branch": "main"})
    runner.fetch(spec)
    assert runner.run(spec).code == 0
    assert runner.database.rows("select count(*) from dwh_marts.mart_a") == [(100,)]
    model = repository.tree / "dbt/models/marts/mart_a.sql"
    model.write_text(model.read_text() + " where id <= 60")
    commit = repository.commit("Keep sixty")
    log = runner.fetch(spec)
    assert f"fetched main@sha1:{commit}" in log
    assert runner.run(spec).code == 0
    assert runner.database.rows("select count(*) from dwh_marts.mart_a") == [(60,)]
    revisions = runner.database.rows("select revision from dbt_refresh_run order by started_at")
    assert revisions[-1] == (f"main@sha1:{commit}",)
    assert len(set(revisions)) == 2


def test_an_unreachable_server_fails_the_run_with_words(runner: RunnerHarness, git_server: GitServer):
    """The run reports it, and another attempt follows."""
    spec = spec_of(runner, git_server, url="https://localhost:1/warehouse.git", timeout="2s")
    runner.fetch(spec)
    ran = runner.run(spec)
    assert ran.code == 75
    assert ran.termination_message
    assert ran.termination_message.reason == "ProjectUnavailable"
    assert "https://localhost:1/warehouse.git: the server cannot be reached" in (ran.termination_message.message or "")


@pytest.mark.slow
def test_a_known_commit_is_not_parsed_again(runner: RunnerHarness, git_server: GitServer, repository: Repository):
    """The first fetch of a commit parses it, and stores the result in the warehouse. Later fetches, in other pods, read it from there."""
    spec = spec_of(runner, git_server)
    assert "is cached" in runner.fetch(spec)
    assert runner.run(spec).code == 0
    assert "the project is already parsed" in runner.fetch(spec)
    parsed = list((runner.fetched / "source/dbt/target").glob("refresh_*.json"))
    assert len(parsed) == 1
    assert runner.run(spec).code == 0
    (repository.tree / "dbt/models/marts/mart_b.sql").write_text("{{ config(schema='dwh_marts') }} select 1 as id, 2 as mois")
    repository.commit("Change a mart")
    assert "is cached" in runner.fetch(spec)
    assert runner.database.rows("select count(*) from dbt_refresh_project_cache where name like '%.json'") == [(2,)]


def test_a_run_takes_no_other_project_instead(runner: RunnerHarness, git_server: GitServer):
    """If the init container left no project, the project of the image is not run."""
    spec = spec_of(runner, git_server)
    (runner.fetched / "fetched.json").unlink(missing_ok=True)
    ran = runner.run(spec)
    assert ran.code == 1
    assert ran.termination_message
    assert ran.termination_message.reason == "ProjectUnavailable"
    assert not handover.read(runner.fetched).project
