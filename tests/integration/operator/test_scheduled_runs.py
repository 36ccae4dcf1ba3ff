"""Scheduled runs, started by the real CronJob controller, also while the operator is down.

The tests share one wait for a scheduled minute, and check its effects.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from support.eventually import eventually
from support.operator_harness import OperatorHarness

MARGIN = timedelta(seconds=15)
"""What the preparations may take."""


@dataclass
class Minute:
    """The state after a scheduled time: one namespace in which the operator runs, and one in which it was killed before."""

    awake: OperatorHarness
    alone: OperatorHarness


def bare_cronjob(operator: OperatorHarness, name: str, schedule: str, suspend: bool) -> None:
    """A CronJob without an operator, which shows how the controller handles the same change."""
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}
    spec = {"schedule": schedule, "suspend": suspend, "startingDeadlineSeconds": 300, "jobTemplate": template}
    body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}
    operator.api.create(operator.namespace, "cronjobs", body)


def jobs_of_cronjob(operator: OperatorHarness, name: str) -> list[str]:
    """The Jobs that a CronJob owns."""
    jobs = operator.api.items(operator.namespace, "jobs")
    return [job["metadata"]["name"] for job in jobs if any(owner["name"] == name for owner in job["metadata"].get("ownerReferences", []))]


def fired(operator: OperatorHarness, name: str) -> bool:
    """Return whether a CronJob has created a Job."""
    return jobs_of_cronjob(operator, name) != []


def coming_minute() -> datetime:
    """Return the next full minute that leaves time for the preparations."""
    return (datetime.now(UTC) + MARGIN + timedelta(minutes=1)).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def minute(create_operator) -> Minute:
    """The scheduled time has passed, and refreshes that were suspended or scheduled differently at that time have been changed since."""
    awake, alone = create_operator(), create_operator()
    for operator in (awake, alone):
        operator.start()
    slot = coming_minute()
    this_minute = f"{slot.minute} {slot.hour} * * *"
    alone.create_refresh("lonely", schedule=this_minute)
    awake.create_refresh("punctual", schedule=this_minute)
    awake.create_refresh("suspended", schedule=this_minute, suspend=True)
    awake.create_refresh("edited")
    bare_cronjob(awake, "bare-suspended", this_minute, suspend=True)
    bare_cronjob(awake, "bare-edited", "0 0 1 1 *", suspend=False)
    alone.wait_until_ready("lonely")
    for name in ("punctual", "suspended", "edited"):
        awake.wait_until_ready(name)
    alone.stop()
    assert datetime.now(UTC) < slot, "the preparations took too long"
    time.sleep((slot - datetime.now(UTC)).total_seconds())
    eventually(partial(fired, awake, "punctual"), within=20, context=lambda: awake.describe("punctual"))
    awake.patch_spec("suspended", suspend=False)
    awake.patch_spec("edited", schedule=this_minute)
    awake.wait_for(lambda: awake.cronjob("suspended")["spec"]["suspend"] is False, 10, "suspended")
    awake.wait_for(lambda: awake.cronjob("edited")["spec"]["schedule"] == this_minute, 10, "edited")
    awake.api.patch(awake.namespace, "cronjobs", "bare-suspended", {"spec": {"suspend": False}})
    awake.api.patch(awake.namespace, "cronjobs", "bare-edited", {"spec": {"schedule": this_minute}})
    for name in ("edited", "bare-edited"):
        # the controller finds the times of an edited schedule the next time that it syncs the CronJob, for whatever reason
        awake.api.patch(awake.namespace, "cronjobs", name, {"metadata": {"annotations": {"note": "touched"}}})
    for name in ("bare-suspended", "bare-edited"):
        eventually(partial(fired, awake, name), within=20, context=awake.kubectl.describe)
    return Minute(awake, alone)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["suspended", "edited"])
def test_a_resume_or_edit_starts_no_run_for_a_past_time(minute, change):
    """There are two controls: the same change of a CronJob without an operator started a run, and a refresh that was due ran."""
    assert fired(minute.awake, f"bare-{change}")
    assert fired(minute.awake, "punctual")
    assert not fired(minute.awake, change)
    assert minute.awake.status(change).get("history", []) == []


def test_a_scheduled_run_is_recognised(minute):
    """Its trigger is Scheduled, and the next run is on the next day."""
    (job,) = jobs_of_cronjob(minute.awake, "punctual")
    minute.awake.end_pod(job)
    assert minute.awake.wait_for_history("punctual", job)["trigger"] == "Scheduled"
    next_run = datetime.fromisoformat(minute.awake.status("punctual")["nextScheduleTime"])
    assert timedelta(hours=23) < next_run - datetime.now(UTC) < timedelta(hours=24)


def test_a_run_starts_while_the_operator_is_down(minute):
    """The run happens and reports. The operator records it once afterwards, and creates no other."""
    alone = minute.alone
    (job,) = jobs_of_cronjob(alone, "lonely")
    alone.report_run("lonely", job)
    alone.end_pod(job)
    assert alone.status("lonely").get("history", []) == []
    alone.start()
    run = alone.wait_for_history("lonely", job)
    assert (run["outcome"], run["trigger"], run["marts"]) == ("Succeeded", "Scheduled", "4/4")
    assert [each["id"] for each in alone.status("lonely")["history"]] == [job]
    assert [each["metadata"]["name"] for each in alone.jobs("lonely")] == [job]
    alone.expect_events("lonely", "RunSucceeded")
