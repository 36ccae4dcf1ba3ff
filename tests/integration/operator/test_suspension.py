"""Suspension of scheduled runs until a date, after failures and by the global pause, on a real API server."""

from datetime import UTC, datetime, timedelta

import pytest

from refresh_api.model import time_text


def suspended(operator, name: str) -> bool:
    return bool(operator.cronjob(name)["spec"]["suspend"])


@pytest.mark.slow
def test_suspenduntil_ends_by_itself(running_operator):
    """The CronJob resumes too, and the spec is not changed."""
    until = time_text(datetime.now(UTC) + timedelta(seconds=15))
    running_operator.create_refresh("until", suspendUntil=until)
    running_operator.wait_for(lambda: running_operator.condition("until", "Suspended") == ("True", "SuspendedUntil"), 14, "until")
    assert suspended(running_operator, "until")
    spec = running_operator.get_refresh("until")["spec"]
    running_operator.kubectl("wait", "dr/until", "--for=condition=Suspended=False", "--timeout=60s")
    assert not suspended(running_operator, "until")
    assert running_operator.get_refresh("until")["spec"] == spec
    assert running_operator.get_refresh("until")["metadata"]["generation"] == 1
    assert "DriftCorrected" not in [reason for reason, _ in running_operator.events("until")]


def test_a_refresh_that_keeps_failing_is_suspended_until_a_requested_run_succeeds(running_operator):
    """The control: before the last failure, the CronJob was not suspended."""
    running_operator.create_refresh("breaker", suspendAfterFailures=2, retries=0)
    running_operator.wait_until_ready("breaker")
    for number in (29_000_001, 29_000_002):
        assert not suspended(running_operator, "breaker")
        template = running_operator.cronjob("breaker")["spec"]["jobTemplate"]
        metadata = {**template["metadata"], "name": f"breaker-{number}"}
        running_operator.api.create(running_operator.namespace, "jobs", {"metadata": metadata, "spec": template["spec"]})
        running_operator.end_pod(f"breaker-{number}", 1)
        running_operator.wait_for_history("breaker", f"breaker-{number}")
    running_operator.wait_for(lambda: suspended(running_operator, "breaker"), 10, "breaker")
    assert running_operator.condition("breaker", "Suspended") == ("True", "TooManyFailures")
    running_operator.expect_events("breaker", "TooManyFailures")
    running_operator.request_run("breaker", "by-hand")
    job = running_operator.wait_for_job("breaker")
    running_operator.end_pod(job)
    running_operator.wait_for_history("breaker", job)
    running_operator.wait_for(lambda: not suspended(running_operator, "breaker"), 10, "breaker")


def test_the_global_pause_stops_all_refreshes(fresh_operator):
    """No request starts a run. Once the ConfigMap is deleted, the queued request starts one."""
    fresh_operator.start()
    for name in ("one", "two"):
        fresh_operator.create_refresh(name)
        fresh_operator.wait_until_ready(name)
    switch = "op-dashboard-refresh-pause"
    fresh_operator.kubectl("create", "configmap", switch, "--from-literal=reason=the warehouse moves")
    fresh_operator.wait_for(lambda: suspended(fresh_operator, "one") and suspended(fresh_operator, "two"), 10, "one")
    # the status follows the CronJob
    fresh_operator.wait_for(
        lambda: fresh_operator.status("two")["message"].startswith("all refreshes are paused: the warehouse moves"), 10, "two"
    )
    fresh_operator.request_run("two", "now")
    fresh_operator.wait_for(lambda: "request now is queued" in fresh_operator.status("two")["message"], 10, "two")
    assert fresh_operator.jobs("two") == []
    fresh_operator.kubectl("delete", "configmap", switch)
    fresh_operator.wait_for_job("two")
    fresh_operator.wait_for(lambda: not suspended(fresh_operator, "one"), 10, "one")
