"""Requested and cancelled runs, on a real API server."""

import json
import signal
import time

import pytest

from support.operator_harness import Json, OperatorHarness


def test_a_request_starts_exactly_one_run(running_operator):
    """It is recorded as handled. Touching the refresh changes nothing, and a new value starts another run."""
    running_operator.create_refresh("token", token="one")
    job = running_operator.wait_for_job("token")
    running_operator.wait_for(lambda: running_operator.status("token").get("lastHandledRequestAt") == "one", 10, "token")
    running_operator.end_pod(job)
    assert running_operator.wait_for_history("token", job)["trigger"] == "Requested"
    running_operator.request_run("token", "one")
    running_operator.patch_spec("token", displayName="Once more")
    running_operator.wait_for(lambda: running_operator.status("token")["observedGeneration"] == 2, 10, "token")
    assert len(running_operator.jobs("token")) == 1
    running_operator.request_run("token", "two")
    running_operator.wait_for(lambda: len(running_operator.jobs("token")) == 2, 10, "token")


def test_a_request_starts_a_run_while_suspended(running_operator):
    """Suspension only concerns the schedule."""
    running_operator.create_refresh("asleep", suspend=True, token="one")
    assert running_operator.wait_for_job("asleep")


def test_a_request_is_queued_while_a_run_is_active(running_operator):
    """The status says so, and the run starts once the active one has ended."""
    running_operator.create_refresh("waiting", token="one")
    first = running_operator.wait_for_job("waiting")
    running_operator.set_pod_status(first, "Running", {"running": {}})
    running_operator.request_run("waiting", "two")

    def told() -> bool:
        return any("two" in each["message"] for each in running_operator.status("waiting")["conditions"] if each["type"] == "Running")

    running_operator.wait_for(told, 10, "waiting")
    assert len(running_operator.jobs("waiting")) == 1
    running_operator.end_pod(first)
    running_operator.wait_for(lambda: running_operator.status("waiting").get("lastHandledRequestAt") == "two", 15, "waiting")
    assert len(running_operator.jobs("waiting")) == 2


@pytest.fixture(scope="module")
def restarted(create_operator) -> tuple[OperatorHarness, dict[str, str]]:
    """An operator that was killed and restarted, with the earlier Jobs of three refreshes, each of which was touched in between.

    The run of `ended` has ended, that of `under-way` has not. The status of `lost` was removed, as if the operator had died between
    creating the Job and recording it.
    """
    operator = create_operator()
    operator.start()
    names = ("ended", "under-way", "lost")
    for name in names:
        operator.create_refresh(name, token="one")
    jobs = {name: operator.wait_for_job(name) for name in names}
    operator.end_pod(jobs["ended"])
    operator.wait_for_history("ended", jobs["ended"])
    for name in names:
        operator.wait_for(lambda name=name: operator.status(name).get("lastHandledRequestAt") == "one", 10, name)
    operator.stop(signal.SIGKILL)
    for name in names:
        operator.patch_spec(name, displayName="Touched")
    operator.api.patch(operator.namespace, "dashboardrefreshes", "lost", {"status": None}, status=True)
    assert operator.status("lost")["observedGeneration"] == -1, "the status of a new refresh"
    assert "lastHandledRequestAt" not in operator.status("lost")
    operator.start()
    return operator, jobs


@pytest.mark.parametrize("name", ["ended", "under-way", "lost"])
def test_a_killed_operator_does_not_repeat_a_request(restarted, name):
    """The Job's name is derived from the request. A new request, which the new operator handles, is the control."""
    operator, jobs = restarted
    operator.wait_for(lambda: operator.status(name).get("observedGeneration") == 2, 20, name)
    operator.wait_for(lambda: operator.status(name).get("lastHandledRequestAt") == "one", 20, name)
    assert [each["metadata"]["name"] for each in operator.jobs(name)] == [jobs[name]]
    if name != "ended":
        operator.end_pod(jobs[name])
    operator.request_run(name, "two")
    operator.wait_for(lambda: len(operator.jobs(name)) == 2, 20, name)


def test_a_job_created_by_kubectl_counts_as_a_run(running_operator):
    """`kubectl create job --from=cronjob` is a common way to start one."""
    running_operator.create_refresh("by-kubectl")
    running_operator.wait_until_ready("by-kubectl")
    running_operator.kubectl("create", "job", "by-hand", "--from=cronjob/by-kubectl")
    running_operator.end_pod("by-hand")
    assert running_operator.wait_for_history("by-kubectl", "by-hand")["trigger"] == "Manual"


def _run_request(operator: OperatorHarness, refresh: str, job: str) -> Json:
    """The run request that a Job's pod carries."""
    (found,) = [each for each in operator.jobs(refresh) if each["metadata"]["name"] == job]
    environment = found["spec"]["template"]["spec"]["containers"][0]["env"]
    return dict(json.loads(next(each["value"] for each in environment if each["name"] == "REFRESH_RUN_REQUEST")))


