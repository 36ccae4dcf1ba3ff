"""A dbt project in a Git repository, on a real cluster: pushed by git, fetched by the init container, and run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.eventually import eventually
from support.git_clone import Clone
from support.git_in_cluster import NAME, URL, clone, deploy_git_server, project
from support.plugin import plugin
from support.real_cluster import assert_recovers

MART = "git_marts.mart_sites"
ONE_MART = {
    "layers": [{"name": "marts", "select": ["mart_sites"]}],
    "tests": None,
    "validation": {"marts": [{"relation": MART, "keyColumns": ["site"]}]},
    "cache": None,
    "retries": 0,
}
"""Fields of a refresh that builds and publishes the mart of the small project."""
FILES = {
    "dbt_project.yml": 'name: sites\nversion: "1.0.0"\nconfig-version: 2\nprofile: warehouse\nmacro-paths: [macros]\n',
    "macros/generate_schema_name.sql": "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}\n",
}
FORGE = "https://forge.example.org/dashboards.git"


@pytest.fixture(scope="module")
def repository(installation, cluster, tmp_path_factory) -> Iterator[Clone]:
    """A clone of the repository, with a small project in the folder dbt. Its mart has three rows.

    The first run of each commit parses the project, which takes seconds, so tests push only what they need.
    """
    deploy_git_server(installation)
    found = clone(installation, cluster, tmp_path_factory.mktemp("git") / "clone")
    for name, text in FILES.items():
        (found.tree / "dbt" / name).parent.mkdir(parents=True, exist_ok=True)
        (found.tree / "dbt" / name).write_text(text)
    push_sites(found, 3)
    yield found
    installation.psql("drop schema if exists git_marts, git_marts__previous cascade")


@pytest.fixture
def apply(apply_phase2) -> Callable[..., str]:
    """Return a function that applies a refresh of the small project, with changes of its `project.git` and its spec."""

    def applied(git: dict[str, Any] | None = None, **spec: object) -> str:
        return apply_phase2(**{**ONE_MART, "project": project("dbt", **(git or {})), **spec})

    return applied


def push_sites(repository: Clone, count: int) -> None:
    """Push a version of the model with this number of rows."""
    model = repository.tree / "dbt/models/mart_sites.sql"
    model.parent.mkdir(exist_ok=True)
    model.write_text(
        f"{{{{ config(materialized='table', schema='git_marts') }}}}\nselect n as site from generate_series(1, {count}) as n\n"
    )
    assert repository.commit(f"Build {count} sites", "dbt")


def sites(installation) -> int:
    return int(installation.psql(f"select count(*) from {MART}", "-At"))


def run(installation, name: str, token: str) -> dict:
    """Request a run, wait until it has ended, and return its entry in the history."""
    installation.request_run(name, token)
    return installation.wait_for_run(name, token)


def patch(installation, name: str, spec: dict[str, object]) -> None:
    """Change fields of a refresh's spec."""
    installation.kubectl("patch", "dashboardrefresh", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def test_a_commit_becomes_live_data_without_an_image_build(installation, repository, apply):
    """The status and the history show the commit. A push alone changes no data."""
    before, name = repository.revision, apply()
    first = run(installation, name, "first")
    assert (first["outcome"], first["marts"], first["revision"]) == ("Succeeded", "1/1", before), installation.describe(name)
    assert sites(installation) == 3
    push_sites(repository, 5)
    after = repository.revision
    assert sites(installation) == 3
    second = run(installation, name, "second")
    assert (second["outcome"], second["revision"]) == ("Succeeded", after), installation.describe(name)
    assert sites(installation) == 5
    assert second["image"] == first["image"]
    status = installation.status(name)
    assert status["run"]["project"] == {"url": URL, "path": "dbt", "revision": after}
    assert [each["revision"] for each in status["history"]] == [after, before]
    assert after in installation.kubectl("describe", "dashboardrefresh", name)


@pytest.mark.slow
def test_a_push_starts_a_run(installation, repository, apply):
    """With `onProjectChange: Run`. The pod of the check has no token, and the plugin shows the logs of both containers of the run."""
    before, name = repository.revision, apply()
    patch(installation, name, {"project": {"onProjectChange": "Run", "interval": "10s"}})
    first = eventually(lambda: history_of(installation, name), within=120, context=lambda: installation.describe(name))
    assert (first[0]["trigger"], first[0]["revision"]) == ("ProjectChange", before), installation.describe(name)
    push_sites(repository, 7)
    after = repository.revision
    taken = eventually(
        lambda: [run for run in history_of(installation, name) if run["revision"] == after],
        within=120,
        context=lambda: installation.describe(name),
    )
    assert [(run["trigger"], run["outcome"]) for run in taken] == [("ProjectChange", "Succeeded")]
    assert sites(installation) == 7
    assert installation.status(name)["projectCheck"]["revision"] == after
    assert [run["revision"] for run in history_of(installation, name)] == [after, before]
    pods = installation.kubectl.json("pods", "-l", f"dashboards.sigeti.io/refresh={name},dashboards.sigeti.io/check=project")["items"]
    mounts = {mount["mountPath"] for pod in pods for each in pod["spec"]["containers"] for mount in each["volumeMounts"]}
    assert mounts == {"/tmp", f"/run/refresh/secrets/{NAME}"}
    shown = plugin(installation, "logs", name, taken[0]["id"])
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [container for container in ("project", "runner") if any(f"/{container}] " in line for line in lines)] == ["project", "runner"]
    assert f"fetched {after}" in shown.stdout


def history_of(installation, name: str) -> list[dict]:
    """Return the finished runs of a refresh, newest first."""
    return list(installation.status(name).get("history", []))


@pytest.mark.slow
def test_an_unreachable_repository_fails_the_run_with_words(installation, repository, apply):
    """The status and notifications say why. With `fallback: LastGood`, the last good commit is run in the meantime."""
    name, kept = apply(retries=1), apply()
    patch(installation, kept, {"project": {"fallback": "LastGood"}})
    assert run(installation, kept, "good")["outcome"] == "Succeeded", installation.describe(kept)
    for each in (name, kept):
        patch(installation, each, {"project": {"git": {"timeout": "2s"}}})
    with installation.unreachable(NAME):
        installation.request_run(kept, "meanwhile")
        done = run(installation, name, "away")
        meanwhile = installation.wait_for_run(kept, "meanwhile")
        said = installation.kubectl("describe", "dashboardrefresh", name)
    assert (done["outcome"], done["reason"], done["attempts"]) == ("Failed", "ProjectUnavailable", 2), installation.describe(name)
    assert f"cannot fetch the dbt project: {URL}: the server cannot be reached" in said
    assert "ProjectUnavailable" in said
    told = [message for message in installation.inbox_messages() if done["id"] in message["text"]]
    assert {message["channel"] for message in told} == {"slack", "email"}
    assert (meanwhile["outcome"], meanwhile["revision"]) == ("Warned", repository.revision), installation.describe(kept)
    patch(installation, name, {"project": {"git": {"timeout": "1m"}}})
    assert_recovers(installation, name)


def test_a_repository_that_is_not_allowed_is_not_fetched(installation, repository, apply):
    """Anyone who can write a refresh could choose the code otherwise. With an allowed address, the queued request runs."""
    name = apply({"url": FORGE})
    installation.request_run(name, "denied")
    patch(installation, name, {"displayName": "Denied"})
    # of the new generation, so that the operator has seen the request, too
    denied = eventually(lambda: condition_of(installation, name, "Ready"), within=30, context=lambda: installation.describe(name))
    assert denied[:2] == ("False", "ProjectNotAllowed")
    assert denied[2].startswith(
        f"{FORGE} (spec.project.git.url) is not allowed by projects.allowedUrls of the operator's chart: allowed are "
    )
    assert installation.status(name)["phase"] == "Stalled"
    assert installation.kubectl.json("cronjob", name)["spec"]["suspend"] is True
    assert installation.job_of(name, "denied") is None
    patch(installation, name, {"project": {"git": {"url": URL}}})
    done = installation.wait_for_run(name, "denied")
    assert (done["outcome"], done["revision"]) == ("Succeeded", repository.revision), installation.describe(name)
    assert condition_of(installation, name, "Ready")[0] == "True"


def condition_of(installation, name: str, kind: str) -> tuple[str, str, str]:
    """Return status, reason and message of a condition; AssertionError if it is not of the current generation."""
    refresh = installation.kubectl.json("dashboardrefresh", name)
    found = next((each for each in refresh.get("status", {}).get("conditions", []) if each["type"] == kind), None)
    assert found
    assert found["observedGeneration"] == refresh["metadata"]["generation"]
    return found["status"], found["reason"], found["message"]
