"""F29: an upgrade from the first chart's and from 0.1.0's CRD to today's with a run in progress, on a separate control plane."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.embedded.binaries import KUBE, build
from cluster.embedded.control_plane import ControlPlane
from cluster.paths import paths_of
from support.operator import operator_of
from support.operator_harness import REFRESHES, OperatorHarness
from support.snapshots import ROOT

FIRST = Path(__file__).with_name("first")
"""CRD and sample of the first chart."""
RELEASED = ROOT / "tests/releases/dashboard-refresh-0.1.0.tgz"
"""The chart of the first release."""
NAME = "phase2-dashboards-refresh"
TOLD_THEN = {
    "observedGeneration": 1,
    "phase": "Scheduled",
    "message": "next run: Tue 14:30 (Etc/UTC)",
    "lastHandledRequestAt": "then",
    "consecutiveFailures": 0,
    "lastSuccessTime": "2026-01-01T00:05:00Z",
    "history": [
        {
            "id": f"{NAME}-29400000",
            "trigger": "Scheduled",
            "outcome": "Succeeded",
            "reason": "Succeeded",
            "marts": "4/4",
            "attempts": 1,
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:05:00Z",
            "duration": "5m00s",
        }
    ],
}


def definitions(which: str, place: Path) -> Path:
    """Return the CRD of the first chart, or a folder with those of the first release."""
    if which == "first":
        return FIRST / "dashboardrefreshes.yaml"
    with tarfile.open(RELEASED) as chart:
        chart.extractall(place, filter="data")
    return place / "dashboard-refresh" / "crds"


@pytest.fixture(params=["first", "0.1.0"])
def first_release(helm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OperatorHarness]:
    """An operator on a server with the first CRD and one refresh of that time, with its status."""
    paths = paths_of(os.environ)
    plane = ControlPlane(paths.clusters / f"upgrade-{os.getpid()}", build(KUBE, paths.cache))
    with operator_of(plane, definitions(request.param, tmp_path / "released"), helm, tmp_path) as operator:
        body = yaml.safe_load((FIRST / "phase2.yaml").read_text())
        body["spec"]["schedule"] = "0 0 1 1 *"
        body["metadata"]["annotations"] = {"dashboards.sigeti.io/requestedAt": "then"}
        operator.api.create(operator.namespace, REFRESHES, body)
        operator.api.patch(operator.namespace, REFRESHES, NAME, {"status": TOLD_THEN}, status=True)
        yield operator


def versions(operator: OperatorHarness) -> list[str]:
    return [
        item["metadata"]["resourceVersion"]
        for plural in ("cronjobs", "serviceaccounts", "roles", "rolebindings", "jobs", REFRESHES)
        for item in operator.api.items(operator.namespace, plural)
    ]


def drifts(operator: OperatorHarness) -> int:
    return [reason for reason, _ in operator.events(NAME)].count("DriftCorrected")


def image(operator: OperatorHarness) -> str:
    return str((operator.cronjob(NAME) or {})["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"])


def test_f29_a_refresh_of_the_first_chart_and_its_run_live_through_an_upgrade(first_release):
    """Users upgrade with refreshes in use: history, Job and pod are kept, the CronJob gets the new image, and an event reports this."""
    assert first_release.kubectl.attempt("diff", "-f", str(ROOT / "crds")).returncode == 1
    first_release.kubectl("apply", "-f", str(ROOT / "crds"))  # as the guide says
    assert first_release.kubectl("diff", "-f", str(ROOT / "crds")) == ""
    first_release.settings = {"RUNNER_IMAGE": "refresh-runner:old"}
    first_release.start()
    first_release.wait_until_ready(NAME)
    assert [run["id"] for run in first_release.status(NAME)["history"]] == [f"{NAME}-29400000"]
    assert first_release.jobs(NAME) == []  # a request answered by the old operator does not run again
    first_release.request_run(NAME, "now")
    job = first_release.wait_for_job(NAME)
    first_release.set_pod_status(job, "Running", {"running": {}})
    first_release.wait_for(lambda: first_release.status(NAME).get("active"), 15, NAME)
    before = first_release.api.get(first_release.namespace, "jobs", job)
    corrected = drifts(first_release)
    pod = first_release.wait_for_pod(job)["metadata"]["uid"]
    first_release.stop()

    first_release.settings = {"RUNNER_IMAGE": "refresh-runner:new"}
    first_release.start()
    first_release.wait_for(lambda: image(first_release) == "refresh-runner:new", 20, NAME)
    first_release.expect_events(NAME, "DefaultsChanged")
    assert first_release.api.get(first_release.namespace, "jobs", job)["metadata"]["generation"] == before["metadata"]["generation"]
    assert first_release.wait_for_pod(job)["metadata"]["uid"] == pod
    assert drifts(first_release) == corrected
    first_release.end_pod(job)
    assert first_release.wait_for_history(NAME, job)["outcome"] == "Succeeded"

    first_release.stop()
    rest = versions(first_release)
    first_release.start()
    first_release.patch_spec(NAME, displayName="The control: this edit is followed")
    first_release.wait_for(lambda: first_release.status(NAME)["observedGeneration"] == 2, 60, NAME)
    assert len(set(versions(first_release)) - set(rest)) == 2  # the refresh and its CronJob by the edit; nothing by the restart
