"""The runs of a refresh whose dbt project is fetched from a Git repository: their start, their end and their revision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refresh_operator.state.kube_types import Pod
from support.snapshots import (
    build_job,
    build_pod,
    build_refresh,
    build_run_status,
    build_snapshot,
    condition_of,
    decision_for,
    status_after,
)

Json = dict[str, Any]
URL = "https://git.example.org/data/velos.git"
REVISION = "main@sha1:6e27e9a96e27e9a96e27e9a96e27e9a96e27e9a9"
PROJECT = {"git": {"url": URL, "ref": {"branch": "main"}, "secretRef": {"name": "repository"}}}
REPORTED = {"url": URL, "path": ".", "revision": REVISION}
MESH = {"name": "istio-init", "state": {"terminated": {"exitCode": 0}}}


def fetching(state: Json, minutes: float = -10, phase: str = "Pending", runner: Json | None = None) -> Pod:
    """Return a pod whose init containers are one of a mesh and the one that fetches the project, in this state."""
    statuses = [MESH, {"name": "project", "state": state}]
    return build_pod("r1", minutes, phase, initContainerStatuses=statuses, **(runner or {"waiting": {"reason": "PodInitializing"}}))


RUNNING = {"running": {"startedAt": "2026-03-03T11:54:00Z"}}
FETCHED = {"terminated": {"exitCode": 0, "reason": "Completed"}}


def decided(pod: Pod, minutes: float = -6, **changes: Any) -> Any:
    refresh = build_refresh(**{"project": PROJECT, "startTimeout": "5m", "schedule": "0 0 1 1 *", **changes})
    return decision_for(build_snapshot(refresh, (build_job("r1", minutes=minutes),), (pod,)))


def test_a_pod_that_fetches_its_project_has_started():
    """It stays Pending meanwhile. The fetch has a timeout of its own; the condition says what the pod does."""
    decision = decided(fetching(RUNNING, -6))
    assert (decision.delete_jobs, decision.status.history) == ((), [])
    assert condition_of(decision.status, "Running") == ("True", "Starting", "run r1: pod is fetching the dbt project")


@pytest.mark.parametrize(("minutes", "fails"), [(-6, False), (-8, True)])
def test_a_pod_that_has_fetched_has_the_time_for_that_in_addition(minutes: float, fails: bool):
    """The runner's container may still fail to start, for example for a missing Secret; the fetch may take two minutes of seven."""
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "warehouse" not found'}}
    decision = decided(fetching(FETCHED, minutes, runner=waiting), minutes)
    if fails:
        assert [run.reason for run in decision.status.history] == ["StartTimeout"]
        assert "CreateContainerConfigError" in decision.status.history[0].message
    else:
        assert decision.status.history == []
        assert "pod has not started: CreateContainerConfigError" in condition_of(decision.status, "Running")[2]


def test_a_pod_that_has_just_fetched_is_starting():
    """For a moment no container runs, which is no problem to report."""
    decision = decided(fetching(FETCHED, -1), -1)
    assert condition_of(decision.status, "Running")[1:] == ("Starting", "run r1: pod is starting")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "ImagePullFailed"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}}, "StartTimeout"),
        ({"waiting": {"reason": "PodInitializing"}}, "StartTimeout"),
    ],
)
def test_an_init_container_that_does_not_start_has_a_specific_reason(state: Json, reason: str):
    """Its image is pulled first; before it, a mesh's may hang."""
    (run,) = decided(fetching(state, -6)).status.history
    assert run.reason == reason
    assert state["waiting"]["reason"] in run.message


def test_a_container_of_a_mesh_is_not_the_one_that_fetches():
    """A pod whose only init container is a mesh's has not started, as before."""
    pod = build_pod("r1", -6, initContainerStatuses=[{"name": "istio-init", "state": RUNNING}], waiting={"reason": "PodInitializing"})
    assert [run.reason for run in decided(pod, project=None).status.history] == ["StartTimeout"]


def concluded(pod: Pod, **changes: Any) -> Any:
    refresh = build_refresh(**{"project": PROJECT, **changes})
    return status_after(build_snapshot(refresh, (build_job("r1", "Failed"),), (pod,))).history[0]