def test_the_mode_of_a_request_is_used_and_an_invalid_one_rejected(running_operator):
    """The rejection has a message, counts as handled and creates no Job. A valid mode is the control."""
    running_operator.create_refresh("mode")
    running_operator.wait_until_ready("mode")
    running_operator.annotate("mode", requestedAt="bad", runMode="from=mart")
    running_operator.wait_for(lambda: running_operator.status("mode").get("lastHandledRequestAt") == "bad", 10, "mode")
    assert "no step is named 'mart'" in running_operator.status("mode")["message"]
    running_operator.expect_events("mode", "RequestRefused")
    assert running_operator.jobs("mode") == []
    running_operator.annotate("mode", requestedAt="good", runMode="from=marts")
    job = running_operator.wait_for_job("mode")
    assert _run_request(running_operator, "mode", job)["mode"] == "from=marts"
    running_operator.end_pod(job)
    run = running_operator.wait_for_history("mode", job)
    assert (run["mode"], run["image"]) == ("from=marts", "i")
    assert "requestError" not in running_operator.status("mode")


def test_an_edit_does_not_affect_the_active_run(running_operator):
    """It keeps its run request, in its Job and in the history. The next run uses the new spec."""
    running_operator.create_refresh("pinned", token="one", displayName="Before")
    first = running_operator.wait_for_job("pinned")
    running_operator.set_pod_status(first, "Running", {"running": {}})
    running_operator.patch_spec("pinned", displayName="After", layers=[{"name": "staging", "select": ["stg_emplois_crees"]}])
    running_operator.wait_for(lambda: running_operator.status("pinned")["observedGeneration"] == 2, 10, "pinned")
    kept = _run_request(running_operator, "pinned", first)
    assert (kept["generation"], kept["spec"]["displayName"], len(kept["spec"]["layers"])) == (1, "Before", 3)
    running_operator.end_pod(first)
    assert running_operator.wait_for_history("pinned", first)["generation"] == 1
    running_operator.request_run("pinned", "two")
    second = running_operator.wait_for_job("pinned")
    new = _run_request(running_operator, "pinned", second)
    assert (new["generation"], new["spec"]["displayName"], len(new["spec"]["layers"])) == (2, "After", 1)
    running_operator.end_pod(second)
    assert running_operator.wait_for_history("pinned", second)["generation"] == 2


def test_a_cancelled_run_ends_and_a_queued_request_starts(running_operator):
    """The run is recorded and its Job deleted. The queued request is not cancelled with it."""
    running_operator.create_refresh("cancel", token="one")
    job = running_operator.wait_for_job("cancel")
    running_operator.set_pod_status(job, "Running", {"running": {}})
    running_operator.request_run("cancel", "two")
    running_operator.annotate("cancel", cancel=job)
    assert running_operator.wait_for_history("cancel", job)["reason"] == "Cancelled"
    assert running_operator.condition("cancel", "LastRunSucceeded") == ("False", "Cancelled")
    following = running_operator.wait_for(lambda: [each["metadata"]["name"] for each in running_operator.jobs("cancel")], 10, "cancel")
    running_operator.wait_for(lambda: job not in [each["metadata"]["name"] for each in running_operator.jobs("cancel")], 10, "cancel")
    running_operator.wait_for(lambda: running_operator.status("cancel").get("lastHandledRequestAt") == "two", 15, "cancel")
    assert following
    assert running_operator.status("cancel")["lastHandledCancel"] == job
    running_operator.expect_events("cancel", "RunCancelled")


def test_of_twenty_requests_in_a_second_the_last_one_runs(running_operator):
    """Requests that are replaced before they start never run."""
    running_operator.create_refresh("many", token="t0")
    first = running_operator.wait_for_job("many")
    for number in range(1, 20):
        running_operator.request_run("many", f"t{number}")
    running_operator.end_pod(first)
    running_operator.wait_for(lambda: running_operator.status("many").get("lastHandledRequestAt") == "t19", 15, "many")
    assert len(running_operator.jobs("many")) <= 2


@pytest.mark.slow
def test_a_runner_without_heartbeats_fails_its_run(running_operator):
    """Its pod is still Running. While heartbeats arrive, the run continues: that is the control."""
    running_operator.create_refresh("hung", token="one", retries=0)
    job = running_operator.wait_for_job("hung")
    running_operator.set_pod_status(job, "Running", {"running": {}})
    pod = running_operator.wait_for_pod(job)["metadata"]["name"]

    def beat(second: int) -> None:
        running = {"phase": "Running", "outcome": None, "reason": None, "completionTime": None, "pod": pod, "step": "3/6 marts"}
        running_operator.report_run("hung", job, **running, heartbeatTime=f"2026-03-03T12:03:{second:02}Z")

    for second in range(6):
        beat(second)
        assert running_operator.status("hung").get("history", []) == []
        time.sleep(1)
    run = running_operator.wait_for_history("hung", job)
    assert run["reason"] == "RunnerLost"
    assert "3/6 marts" in run["message"]
    running_operator.wait_for(lambda: running_operator.jobs("hung") == [], 10, "hung")
