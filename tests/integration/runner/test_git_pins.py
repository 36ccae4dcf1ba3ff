"""Which commit a run takes: that of its first attempt, and none that somebody else chooses."""

from __future__ import annotations

import socket

import pytest

from support.git_project import Case
from support.git_server import git, unavailable


def test_a_later_attempt_takes_the_same_commit(case: Case):
    """Even after the branch was rewritten, and although the first attempt never held the lock. The next run uses the new commit."""
    assert case.fetch(run="petit-7").project
    git(case.repository.tree, "commit", "--quiet", "--amend", "--message", "Rewritten")
    git(case.repository.tree, "push", "--quiet", "--force", "origin", "HEAD:main")
    same = case.fetch(run="petit-7")
    assert same.project
    assert same.project.revision == f"main@sha1:{case.commit}"
    other = case.fetch(run="petit-8")
    assert other.project
    assert other.project.revision != same.project.revision


@pytest.mark.slow
def test_a_later_attempt_takes_the_same_version(case: Case):
    """Although a higher version was tagged in between, and the tag of the first attempt was deleted. The next run takes the new one."""
    case.repository.tag("v1.2.0")
    first = case.fetch(run="petit-7", ref={"semver": "^1"})
    newer = case.repository.commit("Release")
    case.repository.tag("v1.3.0")
    git(case.repository.tree, "push", "--quiet", "origin", ":refs/tags/v1.2.0")
    same, other = (case.fetch(run=run, ref={"semver": "^1"}) for run in ("petit-7", "petit-8"))
    assert first.project
    assert same.project
    assert other.project
    assert first.project.revision == same.project.revision == f"v1.2.0@sha1:{case.commit}"
    assert other.project.revision == f"v1.3.0@sha1:{newer}"


def test_who_can_write_the_run_log_cannot_choose_a_commit(case: Case):
    """Run IDs are predictable: a row for the next run must not decide its commit. Nor must a changed or copied entry."""
    other = case.repository.commit("Another commit", branch="other")
    columns = "run_id text, namespace text, refresh text, revision text, started_at timestamptz, outcome text, mode text"
    case.runner.database.run(f"create table dbt_refresh_run ({columns})")
    row = f"'essai', 'petit', 'main@sha1:{other}', now(), 'Succeeded', 'refresh'"
    case.runner.database.run(f"insert into dbt_refresh_run values ('petit-7', {row})")
    fetched = case.fetch(run="petit-7")
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{case.commit}"
    case.runner.database.run(
        f"update dbt_refresh_project_cache set content = 'main@sha1:{other}' where name like '%pin%'",
    )
    fetched = case.fetch(run="petit-7")
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{case.commit}"


@pytest.mark.slow
def test_a_rollback_needs_no_repository(case: Case):
    """A rollback at 3 a.m. must not depend on the server of the project."""
    runner = case.runner
    spec = runner.spec(project={"git": {"url": case.server.url(), "path": "dbt", "secretRef": {"name": "git"}, "timeout": "1s"}})
    runner.secrets["git"] = case.secret
    for _ in range(2):
        runner.fetch(spec)
        assert runner.run(spec).code == 0
    case.server.fault = unavailable
    runner.fetch(spec, mode="rollback")
    ran = runner.run(spec, mode="rollback")
    assert (ran.code, ran.termination_message and ran.termination_message.reason) == (0, "RolledBack"), ran.output
    runner.fetch(spec)
    assert runner.run(spec).code == 75


@pytest.mark.slow
def test_a_tag_that_was_moved_is_said(case: Case):
    """A tag should never name another commit than in the previous run."""
    case.repository.tag("v1")
    case.runner.database.run(
        "create table dbt_refresh_run"
        " (run_id text primary key, namespace text, refresh text, mode text, outcome text, revision text, started_at timestamptz)"
    )
    case.runner.database.run(
        f"insert into dbt_refresh_run values ('petit-7', 'essai', 'petit', 'refresh', null, 'v1@sha1:{case.commit}', now())"
    )
    same = case.fetch(run="petit-8", ref={"tag": "v1"})
    assert same.project
    assert same.project.message is None
    moved = case.repository.commit("More")
    case.repository.tag("v1")
    fetched = case.fetch(run="petit-9", ref={"tag": "v1"})
    assert fetched.project
    assert fetched.project.message == f"tag v1 was moved from commit {case.commit[:12]}, used by the previous run, to {moved[:12]}"


def test_a_warehouse_that_cannot_be_asked_is_the_failure(case: Case):
    """The commit of an earlier attempt is then unknown, and no other one must be used."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        case.runner.secrets["warehouse"] = {**case.runner.database.secret, "host": "127.0.0.1", "port": str(taken.getsockname()[1])}
        case.fails("cannot connect to the warehouse", reason="WarehouseUnreachable", retryable=True)
