"""Scheduled runs are off for a while, after failures, or everywhere; on a real API server."""

from datetime import UTC, datetime, timedelta

from refresh_api.model import time_text


def suspended(place, name: str) -> bool:
    return bool(place.cronjob(name)["spec"]["suspend"])


def test_a_suspension_ends_by_itself(shared_place):
    """In the CronJob, too; the spec stays as its users wrote it."""
    until = time_text(datetime.now(UTC) + timedelta(seconds=15))
    shared_place.refresh("until", suspendUntil=until)
    shared_place.until(lambda: shared_place.condition("until", "Suspended") == ("True", "SuspendedUntil"), 14, "until")
    assert suspended(shared_place, "until")
    spec = shared_place.seen("until")["spec"]
    shared_place.kubectl("wait", "dr/until", "--for=condition=Suspended=False", "--timeout=60s")
    assert not suspended(shared_place, "until")
    assert shared_place.seen("until")["spec"] == spec
    assert shared_place.seen("until")["metadata"]["generation"] == 1
    assert "DriftCorrected" not in [reason for reason, _ in shared_place.events("until")]


def test_a_refresh_that_keeps_failing_is_held_until_somebody_mended_it(shared_place):
    """Its CronJob starts nothing more; the control: before the last failure it did. A requested run that succeeds lets it go on."""
    shared_place.refresh("breaker", suspendAfterFailures=2, retries=0)
    shared_place.ready("breaker")
    for number in (29_000_001, 29_000_002):
        assert not suspended(shared_place, "breaker")
        template = shared_place.cronjob("breaker")["spec"]["jobTemplate"]
        metadata = {**template["metadata"], "name": f"breaker-{number}"}
        shared_place.api.create(shared_place.namespace, "jobs", {"metadata": metadata, "spec": template["spec"]})
        shared_place.end(f"breaker-{number}", 1)
        shared_place.concluded("breaker", f"breaker-{number}")
    shared_place.until(lambda: suspended(shared_place, "breaker"), 10, "breaker")
    assert shared_place.condition("breaker", "Suspended") == ("True", "TooManyFailures")
    shared_place.told("breaker", "TooManyFailures")
    shared_place.request("breaker", "by-hand")
    job = shared_place.run_of("breaker")
    shared_place.end(job)
    shared_place.concluded("breaker", job)
    shared_place.until(lambda: not suspended(shared_place, "breaker"), 10, "breaker")


def test_one_configmap_pauses_everything(own_place):
    """Every refresh says so, no request starts a run; it ends when the ConfigMap goes, and then the request is answered."""
    own_place.start()
    for name in ("one", "two"):
        own_place.refresh(name)
        own_place.ready(name)
    switch = "op-dashboard-refresh-pause"
    own_place.kubectl("create", "configmap", switch, "--from-literal=reason=the warehouse moves")
    own_place.until(lambda: suspended(own_place, "one") and suspended(own_place, "two"), 10, "one")
    # the status follows the CronJob
    own_place.until(lambda: own_place.status("two")["message"].startswith("everything is paused: the warehouse moves"), 10, "two")
    own_place.request("two", "now")
    own_place.until(lambda: "the request now waits" in own_place.status("two")["message"], 10, "two")
    assert own_place.jobs("two") == []
    own_place.kubectl("delete", "configmap", switch)
    own_place.run_of("two")
    own_place.until(lambda: not suspended(own_place, "one"), 10, "one")
