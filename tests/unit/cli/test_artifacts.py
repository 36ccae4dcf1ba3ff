"""Artifacts of runs, fetched from the page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from refresh_cli.artifacts import NAMESPACES_ANNOTATION, PageClient
from refresh_cli.kubectl import CliError, Kubectl

SERVICE = {"metadata": {"name": "dashboard-refresh-page", "namespace": "dashboards"}}
RUN = "/api/v1/namespaces/dashboards/services/dashboard-refresh-page:http/proxy/refreshes/team/phase2/runs/phase2-1"


@dataclass(frozen=True)
class Answers(Kubectl):
    """A fake kubectl whose output depends on the last argument of the command."""

    known: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, stdin: str | None = None) -> str:  # noqa: ARG002 - as kubectl has it
        """Return the canned output, or fail as kubectl does."""
        if words[-1] not in self.known:
            raise CliError("Error from server (NotFound): the server could not find the requested resource")
        return self.known[words[-1]]


def cluster(log_state: str = "Available", **further: str) -> Answers:
    """Return a cluster whose page is in another namespace than the refresh."""
    files = [{"name": "run.log", "mediaType": "text/plain", "size": 5}]
    answers = {"json": json.dumps({"items": []}), "--all-namespaces": json.dumps({"items": [SERVICE]})}
    return Answers(known={**answers, f"{RUN}.json": json.dumps({"logState": log_state, "artifacts": files, "steps": []}), **further})


def test_artifacts_are_listed_and_printed_through_the_api_server():
    """Users need no route to the page, and their own permissions apply."""
    page = PageClient.find(cluster(**{f"{RUN}/artifacts/run.log": "all well"}), "team")
    assert [(each.name, each.size) for each in page.artifacts("team", "phase2", "phase2-1")] == [("run.log", 5)]
    assert page.artifact("team", "phase2", "phase2-1", "run.log") == "all well"


def test_whatever_is_missing_is_named():
    """kubectl's own message names only the path of the proxy."""
    page = PageClient.find(cluster(), "team")
    with pytest.raises(CliError, match=r"not found on the page: docs\.html of phase2-1"):
        page.artifact("team", "phase2", "phase2-1", "docs.html")
    with pytest.raises(CliError, match="not found on the page: phase2-2"):
        page.artifacts("team", "phase2", "phase2-2")
    with pytest.raises(CliError, match="no page found"):
        PageClient.find(cluster(**{"--all-namespaces": json.dumps({"items": []})}), "team")


def test_a_page_that_shows_other_namespaces_is_ignored():
    """Of two pages that each show several namespaces, only one shows the refresh."""
    other, one = (
        {"metadata": {"name": "p", "namespace": where, "annotations": {NAMESPACES_ANNOTATION: shown}}}
        for where, shown in (("a", "x,y"), ("b", "z,team"))
    )
    kubectl = cluster(**{"--all-namespaces": json.dumps({"items": [other, one]})})
    assert PageClient.find(kubectl, "team").namespace == "b"
    with pytest.raises(CliError, match="no page found"):
        PageClient.find(kubectl, "elsewhere")


@pytest.mark.parametrize(
    ("log_state", "message"), [("NotConfigured", "has no Secret"), ("Unavailable", "cannot read the run log right now")]
)
def test_a_page_without_the_run_log_says_why(log_state: str, message: str):
    """An empty list would mean that the run has no artifacts."""
    with pytest.raises(CliError, match=message):
        PageClient.find(cluster(log_state), "team").artifacts("team", "phase2", "phase2-1")
