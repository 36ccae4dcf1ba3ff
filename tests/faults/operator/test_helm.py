"""An upgrade, a rollback and the uninstallation of a Helm release, with existing refreshes and an active run, on a real API server."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.operator_harness import REFRESHES, OperatorHarness
from support.snapshots import ROOT

NAME = "phase2-dashboards-refresh"
"""The chart's refresh."""
OWN = "ventes"
"""A refresh that a user applied."""


class Release:
    """The release `op`, and its operator with the settings that its Deployment has."""

    def __init__(self, operator: OperatorHarness) -> None:
        self.operator = operator

    def helm(self, command: str, *words: str) -> None:
        """Run a command of helm on the release."""
        where = [f"--kubeconfig={self.operator.kubectl.kubeconfig}", "-n", self.operator.namespace]
        done = subprocess.run(
            [str(self.operator.helm), command, "op", *words, *where], capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr

    def roll_out(self) -> None:
        """Play the Deployment controller: end the operator's pod, and start one of the Deployment's template."""
        self.operator.stop()
        deployment: Any = self.operator.api.get(self.operator.namespace, "deployments", "op-dashboard-refresh")
        variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        self.operator.settings = {
            each["name"]: each["value"] for each in variables if "value" in each and each["name"] != "HEALTH_ENDPOINT"
        }
        self.operator.start()

    def wait_for_image(self, tag: str) -> None:
        """Wait until the CronJobs of both refreshes have an image."""
        for name in (NAME, OWN):
            self.operator.wait_for(lambda name=name: f"refresh-runner:{tag}" in str(self.operator.cronjob(name)), 20, name)


@pytest.fixture
def release(api, contract, helm, tmp_path) -> Iterator[Release]:
    """The release after its installation, with the chart's refresh and a user's."""
    operator = OperatorHarness(api, contract.within("helm-release"), helm, tmp_path)
    operator.create_namespace()
    installed = Release(operator)
    installed.helm("install", str(ROOT / "deploy/helm"), "--set", "refreshes.phase2.enabled=true,runner.image.tag=old")
    operator.take_token()
    operator.create_refresh(OWN)
    installed.roll_out()
    installed.wait_for_image("old")
    yield installed
    operator.stop()


def identity(operator: OperatorHarness, job: str) -> tuple[Any, ...]:
    """Return what does not change if neither the refresh nor its run is changed."""
    found: Any = operator.api.get(operator.namespace, "jobs", job)
    refresh = operator.get_refresh(NAME)["metadata"]
    return found["metadata"]["uid"], found["metadata"]["generation"], operator.wait_for_pod(job)["metadata"]["uid"], refresh["uid"]


def posted(operator: OperatorHarness, wanted: str) -> int:
    """Return the number of events of a reason, on both refreshes."""
    return [reason for name in (NAME, OWN) for reason, _ in operator.events(name)].count(wanted)


def test_a_run_lives_through_an_upgrade_and_its_history_through_a_rollback(release):
    """The commands are those of the guide. The control: the CronJobs get the other image each time."""
    operator = release.operator
    operator.request_run(NAME, "one")
    job = operator.wait_for_job(NAME)
    operator.set_pod_status(job, "Running", {"running": {}})
    operator.wait_for(lambda: operator.status(NAME).get("active"), 15, NAME)
    before, generation = identity(operator, job), operator.get_refresh(NAME)["metadata"]["generation"]

    release.helm("upgrade", str(ROOT / "deploy/helm"), "--reset-then-reuse-values", "--force-conflicts", "--set", "runner.image.tag=new")
    release.roll_out()
    release.wait_for_image("new")
    assert identity(operator, job) == before
    operator.report_run(NAME, job)
    operator.end_pod(job)
    assert operator.wait_for_history(NAME, job)["outcome"] == "Succeeded"

    release.helm("rollback", "1", "--force-conflicts")
    release.roll_out()
    release.wait_for_image("old")
    assert [run["id"] for run in operator.status(NAME)["history"]] == [job]
    assert operator.get_refresh(NAME)["metadata"]["generation"] == generation
    assert len(operator.jobs(NAME)) == 1  # the request is not handled again
    operator.wait_for(lambda: posted(operator, "DefaultsChanged") == 4, 10, NAME)
    assert posted(operator, "DriftCorrected") == 0
    operator.request_run(NAME, "two")
    second = operator.wait_for_job(NAME)
    assert operator.wait_for_pod(second)["spec"]["containers"][0]["image"] == "refresh-runner:old"

    release.helm("uninstall")
    assert [each["metadata"]["name"] for each in operator.api.items(operator.namespace, REFRESHES)] == [OWN]
    assert operator.cronjob(OWN) is not None
