"""How runs end, as the resource tells it: the real Job controller, with tests in the part of kubelet and runner."""

import json

import pytest

from support.worlds import Json, sample_spec

REASONS = {
    "OOMKilled": {"code": 137, "reason": "OOMKilled"},
    "RunnerLost": {"code": 1, "message": "Traceback (most recent call last): …"},
}


def words(job: str, **changes) -> str:
    return json.dumps({"id": job, "attempt": 1, "phase": "Finished", **changes})


def requested(place, name: str, **changes) -> str:
    place.refresh(name, token="one", **{"retries": 0, **changes})
    return place.run_of(name)


def test_a_run_outlives_its_cronjob(shared_place):
    """Also a scheduled one, which Kubernetes gives to the CronJob alone: it goes on, and is told of."""
    shared_place.refresh("orphan")
    shared_place.ready("orphan")
    before = shared_place.cronjob("orphan")["metadata"]["uid"]
    shared_place.kubectl("create", "job", "orphan-29000000", "--from=cronjob/orphan")

    def owners() -> set[str]:
        job = shared_place.api.get(shared_place.namespace, "jobs", "orphan-29000000")
        return {each["kind"] for each in job["metadata"]["ownerReferences"]}

    shared_place.until(lambda: owners() == {"CronJob", "DashboardRefresh"}, 10, "orphan")
    shared_place.api.delete(shared_place.namespace, "cronjobs", "orphan")
    shared_place.until(lambda: (shared_place.cronjob("orphan") or {"metadata": {"uid": before}})["metadata"]["uid"] != before, 10, "orphan")
    shared_place.end("orphan-29000000")
    assert shared_place.concluded("orphan", "orphan-29000000")["outcome"] == "Succeeded"


def test_a_successful_run_is_told_in_every_place(shared_place):
    """History, last run, conditions, columns, events; steps stay in the runner's share."""
    job = requested(shared_place, "good")
    shared_place.play(job, "Running", {"running": {}})
    shared_place.until(lambda: shared_place.condition("good", "Running") == ("True", "Running"), 10, "good")
    shared_place.report("good", job)
    shared_place.end(job)
    run = shared_place.concluded("good", job)
    status = shared_place.status("good")
    assert (run["outcome"], run["marts"], run["trigger"]) == ("Succeeded", "4/4", "Requested")
    assert status["lastRun"] == run
    assert shared_place.condition("good", "LastRunSucceeded") == ("True", "Succeeded")
    assert shared_place.condition("good", "Running") == ("False", "Idle")
    assert (status["consecutiveFailures"], status["run"]["id"], status["phase"]) == (0, job, "Scheduled")
    shared_place.told("good", "RunStarted", "RunSucceeded")


def test_a_failed_run_does_not_flip_ready(shared_place):
    """Ready speaks of the configuration; the message says what failed and where to look."""
    job = requested(shared_place, "bad")
    shared_place.report("bad", job, outcome="Failed", reason="LayerFailed", message="stg_factures: syntax error", marts=None)
    shared_place.end(job, 1)
    assert shared_place.concluded("bad", job)["reason"] == "LayerFailed"
    assert shared_place.condition("bad", "Ready") == ("True", "Scheduled")
    assert shared_place.condition("bad", "LastRunSucceeded") == ("False", "LayerFailed")
    message = shared_place.status("bad")["message"]
    assert "syntax error" in message
    assert f"job/{job}" in message
    assert shared_place.status("bad")["consecutiveFailures"] == 1


def test_last_words_replace_a_report_that_never_arrived(shared_place):
    """The API server was away when the runner wanted to write."""
    job = requested(shared_place, "words")
    shared_place.end(job, 1, words(job, outcome="Failed", reason="ValidationFailed", marts="3/4", notified=True))
    run = shared_place.concluded("words", job)
    assert (run["reason"], run["marts"]) == ("ValidationFailed", "3/4")


@pytest.mark.parametrize(("reason", "ending"), REASONS.items())
def test_a_runner_that_died_without_a_word(shared_place, reason, ending):
    """Its death is concluded from the pod, and the next run works."""
    name = f"dead-{reason.lower()}"
    job = requested(shared_place, name)
    shared_place.end(job, **ending)
    assert shared_place.concluded(name, job)["reason"] == reason
    shared_place.request(name, "two")
    following = shared_place.run_of(name)
    shared_place.report(name, following)
    shared_place.end(following)
    assert shared_place.concluded(name, following)["outcome"] == "Succeeded"


def test_an_attempt_over_its_deadline(shared_place):
    """The kubelet ends the pod, and says so."""
    job = requested(shared_place, "deadline")
    shared_place.play(job, "Failed", {"terminated": {"exitCode": 137}}, reason="DeadlineExceeded")
    assert shared_place.concluded("deadline", job)["reason"] == "DeadlineExceeded"


