"""Run now: a token asks for exactly one run; on a real API server."""

import json
import signal
import time

import pytest

from support.place import Json, Place


def test_a_token_makes_one_run_and_the_same_token_none(shared_place):
    """Acknowledged in the status; touching the refresh again changes nothing, a new token makes one more."""
    shared_place.refresh("token", token="one")
    job = shared_place.run_of("token")
    shared_place.until(lambda: shared_place.status("token").get("lastHandledRequestAt") == "one", 10, "token")
    shared_place.end(job)
    assert shared_place.concluded("token", job)["trigger"] == "Requested"
    shared_place.request("token", "one")
    shared_place.edit("token", title="Once more")
    shared_place.until(lambda: shared_place.status("token")["observedGeneration"] == 2, 10, "token")
    assert len(shared_place.jobs("token")) == 1
    shared_place.request("token", "two")
    shared_place.until(lambda: len(shared_place.jobs("token")) == 2, 10, "token")


def test_a_request_works_while_suspended(shared_place):
    """Suspend is about the schedule."""
    shared_place.refresh("asleep", suspend=True, token="one")
    assert shared_place.run_of("asleep")


def test_a_request_waits_for_the_run_under_way(shared_place):
    """It starts once that has ended, and the status says what it waits for."""
    shared_place.refresh("waiting", token="one")
    first = shared_place.run_of("waiting")
    shared_place.play(first, "Running", {"running": {}})
    shared_place.request("waiting", "two")

    def told() -> bool:
        return any("two" in each["message"] for each in shared_place.status("waiting")["conditions"] if each["type"] == "Running")

    shared_place.until(told, 10, "waiting")
    assert len(shared_place.jobs("waiting")) == 1
    shared_place.end(first)
    shared_place.until(lambda: shared_place.status("waiting").get("lastHandledRequestAt") == "two", 15, "waiting")
    assert len(shared_place.jobs("waiting")) == 2


@pytest.fixture(scope="module")
def restarted(places) -> tuple[Place, dict[str, str]]:
    """An operator that was killed and started again, and the Jobs of three refreshes from before; each was touched in between.

    The run of `ended` has ended, that of `under-way` has not, and what was said of `lost` is gone: as if the operator had died
    between making the Job and saying so.
    """
    place = places()
    place.start()
    names = ("ended", "under-way", "lost")
    for name in names:
        place.refresh(name, token="one")
    jobs = {name: place.run_of(name) for name in names}
    place.end(jobs["ended"])
    place.concluded("ended", jobs["ended"])
    for name in names:
        place.until(lambda name=name: place.status(name).get("lastHandledRequestAt") == "one", 10, name)
    place.stop(signal.SIGKILL)
    for name in names:
        place.edit(name, title="Touched")
    place.api.patch(place.namespace, "dashboardrefreshes", "lost", {"status": None}, status=True)
    assert place.status("lost") == {}
    place.start()
    return place, jobs


@pytest.mark.parametrize("name", ["ended", "under-way", "lost"])
def test_a_token_is_not_run_again_by_a_restarted_operator(restarted, name):
    """Killed, not stopped; the Job's name gives it away. The control: the new operator answers a new token."""
    place, jobs = restarted
    place.until(lambda: place.status(name).get("observedGeneration") == 2, 20, name)
    place.until(lambda: place.status(name).get("lastHandledRequestAt") == "one", 20, name)
    assert [each["metadata"]["name"] for each in place.jobs(name)] == [jobs[name]]
    if name != "ended":
        place.end(jobs[name])
    place.request(name, "two")
    place.until(lambda: len(place.jobs(name)) == 2, 20, name)


def test_a_job_made_by_kubectl_counts_as_a_run(shared_place):
    """kubectl create job --from=cronjob is how people have always done it."""
    shared_place.refresh("by-kubectl")
    shared_place.ready("by-kubectl")
    shared_place.kubectl("create", "job", "by-hand", "--from=cronjob/by-kubectl")
    shared_place.end("by-hand")
    assert shared_place.concluded("by-kubectl", "by-hand")["trigger"] == "Manual"


def _order(place: Place, refresh: str, job: str) -> Json:
    """The order that a Job's pod carries."""
    (found,) = [each for each in place.jobs(refresh) if each["metadata"]["name"] == job]
    environment = found["spec"]["template"]["spec"]["containers"][0]["env"]
    return dict(json.loads(next(each["value"] for each in environment if each["name"] == "REFRESH_ORDER")))


