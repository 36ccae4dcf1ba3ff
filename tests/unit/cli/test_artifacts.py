"""Files of runs, by the page."""

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
    """kubectl on a cluster of which this is known, by the last word of its command."""

    known: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str) -> str:
        """Return what is known, as kubectl prints it."""
        if words[-1] not in self.known:
            raise CliError("Error from server (NotFound): the server could not find the requested resource")
        return self.known[words[-1]]


def cluster(log_state: str = "Available", **further: str) -> Answers:
    """A cluster whose page stands in another namespace than the refresh."""
    files = [{"name": "run.log", "mediaType": "text/plain", "size": 5}]
    answers = {"json": json.dumps({"items": []}), "--all-namespaces": json.dumps({"items": [SERVICE]})}
    return Answers(known={**answers, f"{RUN}.json": json.dumps({"logState": log_state, "artifacts": files, "steps": []}), **further})


def test_files_are_listed_and_printed_through_the_api_server():
    """By the service that carries the page's label, wherever it stands."""
    page = PageClient.find(cluster(**{f"{RUN}/artifacts/run.log": "all well"}), "team")
    assert [(each.name, each.size) for each in page.artifacts("team", "phase2", "phase2-1")] == [("run.log", 5)]
    assert page.artifact("team", "phase2", "phase2-1", "run.log") == "all well"


def test_what_is_not_there_is_named():
    """A file, a run, or the page itself."""
    page = PageClient.find(cluster(), "team")
    with pytest.raises(CliError, match=r"the page knows nothing of docs\.html of phase2-1"):
        page.artifact("team", "phase2", "phase2-1", "docs.html")
    with pytest.raises(CliError, match="the page knows nothing of phase2-2"):
        page.artifacts("team", "phase2", "phase2-2")
    with pytest.raises(CliError, match="there is no page that could be asked"):
        PageClient.find(cluster(**{"--all-namespaces": json.dumps({"items": []})}), "team")


def test_a_page_that_lists_other_namespaces_is_passed_over():
    """Two pages that show several namespaces: the one that lists the refresh's is asked."""
    other, one = (
        {"metadata": {"name": "p", "namespace": where, "annotations": {NAMESPACES_ANNOTATION: shown}}}
        for where, shown in (("a", "x,y"), ("b", "z,team"))
    )
    kubectl = cluster(**{"--all-namespaces": json.dumps({"items": [other, one]})})
    assert PageClient.find(kubectl, "team").namespace == "b"
    with pytest.raises(CliError, match="there is no page that could be asked"):
        PageClient.find(kubectl, "elsewhere")


@pytest.mark.parametrize(("log_state", "message"), [("NotConfigured", "has no Secret"), ("Unavailable", "can't read the log tables now")])
def test_a_page_that_reads_no_log_tables_says_why(log_state: str, message: str):
    """An empty list would say that there were none."""
    with pytest.raises(CliError, match=message):
        PageClient.find(cluster(log_state), "team").artifacts("team", "phase2", "phase2-1")