def test_attempts_show_before_the_run_is_over(shared_place):
    """Exit code 75 makes the Job controller try again; the runner learns how often it failed from its pod."""
    job = requested(shared_place, "attempts", retries=1)
    first = shared_place.pod_of(job)["metadata"]
    assert first["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "0"
    shared_place.report(
        "attempts",
        job,
        phase="Retrying",
        outcome=None,
        reason="WarehouseUnreachable",
        message="nobody answers",
        completionTime=None,
        attempts=2,
    )
    shared_place.end(job, 75)

    def trying() -> bool:
        (running,) = [each for each in shared_place.status("attempts")["conditions"] if each["type"] == "Running"]
        return "attempt 1/2: WarehouseUnreachable: nobody answers" in running["message"]

    shared_place.until(trying, 10, "attempts")
    assert shared_place.status("attempts").get("history", []) == []
    assert shared_place.condition("attempts", "LastRunSucceeded") == ("Unknown", "NoRunYet")
    second = shared_place.until(lambda: (p := shared_place.pod_of(job)["metadata"])["name"] != first["name"] and p, 25, "attempts")
    assert second["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    shared_place.report("attempts", job, outcome="Failed", reason="WarehouseUnreachable", attempt=2, attempts=2)
    shared_place.end(job, 1)
    run = shared_place.concluded("attempts", job)
    assert (run["reason"], run["attempts"]) == ("WarehouseUnreachable", 2)


def test_an_interruption_costs_no_attempt(shared_place):
    """Exit code 143: the next pod has as many failures behind it as the first."""
    job = requested(shared_place, "drain", retries=0)
    first = shared_place.pod_of(job)["metadata"]["name"]
    shared_place.end(job, 143)
    following = shared_place.until(lambda: (p := shared_place.pod_of(job)["metadata"])["name"] != first and p, 25, "drain")
    assert following["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "0"


def test_an_image_that_cannot_be_pulled(shared_place):
    """Said while it is waited for, concluded after startTimeout, the Job deleted; the next run is not blocked."""
    job = requested(shared_place, "image", startTimeout="6s")
    shared_place.play(job, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}})
    shared_place.until(lambda: shared_place.condition("image", "Running") == ("True", "Starting"), 5, "image")
    run = shared_place.concluded("image", job)
    assert run["reason"] == "ImagePullFailed"
    assert 'pulling image "x"' in run["message"]
    shared_place.until(lambda: shared_place.jobs("image") == [], 10, "image")
    shared_place.request("image", "two")
    shared_place.play(shared_place.run_of("image"), "Running", {"running": {}})


def test_a_pod_that_no_node_takes(shared_place):
    """The scheduler's words are in the message."""
    job = requested(shared_place, "nodes", startTimeout="3s")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient memory"}
    shared_place.play(job, "Pending", conditions=[unscheduled])
    run = shared_place.concluded("nodes", job)
    assert run["reason"] == "Unschedulable"
    assert "Insufficient memory" in run["message"]


def test_a_job_deleted_by_hand(shared_place):
    """Recorded as such, and the next run works."""
    job = requested(shared_place, "deleted")
    shared_place.play(job, "Running", {"running": {}})
    shared_place.until(lambda: bool(shared_place.status("deleted").get("active")), 10, "deleted")
    shared_place.api.delete(shared_place.namespace, "jobs", job)
    assert shared_place.concluded("deleted", job)["reason"] == "JobDeleted"
    shared_place.request("deleted", "two")
    assert shared_place.run_of("deleted") != job


def test_a_requested_run_outlives_its_cronjob(shared_place):
    """Deleted by hand in mid-run: the CronJob is back, and the Job untouched, since the refresh owns it, too."""
    job = requested(shared_place, "outlive")
    uid = shared_place.jobs("outlive")[0]["metadata"]["uid"]
    shared_place.api.delete(shared_place.namespace, "cronjobs", "outlive")
    shared_place.until(lambda: shared_place.cronjob("outlive"), 10, "outlive")
    shared_place.end(job)
    assert shared_place.concluded("outlive", job)["outcome"] == "Succeeded"
    assert shared_place.jobs("outlive")[0]["metadata"]["uid"] == uid


def test_a_skipped_run_leaves_the_last_answer_alone(shared_place):
    """LockHeld is neither a success nor a failure."""
    job = requested(shared_place, "lock")
    shared_place.report("lock", job)
    shared_place.end(job)
    shared_place.concluded("lock", job)
    shared_place.request("lock", "two")
    skipped = shared_place.run_of("lock")
    shared_place.end(skipped, 0, words(skipped, outcome="Skipped", reason="LockHeld", message="held by main"))
    assert shared_place.concluded("lock", skipped)["outcome"] == "Skipped"
    assert shared_place.condition("lock", "LastRunSucceeded") == ("True", "Succeeded")


def test_both_writers_keep_their_shares(shared_place):
    """The operator's writes leave status.run, the runner's leave all else: each is the field manager of its own."""
    job = requested(shared_place, "shares")
    shared_place.report("shares", job)
    shared_place.end(job)
    shared_place.concluded("shares", job)
    shared_place.report("shares", job, message="once more")
    status = shared_place.status("shares")
    assert status["run"]["message"] == "once more"
    assert status["history"]
    managers = {
        each["manager"]: each["fieldsV1"]["f:status"].keys()
        for each in shared_place.seen("shares")["metadata"]["managedFields"]
        if each.get("subresource")
    }
    assert managers["refresh-runner"] == {"f:run"}
    assert "f:run" not in managers["refresh-operator"]


def test_a_status_is_never_written_onto_a_namesake(shared_place):
    """A look at the old one, written when it was made anew, is refused. The control: a look at the new one is fine.

    The twin lives where no operator writes in between.
    """
    shared_place.refresh("twin")
    shared_place.ready("twin")
    share = {key: value for key, value in shared_place.status("twin").items() if key != "run"}
    api, away = shared_place.api, "default"
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
    assert status() == {}
    write(new["metadata"]["resourceVersion"])
    assert status() == share
    api.delete(away, "dashboardrefreshes", "twin")


def test_a_recreated_refresh_starts_afresh(shared_place):
    """The runs of its namesake are not its own."""
    job = requested(shared_place, "phoenix")
    shared_place.end(job, 1)
    shared_place.concluded("phoenix", job)
    shared_place.api.delete(shared_place.namespace, "dashboardrefreshes", "phoenix")
    shared_place.refresh("phoenix")
    shared_place.ready("phoenix")
    assert shared_place.status("phoenix").get("history", []) == []
