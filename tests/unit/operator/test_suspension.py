"""Why scheduled runs are suspended: by the spec, a date, failures or the global pause."""

from datetime import timedelta

import pytest

from refresh_api.names import RESET_AT
from refresh_api.status import Phase
from refresh_operator.kube.pause import parse_pause
from refresh_operator.kube.resources import CONFIGMAPS
from refresh_operator.settings import PauseRef
from refresh_operator.state.snapshot import Pause
from support.snapshots import (
    NOW,
    Json,
    build_job,
    build_refresh,
    build_run_status,
    build_snapshot,
    condition_of,
    decision_for,
    minutes_from_now,
    status_after,
)

HOUR = timedelta(hours=1)
EVERYTHING = Pause("all refreshes are paused: a move (ConfigMap p in n)")


def suspended(decision) -> bool | None:
    """What the CronJob is to become; None where it stays as it is."""
    found = [each.item["spec"]["suspend"] for each in decision.replace if each.item["kind"] == "CronJob"]
    return found[0] if found else None


def test_suspenduntil_ends_by_itself():
    """Times of the schedule before it must not become runs afterwards."""
    seen = build_refresh(suspendUntil=minutes_from_now(60), schedule="*/10 * * * *")
    first = decision_for(build_snapshot(seen))
    assert suspended(first) is True
    assert condition_of(first.status, "Suspended")[:2] == ("True", "SuspendedUntil")
    assert condition_of(first.status, "Ready")[:2] == ("True", "Suspended")
    assert (first.status.phase, first.status.suspended_until, first.status.next_schedule_time) == (
        Phase.SUSPENDED,
        NOW + HOUR,
        NOW + HOUR * 7 / 6,
    )
    assert first.requeue_after <= HOUR + timedelta(seconds=1)
    over = decision_for(
        build_snapshot(build_refresh(status=first.status, suspendUntil=minutes_from_now(60), schedule="*/10 * * * *")), NOW + HOUR
    )
    assert suspended(over) is None  # the CronJob of this world was never suspended
    assert condition_of(over.status, "Suspended")[:2] == ("False", "NotSuspended")
    assert (over.status.suspended_since, over.status.suspended_until, over.status.phase) == (None, None, Phase.SCHEDULED)


def test_of_two_suspensions_the_later_end_counts():
    """A suspension without an end keeps runs suspended."""
    both = status_after(
        build_snapshot(build_refresh(suspendUntil=minutes_from_now(60)), pause=Pause("all refreshes are paused", NOW + 2 * HOUR))
    )
    assert (condition_of(both, "Suspended")[1], both.suspended_until) == ("GloballyPaused", NOW + 2 * HOUR)
    endless = status_after(build_snapshot(build_refresh(suspendUntil=minutes_from_now(60), suspend=True)))
    assert (condition_of(endless, "Suspended")[1], endless.suspended_until, endless.next_schedule_time) == ("Suspended", None, None)


def failed(count: int, **further):
    return tuple(build_job(f"r{number}", "Failed", -60 + number, **further) for number in range(count))


def test_scheduled_runs_are_suspended_after_consecutive_failures():
    """A condition, an event and the message say so. One failure fewer is the control."""
    limit: Json = {"suspendAfterFailures": 3}
    assert suspended(decision_for(build_snapshot(build_refresh(**limit), failed(2)))) is None
    decision = decision_for(build_snapshot(build_refresh(**limit), failed(3)))
    assert suspended(decision) is True
    assert condition_of(decision.status, "Suspended")[:2] == ("True", "TooManyFailures")
    assert decision.status.message.startswith("scheduled runs are suspended after 3 failures in a row (spec.suspendAfterFailures: 3)")
    assert [note.reason for note in decision.events].count("TooManyFailures") == 1
    again = decision_for(build_snapshot(build_refresh(status=decision.status, **limit), failed(3)))
    assert "TooManyFailures" not in [note.reason for note in again.events]


@pytest.mark.parametrize("others", [failed(5, token="t"), failed(5, by_kubectl=True)], ids=["requested", "by kubectl"])
def test_failures_of_requested_runs_do_not_suspend(others):
    """Whoever requests a run sees that it failed."""
    share = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), others))
    assert (share.scheduled_failures, share.consecutive_failures) == (0, 5)


def test_a_successful_requested_run_resumes_scheduled_runs():
    """A partial run or a rollback proves less, and does not."""
    held = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), failed(3)))
    for mode, reason in (("only=cache", "TooManyFailures"), ("rollback", "TooManyFailures"), (None, "NotSuspended")):
        by_hand = build_job("ok", "Complete", -5, token="t")
        if mode:
            by_hand.metadata.annotations["dashboards.sigeti.io/runMode"] = mode
        after = status_after(
            build_snapshot(build_refresh(status=held, run=build_run_status("ok"), suspendAfterFailures=3), (*failed(3), by_hand))
        )
        assert condition_of(after, "Suspended")[1] == reason


def test_the_reset_annotation_resets_the_failure_count_once():
    """The counter that alerts use is kept."""
    held = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), failed(3)))
    annotated: Json = {"annotations": {RESET_AT: "1"}}
    after = status_after(build_snapshot(build_refresh(status=held, suspendAfterFailures=3, **annotated), failed(3)))
    assert (condition_of(after, "Suspended")[1], after.scheduled_failures, after.consecutive_failures) == ("NotSuspended", 0, 3)
    assert after.last_handled_reset_at == "1"
    later = (*failed(3), build_job("r9", "Failed", -20))
    assert status_after(build_snapshot(build_refresh(status=after, suspendAfterFailures=3, **annotated), later)).scheduled_failures == 1


def test_requests_are_queued_during_the_global_pause():
    """The message names the queued request, and its run starts afterwards."""
    paused = decision_for(build_snapshot(build_refresh(token="one"), pause=EVERYTHING))
    assert (paused.create_job, suspended(paused)) == (None, True)
    assert paused.status.message == f"{EVERYTHING.message}; request one is queued"
    assert paused.status.last_handled_request_at is None
    assert decision_for(build_snapshot(build_refresh(status=paused.status, token="one"))).create_job is not None


def test_an_active_run_continues_during_the_global_pause():
    """The pause only prevents new runs."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), pause=EVERYTHING))
    assert share.message.endswith(EVERYTHING.message)
    assert share.phase is Phase.RUNNING


def test_an_invalid_spec_keeps_the_last_suspension():
    """Its CronJob is not changed either, so the status has to match it."""
    held = status_after(build_snapshot(build_refresh(suspend=True)))
    after = status_after(build_snapshot(build_refresh(status=held, schedule="0 0 30 2 *")))
    assert condition_of(after, "Suspended")[:2] == ("True", "Suspended")


@pytest.mark.parametrize(
    ("content", "says", "until"),
    [
        ({}, "all refreshes are paused (ConfigMap p in n)", None),
        ({"reason": "a move"}, "all refreshes are paused: a move (ConfigMap p in n)", None),
        ({"until": minutes_from_now(60)}, f"all refreshes are paused until {minutes_from_now(60)} (ConfigMap p in n)", NOW + HOUR),
        ({"until": "soon"}, "ignoring its `until`", None),
    ],
)
def test_the_configmap_of_the_global_pause_is_parsed(content, says, until):
    """All keys are optional. An invalid `until` counts as a pause without an end."""
    found = parse_pause({"kind": CONFIGMAPS.name, "data": content}, PauseRef("n", "p"))
    assert says in found.message
    assert found.until == until
