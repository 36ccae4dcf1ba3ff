"""The files that fetches store in the warehouse: only their own are used, and only what can be cached is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refresh_runner.cli.preparing import Preparation
from refresh_runner.repository import handover
from refresh_runner.runlog.project_cache import ProjectCache
from support.git_project import spec_of
from support.git_server import GitServer, Repository, unavailable
from support.runner_harness import RunnerHarness, warehouse_connection


def test_what_another_role_wrote_is_not_used(runner: RunnerHarness, git_server: GitServer, repository: Repository):
    """Otherwise a role that can write to the table but not sign could choose what a run builds. The run parses the project itself."""
    spec = spec_of(runner, git_server)
    runner.fetch(spec)
    for change in ("content = content || 'x'::bytea", "content = ''::bytea", "signature = signature || 'x'::bytea"):
        runner.database.run("create table kept as select * from dbt_refresh_project_cache")
        runner.database.run(f"update dbt_refresh_project_cache set {change}")
        log = runner.fetch(spec)
        assert "its signature is invalid" in log
        assert "already parsed" not in log
        assert runner.run(spec).code == 0
        runner.database.run("delete from dbt_refresh_project_cache")
        runner.database.run("insert into dbt_refresh_project_cache select * from kept")
        runner.database.run("drop table kept")
    assert "already parsed" in runner.fetch(spec)
    assert repository.bare.is_dir()


def test_a_project_that_cannot_be_cached_is_parsed_by_each_run(runner: RunnerHarness, git_server: GitServer, repository: Repository):
    """Once it is known, no fetch tries again."""
    model = repository.tree / "dbt/models/marts/mart_b.sql"
    model.write_text("{{ config(schema='dwh_marts') }} select 1 as id, 2 as mois, '{{ env_var(\"ZONE\", \"x\") }}' as z")
    repository.commit("Read the environment")
    spec = spec_of(runner, git_server)
    assert "can be parsed, but not cached" in runner.fetch(spec)
    assert "parsed" not in runner.fetch(spec)
    assert runner.run(spec).code == 0


def test_what_was_changed_is_written_anew(runner: RunnerHarness, git_server: GitServer, repository: Repository):
    """The row of another role must not prevent a fetch from using its cache and its last good project forever."""
    source = spec_of(runner, git_server)["project"]["git"]
    spec = runner.spec(project={"git": {**source, "timeout": "2m"}, "fallback": "LastGood"})
    runner.fetch(spec)
    assert runner.run(spec).code == 0
    runner.database.run("update dbt_refresh_project_cache set signature = 'x'::bytea")
    assert "its signature is invalid" in runner.fetch(spec)
    assert "already parsed" in runner.fetch(spec)
    git_server.fault = unavailable
    spec["project"]["git"]["timeout"] = "2s"
    runner.fetch(spec)
    assert handover.read(runner.fetched).project
    assert repository.bare.is_dir()


def test_each_password_has_entries_of_its_own(runner: RunnerHarness):
    """After a change of the password, and for refreshes with other users and the same project."""
    secret = runner.database.secret
    access = {f"PG{key.upper()}": value for key, value in secret.items()}
    access |= {"PGDATABASE": secret["dbname"], "PGPORT": secret.get("port", "5432")}
    with warehouse_connection(access) as warehouse:
        ours = ProjectCache(warehouse)
        ours.store("a", b"ours")
        warehouse.info = replace(warehouse.info, password="another")
        others = ProjectCache(warehouse)
        assert (others.has("a"), others.load("a"), others.problem) == (False, None, "")
        others.store("a", b"others")
        assert (ours.load("a"), others.load("a")) == (b"ours", b"others")


def test_a_parse_that_was_killed_is_tried_again(
    runner: RunnerHarness, git_server: GitServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
):
    """Another attempt may have enough memory or time. Only a project that cannot be parsed in advance is recorded as such."""
    spec = spec_of(runner, git_server)
    whole = Preparation._run
    for code in (None, -9):
        monkeypatch.setattr(Preparation, "_run", lambda *_arguments, code=code: (code, ""))
        runner.fetch(spec)
    monkeypatch.setattr(Preparation, "_run", whole)
    assert "is cached" in runner.fetch(spec)
    assert repository.bare.is_dir()
