"""Of which runs the operator notifies people: those whose runner could not, and the end of failures."""

from datetime import timedelta
from typing import Any

import pytest

from refresh_api.names import RUN_MODE
from refresh_api.status import FinishedRun, OperatorStatus
from support.snapshots import NOW, build_job, build_refresh, build_run_status, build_snapshot, decision_for

SINCE = NOW - timedelta(hours=6)
FAILED: dict[str, Any] = {"outcome": "Failed", "reason": "LayerFailed", "notifications": [{"channel": "#a", "sent": True}]}


def told(decision) -> list[tuple[str, str]]:
    return [(each.about.id, each.when.value) for each in decision.notifications if isinstance(each.about, FinishedRun)]


def after(status: OperatorStatus, run: str, mode: str | None = None, minutes: float = -5, **changes: Any) -> Any:
    """Return the decision after one more run."""
    ended = "Failed" if changes.get("outcome") == "Failed" else "Complete"
    job = build_job(run, ended, minutes=minutes)
    if mode:
        job.metadata.annotations[RUN_MODE] = mode
    return decision_for(build_snapshot(build_refresh(status, run=build_run_status(run, **changes)), (job,)))


def test_a_recovery_is_told_once_with_the_time_of_the_first_failure():
    """The next good run, and a reconciliation after a restart, say nothing: both read the written status."""
    first = after(OperatorStatus(), "r1", **FAILED)
    again = after(first.status, "r2", **FAILED)
    assert (told(first), told(again), again.status.failing_since) == ([], [], first.status.failing_since)
    good = after(again.status, "r3")
    assert told(good) == [("r3", "Recovered")]
    assert good.notifications[0].failing_since == first.status.last_run.completion_time
    assert good.status.failing_since is None
    assert told(after(good.status, "r3")) == []
    assert told(after(good.status, "r4")) == []


def test_a_failure_and_its_recovery_in_one_reconciliation_are_both_told():
    """The operator may have been away for both runs."""
    seen = build_snapshot(build_refresh(), (build_job("r1", "Failed", minutes=-20), build_job("r2", "Complete", minutes=-10)))
    decision = decision_for(seen)
    assert told(decision) == [("r1", "Failed"), ("r2", "Recovered")]
    assert decision.status.failing_since is None


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("only=marts", {}),
        ("rollback", {"reason": "RolledBack"}),
        (None, {"outcome": "Skipped", "reason": "LockHeld"}),
        (None, {**FAILED, "reason": "TestsFailed"}),
    ],
)
def test_what_is_no_complete_success_is_no_recovery(mode, changes):
    """What failed may still fail. The control is a complete run afterwards."""
    decision = after(OperatorStatus(failing_since=SINCE), "r1", mode, **changes)
    assert told(decision) == []
    assert decision.status.failing_since == SINCE
    assert told(after(decision.status, "r2")) == [("r2", "Recovered")]


def test_a_run_with_warnings_recovers_and_is_told_by_its_runner():
    """The operator tells the warnings only if the runner could not, such as one of an older release."""
    warned: dict[str, Any] = {"outcome": "Warned", "reason": "SucceededWithWarnings"}
    by_runner = after(OperatorStatus(failing_since=SINCE), "r1", **warned, notifications=[{"channel": "#a", "sent": True}])
    assert told(by_runner) == [("r1", "Recovered")]
    assert told(after(OperatorStatus(), "r1", **warned)) == [("r1", "Warned")]


def test_a_recovery_of_days_ago_is_not_told():
    """It would be noise after a long outage of the operator, but the failure is over."""
    decision = after(OperatorStatus(failing_since=NOW - timedelta(days=9)), "r1", minutes=-3000)
    assert (told(decision), decision.status.failing_since) == ([], None)


def test_a_cancelled_run_is_no_failure():
    """Its users know."""
    cancelled: dict[str, Any] = {"outcome": "Failed", "reason": "Cancelled", "notifications": [{"channel": "#a", "sent": True}]}
    assert after(OperatorStatus(), "r1", **cancelled).status.failing_since is None
