"""A dbt project from a real sshd, with a deploy key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refresh_runner.repository import handover
from refresh_runner.repository.handover import Fetched
from support.git_server import Repository
from support.runner_harness import RunnerHarness, write_project
from support.ssh_server import SshServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs root")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """A server of one repository with the small project."""
    (tmp_path / "served").mkdir()
    repository = Repository.create(tmp_path / "served")
    write_project(repository.tree)
    repository.commit("Add the project")
    with SshServer(tmp_path / "served", tmp_path / "sshd") as served:
        yield served


def fetch(runner: RunnerHarness, server: SshServer, secret: dict[str, str], **fields: Any) -> Fetched:
    """Fetch the project with a Secret, and check that no key is in any message."""
    runner.secrets["git"] = secret
    log = runner.fetch(runner.spec(project={"git": {"url": server.url(), "secretRef": {"name": "git"}, **fields}}))
    fetched = handover.read(runner.fetched)
    for line in secret.get("identity", "").splitlines()[1:-1]:
        assert line not in log + fetched.model_dump_json()
    return fetched


def test_a_deploy_key_fetches_the_project(runner: RunnerHarness, server: SshServer):
    """The control of the cases below."""
    fetched = fetch(runner, server, server.secret())
    assert fetched.project, fetched
    assert (runner.fetched / fetched.folder / "dbt_project.yml").is_file()


def test_an_unknown_host_key(runner: RunnerHarness, server: SshServer):
    """Another server may have taken the address: nothing is fetched from it."""
    other = server.secret()["known_hosts"].split()
    key = (server.folder / "deploy.pub").read_text().split()[1]
    fetched = fetch(runner, server, server.secret(known_hosts=f"{other[0]} ssh-ed25519 {key}\n"))
    assert "the server's host key is not the one in known_hosts" in fetched.message
    fetched = fetch(runner, server, server.secret(known_hosts="elsewhere.example.org ssh-ed25519 " + key))
    assert "the server's host key is not the one in known_hosts" in fetched.message
    assert not fetched.retryable


def test_a_key_that_the_server_does_not_know(runner: RunnerHarness, server: SshServer):
    """Somebody has removed the deploy key, or the Secret has another one."""
    fetched = fetch(runner, server, server.secret(identity=server.new_key("other")))
    assert "the server refused the credentials" in fetched.message
    fetched = fetch(runner, server, server.secret(identity="not a key"))
    assert "the server refused the credentials" in fetched.message


@pytest.mark.parametrize("key", ["identity", "known_hosts"])
def test_a_missing_key_of_the_secret(runner: RunnerHarness, server: SshServer, key: str):
    """Without known_hosts, ssh would have to trust any server."""
    fetched = fetch(runner, server, server.secret(**{key: ""}))
    assert f"its Secret lacks {key}, which ssh requires" in fetched.message


def test_no_such_repository(runner: RunnerHarness, server: SshServer):
    """The address has a typing error."""
    fetched = fetch(runner, server, server.secret(), url=server.url("warehose.git"))
    assert "there is no such repository" in fetched.message