@pytest.mark.parametrize(
    ("terminated", "reason", "message"),
    [
        (
            {"exitCode": 137, "reason": "OOMKilled"},
            "OOMKilled",
            "the container that fetches the dbt project exceeded its memory limit: raise spec.resources.limits.memory",
        ),
        (
            {"exitCode": 137, "reason": "Error"},
            "RunnerLost",
            "container that fetches the dbt project was killed without reporting (exit code 137)",
        ),
        (
            {"exitCode": 2, "reason": "Error", "message": "usage: refresh-runner"},
            "RunnerLost",
            "container that fetches the dbt project exited without reporting (exit code 2)",
        ),
    ],
)
def test_a_fetch_that_ends_without_a_report_is_named(terminated: Json, reason: str, message: str):
    """Its log is another one, and fewer threads of dbt would not help."""
    run = concluded(fetching({"terminated": terminated}, phase="Failed"))
    assert (run.outcome, run.reason, run.message) == ("Failed", reason, message)


@pytest.mark.parametrize(("project", "command"), [(PROJECT, "kubectl logs -n default job/r1 --all-containers"), (None, "job/r1")])
def test_the_command_for_the_log_includes_the_container_that_fetches(project: Json | None, command: str):
    """kubectl shows the runner's container alone, which has no log if it has not started."""
    pod = fetching({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, phase="Failed")
    share = status_after(build_snapshot(build_refresh(project=project), (build_job("r1", "Failed"),), (pod,)))
    assert share.message.endswith(command)


def test_a_runner_that_is_killed_after_the_fetch_is_the_runner():
    """The control: the init container has succeeded."""
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    run = concluded(fetching(FETCHED, phase="Failed", runner=killed))
    assert run.message == "the runner exceeded its memory limit: raise spec.resources.limits.memory, or lower spec.dbt.threads"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (RUNNING, "the dbt project was not fetched before the attempt exceeded spec.timeout"),
        (FETCHED, "the attempt exceeded spec.timeout"),
    ],
)
def test_a_deadline_says_whether_the_project_was_fetched(state: Json, message: str):
    """Otherwise a slow repository looks like a slow model."""
    run = concluded(build_pod("r1", phase="Failed", reason="DeadlineExceeded", initContainerStatuses=[{"name": "project", "state": state}]))
    assert (run.reason, run.message) == ("DeadlineExceeded", message)


def words(**changes: Any) -> str:
    return json.dumps({"id": "r1", "attempt": 1, "phase": "Finished", "outcome": "Failed", "reason": "LayerFailed", **changes})


def test_the_history_has_the_revision_of_the_report():
    """It is in the status of the run."""
    refresh = build_refresh(project=PROJECT, run=build_run_status("r1", project=REPORTED))
    share = status_after(build_snapshot(refresh, (build_job("r1", "Complete"),)))
    assert (share.history[0].outcome, share.history[0].revision) == ("Succeeded", REVISION)


def test_the_history_has_the_revision_of_a_termination_message():
    """Another run may have overwritten the status."""
    ended = build_pod("r1", phase="Failed", terminated={"exitCode": 1, "message": words(revision=REVISION)})
    run = concluded(ended, run=build_run_status("r2", project={**REPORTED, "revision": "other@sha1:1"}))
    assert (run.reason, run.revision) == ("LayerFailed", REVISION)


@pytest.mark.parametrize("job", [build_job("r1", "Failed"), None], ids=["killed", "deleted"])
def test_a_run_without_a_result_keeps_its_revision(job: Any):
    """Of a killed runner the status has the revision, though not the result."""
    running = build_run_status("r1", phase="Running", outcome=None, reason=None, completionTime=None, project=REPORTED)
    pods = (build_pod("r1", phase="Running"),)
    before = status_after(build_snapshot(build_refresh(project=PROJECT, run=running), (build_job("r1"),), pods))
    after = build_refresh(before, run=running, project=PROJECT)
    (run,) = status_after(build_snapshot(after, (job,) if job else ())).history
    assert (run.reason, run.revision) == ("RunnerLost" if job else "JobDeleted", REVISION)


def test_a_cancelled_run_keeps_its_revision():
    """Users then know which commit was half built."""
    running = build_run_status("r1", phase="Running", outcome=None, reason=None, completionTime=None, project=REPORTED)
    refresh = build_refresh(project=PROJECT, run=running, annotations={"dashboards.sigeti.io/cancel": "r1"})
    (run,) = status_after(build_snapshot(refresh, (build_job("r1"),), (build_pod("r1", phase="Running"),))).history
    assert (run.reason, run.revision) == ("Cancelled", REVISION)


def test_a_run_of_the_project_in_the_image_has_no_revision():
    """The control."""
    assert concluded(build_pod("r1", phase="Failed", terminated={"exitCode": 1, "message": words()}), project=None).revision is None
