"""`fallback: LastGood`: runs use the last good project while the repository cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh_runner.repository import handover
from support.git_server import GitServer, Repository, unavailable
from support.runner_harness import RunnerHarness, write_project


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A server that is reachable at first."""
    with GitServer(tmp_path / "served") as served:
        yield served


def test_runs_go_on_with_the_last_good_project(runner: RunnerHarness, server: GitServer):
    """The run is Warned and says which revision it used. A revision whose run failed is not used. The control is the default, Fail."""
    repository = Repository.create(server.root)
    write_project(repository.tree)
    good = repository.commit("Add the project")
    runner.secrets["git"] = server.secret()

    def spec(fallback: str, timeout: str = "2m") -> dict[str, Any]:
        source = {"url": server.url(), "ref": {"branch": "main"}, "secretRef": {"name": "git"}, "timeout": timeout}
        return runner.spec(project={"git": source, "fallback": fallback})

    runner.fetch(spec("LastGood"))
    assert runner.run(spec("LastGood")).code == 0
    (repository.tree / "models/marts/mart_b.sql").write_text("select 1 / 0 as id")
    repository.commit("Divide by zero")
    runner.fetch(spec("LastGood"))
    assert runner.run(spec("LastGood")).code == 1
    server.fault = unavailable
    runner.fetch(spec("LastGood", timeout="2s"))
    fetched = handover.read(runner.fetched)
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{good}"
    ran = runner.run(spec("LastGood"))
    assert ran.code == 0
    assert ran.termination_message
    assert ran.termination_message.outcome == "Warned"
    assert f"used main@{good[:8]}, the revision of the last successful run" in (ran.termination_message.message or "")
    runner.fetch(spec("Fail", timeout="2s"))
    assert handover.read(runner.fetched).reason == "ProjectUnavailable"


def test_a_rollback_makes_no_revision_good(runner: RunnerHarness, server: GitServer):
    """A rollback succeeds while the bad commit is current, because it does not build it."""
    repository = Repository.create(server.root)
    write_project(repository.tree)
    good = repository.commit("Add the project")
    runner.secrets["git"] = server.secret()
    source = {"url": server.url(), "ref": {"branch": "main"}, "secretRef": {"name": "git"}}
    spec = runner.spec(project={"git": source, "fallback": "LastGood"})
    for _ in range(2):
        runner.fetch(spec)
        assert runner.run(spec).code == 0
    (repository.tree / "models/marts/mart_b.sql").write_text("{{ config(schema='dwh_marts') }} select 1 / 0 as id, 1 as mois")
    repository.commit("Divide by zero")
    runner.fetch(spec)
    assert runner.run(spec).code == 1
    runner.fetch(spec)
    assert runner.run(spec, mode="rollback").code == 0
    server.fault = unavailable
    runner.fetch(runner.spec(project={"git": {**source, "timeout": "2s"}, "fallback": "LastGood"}))
    fetched = handover.read(runner.fetched)
    assert fetched.project
    assert fetched.project.revision == f"main@sha1:{good}"
