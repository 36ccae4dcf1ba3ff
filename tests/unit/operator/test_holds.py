"""Why scheduled runs are off: by the spec, until a date, after failures, or because everything is paused."""

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


def test_suspended_until_a_moment_and_then_no_longer():
    """In the CronJob and the status; the next runs are those after it, and the slots before it never become runs."""
    seen = build_refresh(suspendUntil=minutes_from_now(60), schedule="*/10 * * * *")
    first = decision_for(build_snapshot(seen))
    assert suspended(first) is True
    assert condition_of(first.status, "Suspended")[:2] == ("True", "SuspendedUntil")
    assert condition_of(first.status, "Ready")[:2] == ("True", "Suspended")
    assert (first.status.phase, first.status.suspended_until, first.status.next_run) == (Phase.SUSPENDED, NOW + HOUR, NOW + HOUR * 7 / 6)
    assert first.requeue_after <= HOUR + timedelta(seconds=1)
    over = decision_for(
        build_snapshot(build_refresh(status=first.status, suspendUntil=minutes_from_now(60), schedule="*/10 * * * *")), NOW + HOUR
    )
    assert suspended(over) is None  # the CronJob of this world was never suspended
    assert condition_of(over.status, "Suspended")[:2] == ("False", "NotSuspended")
    assert (over.status.suspended_since, over.status.suspended_until, over.status.phase) == (None, None, Phase.SCHEDULED)


def test_two_reasons_end_with_the_later_one():
    """And not at all where one of them has no end."""
    both = status_after(
        build_snapshot(build_refresh(suspendUntil=minutes_from_now(60)), pause=Pause("all refreshes are paused", NOW + 2 * HOUR))
    )
    assert (condition_of(both, "Suspended")[1], both.suspended_until) == ("EverythingPaused", NOW + 2 * HOUR)
    endless = status_after(build_snapshot(build_refresh(suspendUntil=minutes_from_now(60), suspend=True)))
    assert (condition_of(endless, "Suspended")[1], endless.suspended_until, endless.next_run) == ("Suspended", None, None)


def failed(count: int, **further):
    return tuple(build_job(f"r{number}", "Failed", -60 + number, **further) for number in range(count))


def test_scheduled_runs_end_after_so_many_failures_in_a_row():
    """Said in a condition, an event and the message; one failure fewer changes nothing."""
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
def test_only_scheduled_runs_are_counted(others):
    """Who tries something by hand knows that it failed."""
    share = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), others))
    assert (share.scheduled_failures, share.consecutive_failures) == (0, 5)


def test_a_success_by_hand_lets_scheduled_runs_go_on():
    """But not one step alone, nor old data put back."""
    held = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), failed(3)))
    for mode, reason in (("only=cache", "TooManyFailures"), ("rollback", "TooManyFailures"), (None, "NotSuspended")):
        by_hand = build_job("ok", "Complete", -5, token="t")
        if mode:
            by_hand.metadata.annotations["dashboards.sigeti.io/runMode"] = mode
        after = status_after(
            build_snapshot(build_refresh(status=held, run=build_run_status("ok"), suspendAfterFailures=3), (*failed(3), by_hand))
        )
        assert condition_of(after, "Suspended")[1] == reason


def test_the_annotation_begins_the_count_anew():
    """Once for each value; what failed stays counted where alerts look."""
    held = status_after(build_snapshot(build_refresh(suspendAfterFailures=3), failed(3)))
    annotated: Json = {"annotations": {RESET_AT: "1"}}
    after = status_after(build_snapshot(build_refresh(status=held, suspendAfterFailures=3, **annotated), failed(3)))
    assert (condition_of(after, "Suspended")[1], after.scheduled_failures, after.consecutive_failures) == ("NotSuspended", 0, 3)
    assert after.last_handled_reset_at == "1"
    later = (*failed(3), build_job("r9", "Failed", -20))
    assert status_after(build_snapshot(build_refresh(status=after, suspendAfterFailures=3, **annotated), later)).scheduled_failures == 1


def test_while_everything_is_paused_requests_wait():
    """Said in the message, with the request; afterwards the run starts."""
    paused = decision_for(build_snapshot(build_refresh(token="one"), pause=EVERYTHING))
    assert (paused.create_job, suspended(paused)) == (None, True)
    assert paused.status.message == f"{EVERYTHING.message}; request one is queued"
    assert paused.status.last_handled_request_at is None
    assert decision_for(build_snapshot(build_refresh(status=paused.status, token="one"))).create_job is not None


def test_a_run_under_way_says_that_everything_is_paused():
    """It goes on: nothing is torn down."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), pause=EVERYTHING))
    assert share.message.endswith(EVERYTHING.message)
    assert share.phase is Phase.RUNNING


def test_a_spec_that_nobody_can_read_leaves_the_suspension_as_it_was():
    """Its CronJob is not touched either."""
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
def test_what_the_switch_says(content, says, until):
    """Who made it may leave out everything; what can't be read holds until it is gone."""
    found = parse_pause({"kind": CONFIGMAPS.name, "data": content}, PauseRef("n", "p"))
    assert says in found.message
    assert found.until == until