def test_a_mode_reaches_the_run_and_a_wrong_one_is_refused(shared_place):
    """In words, acknowledged, without a Job; the control: the right one of the same refresh starts one."""
    shared_place.refresh("mode")
    shared_place.ready("mode")
    shared_place.annotate("mode", requestedAt="bad", runMode="from=mart")
    shared_place.until(lambda: shared_place.status("mode").get("lastHandledRequestAt") == "bad", 10, "mode")
    assert "there is no step 'mart'" in shared_place.status("mode")["message"]
    shared_place.told("mode", "RequestRefused")
    assert shared_place.jobs("mode") == []
    shared_place.annotate("mode", requestedAt="good", runMode="from=marts")
    job = shared_place.run_of("mode")
    assert _order(shared_place, "mode", job)["mode"] == "from=marts"
    shared_place.end(job)
    run = shared_place.concluded("mode", job)
    assert (run["mode"], run["image"]) == ("from=marts", "i")
    assert "requestProblem" not in shared_place.status("mode")


def test_an_edit_leaves_the_run_under_way_alone_and_reaches_the_next_one(shared_place):
    """F13: the run keeps the order that it was made with, in its Job and in the history; the control: the next one has the new order."""
    shared_place.refresh("pinned", token="one", title="Before")
    first = shared_place.run_of("pinned")
    shared_place.play(first, "Running", {"running": {}})
    shared_place.edit("pinned", title="After", layers=[{"name": "staging", "select": ["stg_emplois_crees"]}])
    shared_place.until(lambda: shared_place.status("pinned")["observedGeneration"] == 2, 10, "pinned")
    kept = _order(shared_place, "pinned", first)
    assert (kept["generation"], kept["spec"]["title"], len(kept["spec"]["layers"])) == (1, "Before", 3)
    shared_place.end(first)
    assert shared_place.concluded("pinned", first)["generation"] == 1
    shared_place.request("pinned", "two")
    second = shared_place.run_of("pinned")
    new = _order(shared_place, "pinned", second)
    assert (new["generation"], new["spec"]["title"], len(new["spec"]["layers"])) == (2, "After", 1)
    shared_place.end(second)
    assert shared_place.concluded("pinned", second)["generation"] == 2


def test_a_cancelled_run_ends_and_the_next_one_starts(shared_place):
    """Recorded, its Job is gone and its pod is being ended; a token that waits may start, and is not cancelled with it."""
    shared_place.refresh("cancel", token="one")
    job = shared_place.run_of("cancel")
    shared_place.play(job, "Running", {"running": {}})
    shared_place.request("cancel", "two")
    shared_place.annotate("cancel", cancel=job)
    assert shared_place.concluded("cancel", job)["reason"] == "Cancelled"
    assert shared_place.condition("cancel", "LastRunSucceeded") == ("False", "Cancelled")
    following = shared_place.until(lambda: [each["metadata"]["name"] for each in shared_place.jobs("cancel")], 10, "cancel")
    shared_place.until(lambda: job not in [each["metadata"]["name"] for each in shared_place.jobs("cancel")], 10, "cancel")
    shared_place.until(lambda: shared_place.status("cancel").get("lastHandledRequestAt") == "two", 15, "cancel")
    assert following
    assert shared_place.status("cancel")["lastHandledCancel"] == job
    shared_place.told("cancel", "RunCancelled")


def test_of_twenty_requests_in_a_second_the_last_one_runs(shared_place):
    """Those that it replaced before they started never run."""
    shared_place.refresh("many", token="t0")
    first = shared_place.run_of("many")
    for number in range(1, 20):
        shared_place.request("many", f"t{number}")
    shared_place.end(first)
    shared_place.until(lambda: shared_place.status("many").get("lastHandledRequestAt") == "t19", 15, "many")
    assert len(shared_place.jobs("many")) <= 2


def test_a_runner_that_hangs_is_lost(shared_place):
    """Its pod runs, its heartbeat stands still; the control: while it beats, the run goes on."""
    shared_place.refresh("hung", token="one", retries=0)
    job = shared_place.run_of("hung")
    shared_place.play(job, "Running", {"running": {}})
    pod = shared_place.pod_of(job)["metadata"]["name"]

    def beat(second: int) -> None:
        running = {"phase": "Running", "outcome": None, "reason": None, "completionTime": None, "pod": pod, "step": "3/6 marts"}
        shared_place.report("hung", job, **running, heartbeatTime=f"2026-03-03T12:03:{second:02}Z")

    for second in range(6):
        beat(second)
        assert shared_place.status("hung").get("history", []) == []
        time.sleep(1)
    run = shared_place.concluded("hung", job)
    assert run["reason"] == "RunnerLost"
    assert "3/6 marts" in run["message"]
    shared_place.until(lambda: shared_place.jobs("hung") == [], 10, "hung")
