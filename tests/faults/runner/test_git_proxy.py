"""A project behind a proxy, as the chart's `proxy` values set it: used, with a login, and refused with words."""

from __future__ import annotations

import pytest

from refresh_runner.repository import handover
from support.connect_proxy import ConnectProxy
from support.git_project import spec_of
from support.git_server import GitServer, Repository
from support.runner_harness import RunnerHarness

LOGIN = "equipe:tunnel-pass-31"


@pytest.fixture
def outside(git_server: GitServer, repository: Repository) -> GitServer:
    """A server with the project in a repository, which is reached through the proxy alone."""
    assert repository.bare.is_dir()
    return git_server


def fetched(runner: RunnerHarness, server: GitServer, **git: object) -> handover.Fetched:
    """Fetch the project; no part of the proxy's login may be logged or handed over."""
    log = runner.fetch(spec_of(runner, server, **git))
    result = handover.read(runner.fetched)
    for text in (log, result.model_dump_json()):
        assert "tunnel-pass-31" not in text
        assert "equipe" not in text
    return result


@pytest.mark.parametrize("login", ["", LOGIN])
def test_the_project_is_fetched_through_the_proxy(
    runner: RunnerHarness, outside: GitServer, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """The control of the refusals below: every connection to the server goes through a tunnel."""
    with ConnectProxy(login) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(login))
        assert fetched(runner, outside).project
        assert proxy.tunnels


def test_a_proxy_that_asks_for_a_login(runner: RunnerHarness, outside: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without a login nor with a wrong one; another attempt cannot help."""
    with ConnectProxy(LOGIN) as proxy:
        for login in ("", "equipe:wrong"):
            monkeypatch.setenv("HTTPS_PROXY", proxy.url(login))
            result = fetched(runner, outside)
            assert "the proxy refused the credentials, or requires some" in (result.message or "")
            assert "proxy in the chart's values" in (result.hint or "")
            assert not result.retryable
        assert not proxy.tunnels


def test_a_proxy_that_forbids_the_address(runner: RunnerHarness, outside: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rules must change; the credentials of the repository are not at fault."""
    with ConnectProxy(refused=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        result = fetched(runner, outside)
        assert "the proxy refuses to connect to the server" in (result.message or "")
        assert not result.retryable


def test_a_proxy_that_is_away(runner: RunnerHarness, outside: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt may find it."""
    with ConnectProxy() as proxy:
        address = proxy.url()
    monkeypatch.setenv("HTTPS_PROXY", address)
    result = fetched(runner, outside, timeout="2s")
    assert "cannot be reached" in (result.message or "")
    assert result.retryable


def test_no_proxy_names_the_servers_inside(runner: RunnerHarness, outside: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the company is asked directly."""
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert fetched(runner, outside).project
        assert not proxy.tunnels
