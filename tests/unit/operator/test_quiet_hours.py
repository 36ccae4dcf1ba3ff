"""What a channel is notified of when its quiet hours end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refresh_api.notifications import Notification
from refresh_api.quiet_hours import QuietPeriod
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus
from refresh_operator.runs.quiet_hours import held_back, next_end, periods_over
from support.snapshots import NOW, build_job, build_refresh, build_run_status, build_snapshot, decision_for, minutes_from_now

NIGHT = {"start": "22:00", "end": "07:00"}
SLACK: dict[str, Any] = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}
PERIOD = QuietPeriod(NOW - timedelta(hours=9), NOW)
SENT = {"notifications": [{"channel": "#b", "sent": True}]}


def told(status: OperatorStatus, *when: str, period: QuietPeriod = PERIOD) -> list[tuple[str, str]]:
    channel = Notification.model_validate({**SLACK, "when": list(when), "quietHours": [NIGHT]})
    return [(type(each.about).__name__, each.when.value) for each in held_back(status, channel, period)]


def after(status: OperatorStatus, run: str, minutes: float = -60, **changes: Any) -> Any:
    """Return the status after one more run."""
    job = build_job(run, "Failed" if changes.get("outcome") == "Failed" else "Complete", minutes=minutes)
    return decision_for(build_snapshot(build_refresh(status, run=build_run_status(run, **changes)), (job,))).status


FAILED: dict[str, Any] = {"outcome": "Failed", "reason": "LayerFailed", **SENT}


def test_a_failure_that_is_not_over_is_told_at_the_end():
    """Whoever has not notified of it. The controls: a channel that does not want it, and one whose quiet hours were before or after."""
    failing = after(OperatorStatus(), "r1", **FAILED)
    assert told(failing, "Failed", "Recovered") == [("FinishedRun", "Failed")]
    assert told(failing, "Recovered") == []
    for hours in (-12, 12):
        shift = timedelta(hours=hours)
        assert told(failing, "Failed", period=QuietPeriod(PERIOD.start + shift, PERIOD.end + shift)) == []


def test_a_failure_that_is_over_is_not_told():
    """Nor its recovery, since nobody knew of it. A recovery from a failure before the quiet hours is told."""
    over = after(after(OperatorStatus(), "r1", **FAILED), "r2", -30)
    assert (told(over, "Failed", "Recovered"), over.last_failure) == ([], None)
    before = after(OperatorStatus(), "r1", -900, **FAILED)
    assert told(after(before, "r2", -30), "Failed", "Recovered") == [("FinishedRun", "Recovered")]
    assert told(after(before, "r2", -600), "Failed", "Recovered") == []


def test_a_failure_before_quiet_hours_that_goes_on_is_told_by_its_last_run():
    """A success of a part of the refresh, or a skipped run, changes nothing."""
    failing = after(after(OperatorStatus(), "r1", -900, **FAILED), "r2", -60, **FAILED)
    (notice,) = held_back(failing, Notification.model_validate(SLACK), PERIOD)
    assert notice.about == failing.last_failure == failing.history[0]
    skipped = after(failing, "r3", -30, outcome="Skipped", reason="LockHeld")
    assert skipped.last_failure == failing.last_failure


@pytest.mark.parametrize(("minutes", "count"), [(-545, 1), (-555, 0), (-10, 1), (10, 0)])
def test_stale_data_and_missed_runs_are_told_if_they_began_in_quiet_hours(minutes: int, count: int):
    """A missed run is found out minutes later, perhaps after quiet hours have begun."""
    fields: dict[str, Any] = {
        "missedSince": minutes_from_now(minutes),
        "lastMissedReason": "ControllerDown",
        "conditions": [{"type": "DataFresh", "status": "False", "reason": "Stale", "lastTransitionTime": minutes_from_now(minutes)}],
    }
    found = told(OperatorStatus.model_validate(fields), "Stale", "Missed", "Failed")
    assert found == [("Condition", "Stale"), ("MissedRun", "Missed")] * count
    assert told(OperatorStatus.model_validate(fields), "Failed") == []


def test_each_end_of_quiet_hours_is_handled_once():
    """By the time that the status has. While it is quiet, the refresh is reconciled again when that ends."""
    spec = build_refresh(notifications=[{**SLACK, "quietHours": [NIGHT]}, SLACK], timeZone="Etc/UTC").spec
    assert isinstance(spec, RefreshSpec)
    morning = datetime(2026, 3, 3, 7, tzinfo=UTC)
    assert periods_over(spec, morning, NOW) == []
    ((channel, period),) = periods_over(spec, morning - timedelta(seconds=1), NOW)
    assert (channel, period.end) == (spec.notifications[0], morning)
    assert next_end(spec, NOW) is None
    assert next_end(spec, NOW + timedelta(hours=11)) == morning + timedelta(days=1)
