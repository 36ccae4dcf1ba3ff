"""Results of runs as the status shows them, with the real Job controller; the tests act as kubelet and runner."""

import json

import pytest

from support.snapshots import Json, sample_spec

REASONS = {
    "OOMKilled": {"code": 137, "reason": "OOMKilled"},
    "RunnerLost": {"code": 1, "message": "Traceback (most recent call last): …"},
}


def words(job: str, **changes) -> str:
    return json.dumps({"id": job, "attempt": 1, "phase": "Finished", **changes})


def requested(operator, name: str, **changes) -> str:
    operator.create_refresh(name, token="one", **{"retries": 0, **changes})
    return operator.wait_for_job(name)


def test_a_run_survives_the_deletion_of_its_cronjob(running_operator):
    """Only the CronJob owns a scheduled Job, so Kubernetes would delete the Job with it."""
    running_operator.create_refresh("orphan")
    running_operator.wait_until_ready("orphan")
    before = running_operator.cronjob("orphan")["metadata"]["uid"]
    running_operator.kubectl("create", "job", "orphan-29000000", "--from=cronjob/orphan")

    def owners() -> set[str]:
        job = running_operator.api.get(running_operator.namespace, "jobs", "orphan-29000000")
        return {each["kind"] for each in job["metadata"]["ownerReferences"]}

    running_operator.wait_for(lambda: owners() == {"CronJob", "DashboardRefresh"}, 10, "orphan")
    running_operator.api.delete(running_operator.namespace, "cronjobs", "orphan")
    running_operator.wait_for(
        lambda: (running_operator.cronjob("orphan") or {"metadata": {"uid": before}})["metadata"]["uid"] != before, 10, "orphan"
    )
    running_operator.end_pod("orphan-29000000")
    assert running_operator.wait_for_history("orphan", "orphan-29000000")["outcome"] == "Succeeded"


def test_a_successful_run_shows_in_status_columns_and_events(running_operator):
    """History, last run, conditions and columns agree; the runner's steps are kept."""
    job = requested(running_operator, "good")
    running_operator.set_pod_status(job, "Running", {"running": {}})
    running_operator.wait_for(lambda: running_operator.condition("good", "Running") == ("True", "Running"), 10, "good")
    running_operator.report_run("good", job)
    running_operator.end_pod(job)
    run = running_operator.wait_for_history("good", job)
    status = running_operator.status("good")
    assert (run["outcome"], run["marts"], run["trigger"]) == ("Succeeded", "4/4", "Requested")
    assert status["lastRun"] == run
    assert running_operator.condition("good", "LastRunSucceeded") == ("True", "Succeeded")
    assert running_operator.condition("good", "Running") == ("False", "Idle")
    assert (status["consecutiveFailures"], status["run"]["id"], status["phase"]) == (0, job, "Scheduled")
    running_operator.expect_events("good", "RunStarted", "RunSucceeded")


def test_a_failed_run_does_not_change_ready(running_operator):
    """Ready reports the configuration. The message says what failed and where to look."""
    job = requested(running_operator, "bad")
    running_operator.report_run("bad", job, outcome="Failed", reason="LayerFailed", message="stg_factures: syntax error", marts=None)
    running_operator.end_pod(job, 1)
    assert running_operator.wait_for_history("bad", job)["reason"] == "LayerFailed"
    assert running_operator.condition("bad", "Ready") == ("True", "Scheduled")
    assert running_operator.condition("bad", "LastRunSucceeded") == ("False", "LayerFailed")
    message = running_operator.status("bad")["message"]
    assert "syntax error" in message
    assert f"job/{job}" in message
    assert running_operator.status("bad")["consecutiveFailures"] == 1


def test_a_termination_message_replaces_a_report_that_never_arrived(running_operator):
    """The API server may be down when the runner writes its status."""
    job = requested(running_operator, "words")
    running_operator.end_pod(job, 1, words(job, outcome="Failed", reason="ValidationFailed", marts="3/4", notified=True))
    run = running_operator.wait_for_history("words", job)
    assert (run["reason"], run["marts"]) == ("ValidationFailed", "3/4")


