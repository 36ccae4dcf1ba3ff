"""A preview in a pod, by a role with just the rights that `refresh-runner grants --preview` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from refresh_runner.__main__ import main
from support.git_project import spec_of
from support.git_server import GitServer, Repository
from support.preview_pod import PreviewPod
from support.runner_harness import NO_ACCOUNT, RunnerHarness

ROLE, PASSWORD = "apercu", "kept-from-all-others"


@pytest.fixture
def live(runner: RunnerHarness, git_server: GitServer, repository: Repository, tmp_path: Path, capsys) -> Iterator[dict]:
    """A refresh whose marts are live, and a role for its previews. Yields its spec."""
    spec = spec_of(runner, git_server, ref={"branch": "main"})
    runner.fetch(spec)
    assert runner.run(spec).code == 0
    file = tmp_path / "petit.json"
    file.write_text(
        json.dumps({"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "petit"}, "spec": spec})
    )
    database = runner.database.name
    capsys.readouterr()
    owner = ["--role", runner.database.secret["user"], "--database", database]
    assert main(["grants", str(file), "--preview", ROLE, *owner, "--project", str(repository.tree / "dbt")]) == 0
    runner.database.run(
        f"""create role {ROLE} login password '{PASSWORD}';
        revoke all on database "{database}" from public; revoke all on schema public from public;
        {capsys.readouterr().out}"""
    )
    runner.secrets["warehouse-preview"] = {**runner.database.secret, "user": ROLE, "password": PASSWORD}
    yield spec
    runner.database.run(
        f"""reassign owned by {ROLE} to current_user; drop owned by {ROLE}; drop role {ROLE};
        grant connect, temporary on database "{database}" to public; grant usage on schema public to public"""
    )


def test_a_branch_is_compared_with_what_is_live(runner: RunnerHarness, repository: Repository, live: dict, tmp_path: Path):
    """The role reads and creates schemas, and can change nothing. What a killed preview of it left is dropped by the next one."""
    base = repository.commit("Nothing more")
    repository.commit("Go on, so that what is live is no longer the head of a branch")
    model = repository.tree / "dbt/models/marts/mart_a.sql"
    model.write_text(model.read_text() + " where id <= 60")
    fix = repository.commit("Keep sixty", "fix")
    left = "dwh_marts__preview_0badcafe"
    runner.database.run(
        f"set role {ROLE}; create schema {left}; comment on schema {left} is 'refresh-runner preview-0badcafe of petit'; reset role"
    )
    # a new table of a later run, to which nobody has granted anything
    assert runner.run(live).code == 0
    pod = PreviewPod(tmp_path / "pod", runner.ref, runner.secrets, NO_ACCOUNT, {})
    assert pod.run(live, {"branch": "fix"}, base) == 0, pod.output.getvalue()
    assert (pod.end.state, pod.end.message) == ("Differs", "dwh_marts.mart_a: 40 removed")
    assert f"fetched fix@sha1:{fix}" in pod.output.getvalue()
    assert runner.database.rows("select count(*) from dwh_marts.mart_a") == [(100,)]
    assert runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []
    assert PASSWORD not in pod.output.getvalue()
    # another image, which may build any model differently
    assert pod.run(live, {"commit": base}, base, all_models=True) == 0
    assert (pod.end.state, pod.end.message) == ("Same", "no mart differs")
    assert pod.run(live, {"commit": base}, base) == 0
    assert (pod.end.state, pod.end.message) == ("Same", "the change touches no model of this refresh")
    assert pod.run(live, {"branch": "fix"}, base, select=["mart_b"]) == 1
    says = "spec.select: the selection mart_b has none of the models that the change touches: mart_a"
    assert (pod.end.state, pod.end.reason, pod.end.message) == ("Failed", "InvalidPreview", says)


def test_a_commit_that_is_not_there_fails_the_preview(runner: RunnerHarness, repository: Repository, live: dict, tmp_path: Path):
    """It says which of the two projects could not be fetched, and builds nothing."""
    pod = PreviewPod(tmp_path / "pod", runner.ref, runner.secrets, NO_ACCOUNT, {})
    assert pod.run(live, {"branch": "gone"}, repository.commit()) == 1
    assert pod.end.state == "Failed"
    assert pod.end.message.startswith("the changed project: cannot fetch the dbt project: ")
    assert "gone" in pod.end.message