@pytest.mark.parametrize(("reason", "ending"), REASONS.items())
def test_a_runner_that_exits_without_reporting(running_operator, reason, ending):
    """The reason comes from the pod, and the next run works."""
    name = f"dead-{reason.lower()}"
    job = requested(running_operator, name)
    running_operator.end_pod(job, **ending)
    assert running_operator.wait_for_history(name, job)["reason"] == reason
    running_operator.request_run(name, "two")
    following = running_operator.wait_for_job(name)
    running_operator.report_run(name, following)
    running_operator.end_pod(following)
    assert running_operator.wait_for_history(name, following)["outcome"] == "Succeeded"


def test_an_attempt_that_exceeds_its_deadline(running_operator):
    """The kubelet ends the pod with the reason DeadlineExceeded."""
    job = requested(running_operator, "deadline")
    running_operator.set_pod_status(job, "Failed", {"terminated": {"exitCode": 137}}, reason="DeadlineExceeded")
    assert running_operator.wait_for_history("deadline", job)["reason"] == "DeadlineExceeded"


@pytest.mark.slow
def test_failed_attempts_show_during_the_run(running_operator):
    """Exit code 75 makes the Job controller create another pod, which is told how often the run has failed."""
    job = requested(running_operator, "attempts", retries=1)
    first = running_operator.wait_for_pod(job)["metadata"]
    assert first["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "0"
    running_operator.report_run(
        "attempts",
        job,
        phase="Retrying",
        outcome=None,
        reason="WarehouseUnreachable",
        message="nobody answers",
        completionTime=None,
        attempts=2,
    )
    running_operator.end_pod(job, 75)

    def trying() -> bool:
        (running,) = [each for each in running_operator.status("attempts")["conditions"] if each["type"] == "Running"]
        return "attempt 1/2: WarehouseUnreachable: nobody answers" in running["message"]

    running_operator.wait_for(trying, 10, "attempts")
    assert running_operator.status("attempts").get("history", []) == []
    assert running_operator.condition("attempts", "LastRunSucceeded") == ("Unknown", "NoRunYet")
    second = running_operator.wait_for(
        lambda: (p := running_operator.wait_for_pod(job)["metadata"])["name"] != first["name"] and p, 25, "attempts"
    )
    assert second["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    running_operator.report_run("attempts", job, outcome="Failed", reason="WarehouseUnreachable", attempt=2, attempts=2)
    running_operator.end_pod(job, 1)
    run = running_operator.wait_for_history("attempts", job)
    assert (run["reason"], run["attempts"]) == ("WarehouseUnreachable", 2)


@pytest.mark.slow
def test_an_interruption_does_not_count_as_an_attempt(running_operator):
    """After exit code 143, the failure count of the next pod is unchanged."""
    job = requested(running_operator, "drain", retries=0)
    first = running_operator.wait_for_pod(job)["metadata"]["name"]
    running_operator.end_pod(job, 143)
    following = running_operator.wait_for(lambda: (p := running_operator.wait_for_pod(job)["metadata"])["name"] != first and p, 25, "drain")
    assert following["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "0"


def test_an_image_that_cannot_be_pulled(running_operator):
    """The status shows it before startTimeout, and then the Job is deleted, so that the next run can start."""
    job = requested(running_operator, "image", startTimeout="6s")
    running_operator.set_pod_status(job, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}})
    running_operator.wait_for(lambda: running_operator.condition("image", "Running") == ("True", "Starting"), 5, "image")
    run = running_operator.wait_for_history("image", job)
    assert run["reason"] == "ImagePullFailed"
    assert 'pulling image "x"' in run["message"]
    running_operator.wait_for(lambda: running_operator.jobs("image") == [], 10, "image")
    running_operator.request_run("image", "two")
    running_operator.set_pod_status(running_operator.wait_for_job("image"), "Running", {"running": {}})


def test_a_pod_that_cannot_be_scheduled(running_operator):
    """The message contains the scheduler's own explanation."""
    job = requested(running_operator, "nodes", startTimeout="3s")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient memory"}
    running_operator.set_pod_status(job, "Pending", conditions=[unscheduled])
    run = running_operator.wait_for_history("nodes", job)
    assert run["reason"] == "Unschedulable"
    assert "Insufficient memory" in run["message"]


def test_a_job_deleted_by_hand(running_operator):
    """It is recorded as JobDeleted, and the next run works."""
    job = requested(running_operator, "deleted")
    running_operator.set_pod_status(job, "Running", {"running": {}})
    running_operator.wait_for(lambda: bool(running_operator.status("deleted").get("active")), 10, "deleted")
    running_operator.api.delete(running_operator.namespace, "jobs", job)
    assert running_operator.wait_for_history("deleted", job)["reason"] == "JobDeleted"
    running_operator.request_run("deleted", "two")
    assert running_operator.wait_for_job("deleted") != job


def test_a_requested_run_survives_the_deletion_of_its_cronjob(running_operator):
    """The refresh owns the Job as well. The CronJob is recreated meanwhile."""
    job = requested(running_operator, "outlive")
    uid = running_operator.jobs("outlive")[0]["metadata"]["uid"]
    running_operator.api.delete(running_operator.namespace, "cronjobs", "outlive")
    running_operator.wait_for(lambda: running_operator.cronjob("outlive"), 10, "outlive")
    running_operator.end_pod(job)
    assert running_operator.wait_for_history("outlive", job)["outcome"] == "Succeeded"
    assert running_operator.jobs("outlive")[0]["metadata"]["uid"] == uid


def test_a_skipped_run_keeps_lastrunsucceeded(running_operator):
    """LockHeld is neither a success nor a failure."""
    job = requested(running_operator, "lock")
    running_operator.report_run("lock", job)
    running_operator.end_pod(job)
    running_operator.wait_for_history("lock", job)
    running_operator.request_run("lock", "two")
    skipped = running_operator.wait_for_job("lock")
    running_operator.end_pod(skipped, 0, words(skipped, outcome="Skipped", reason="LockHeld", message="held by main"))
    assert running_operator.wait_for_history("lock", skipped)["outcome"] == "Skipped"
    assert running_operator.condition("lock", "LastRunSucceeded") == ("True", "Succeeded")


def test_operator_and_runner_keep_each_others_status_fields(running_operator):
    """Each has its own field manager, so server-side apply keeps them apart."""
    job = requested(running_operator, "shares")
    running_operator.report_run("shares", job)
    running_operator.end_pod(job)
    running_operator.wait_for_history("shares", job)
    running_operator.report_run("shares", job, message="once more")
    status = running_operator.status("shares")
    assert status["run"]["message"] == "once more"
    assert status["history"]
    managers = {
        each["manager"]: each["fieldsV1"]["f:status"].keys()
        for each in running_operator.get_refresh("shares")["metadata"]["managedFields"]
        if each.get("subresource")
    }
    assert managers["refresh-runner"] == {"f:run"}
    assert "f:run" not in managers["refresh-operator"]


def test_a_status_is_never_written_to_a_recreated_refresh(running_operator):
    """A reconciliation may have read the deleted refresh of the same name. One that read the new refresh is the control.

    The refresh is in a namespace that no operator watches, so that nothing else writes its status.
    """
    running_operator.create_refresh("twin")
    running_operator.wait_until_ready("twin")
    share = {key: value for key, value in running_operator.status("twin").items() if key != "run"}
    api, away = running_operator.api, "default"
    kind = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh"}
    body = {**kind, "metadata": {"name": "twin"}, "spec": sample_spec()}
    old = api.create(away, "dashboardrefreshes", body)
    api.delete(away, "dashboardrefreshes", "twin")
    new = api.create(away, "dashboardrefreshes", body)

    def write(version: str) -> None:
        metadata = {"name": "twin", "resourceVersion": version}
        api.apply_status(away, "twin", {**kind, "metadata": metadata, "status": share}, "refresh-operator")

    def status() -> Json:
        return dict((api.get(away, "dashboardrefreshes", "twin") or {}).get("status", {}))

    with pytest.raises(AssertionError, match="the object has been modified"):
        write(old["metadata"]["resourceVersion"])
    assert status()["observedGeneration"] == -1, "the status of a new refresh"
    write(new["metadata"]["resourceVersion"])
    assert status() == share
    api.delete(away, "dashboardrefreshes", "twin")


def test_a_recreated_refresh_has_no_history(running_operator):
    """Runs of the deleted refresh of the same name are not its own."""
    job = requested(running_operator, "phoenix")
    running_operator.end_pod(job, 1)
    running_operator.wait_for_history("phoenix", job)
    running_operator.api.delete(running_operator.namespace, "dashboardrefreshes", "phoenix")
    running_operator.create_refresh("phoenix")
    running_operator.wait_until_ready("phoenix")
    assert running_operator.status("phoenix").get("history", []) == []
