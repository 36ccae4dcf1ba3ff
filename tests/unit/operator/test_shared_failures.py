"""Failures that several refreshes share: what they have in common, and when people are notified."""

from datetime import timedelta
from typing import Any

import pytest

from refresh_api.model import time_text
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus, SharedFailure
from refresh_operator.names import Ref
from refresh_operator.runs.shared_failures import cause_of, due_in, group_of
from refresh_operator.specs.cronjob import managed_objects
from support.snapshots import NOW, SETTINGS, build_job, build_refresh, build_run_status, build_snapshot, decision_for

SLACK = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}, "when": ["Failed", "Recovered"]}
PAGED = {"pagerDuty": {"routingKeySecretRef": {"name": "pd", "key": "key"}}}
BOTH = [SLACK, PAGED]
AWAY: dict[str, Any] = {"outcome": "Failed", "reason": "WarehouseUnreachable", "message": "cannot connect", "leftToOperator": True}
BROKEN: dict[str, Any] = {"outcome": "Failed", "reason": "LayerFailed", "notifications": [{"channel": "#a", "sent": True}]}
WINDOW = timedelta(minutes=5)


def after(status: OperatorStatus, run: str, minutes: float = -5, spec: Any = None, **changes: Any) -> Any:
    """Return the decision after one more run."""
    job = build_job(run, "Failed" if changes.get("outcome") == "Failed" else "Complete", minutes=minutes)
    refresh = build_refresh(status, run=build_run_status(run, **changes), **{"notifications": BOTH, **(spec or {})})
    return decision_for(build_snapshot(refresh, (job,)))


def told(decision) -> list[tuple[str, str, str]]:
    return [(each.about.id, each.when.value, each.audience.value) for each in decision.notifications]


def shared(decision) -> tuple[str, str, bool] | None:
    found = decision.status.shared_failure
    return (found.cause, found.run.id, found.is_over) if found else None


def notified(decision) -> OperatorStatus:
    """The status once people were told."""
    failure = decision.status.shared_failure.model_copy(update={"notified_time": NOW})
    return decision.status.model_copy(update={"shared_failure": failure})


CAUSE = "warehouse of Secret warehouse"


def test_a_failure_that_others_may_share_is_left_to_them_together():
    """Chats and mail are told by the shared failure; programs by the runner, or else at once by the operator."""
    by_runner = after(OperatorStatus(), "r1", **AWAY, notifications=[{"channel": "PagerDuty (pd/key)", "sent": True}])
    assert (told(by_runner), shared(by_runner)) == ([], (CAUSE, "r1", False))
    killed = after(OperatorStatus(), "r1", **AWAY)
    assert (told(killed), shared(killed)) == ([("r1", "Failed", "Programs")], (CAUSE, "r1", False))
    # the control: a runner that has notified all channels
    alone = after(OperatorStatus(), "r1", **{**AWAY, "leftToOperator": None}, notifications=[{"channel": "#a", "sent": True}])
    assert (told(alone), shared(alone)) == ([], None)


def test_the_recovery_from_a_shared_failure_is_shared():
    """With the time of the first failure. A failure of its own in between ends that."""
    first = after(OperatorStatus(), "r1", **AWAY)
    good = after(notified(first), "r2")
    assert (told(good), shared(good)) == ([("r2", "Recovered", "Programs")], (CAUSE, "r2", True))
    assert good.status.shared_failure.failing_since == first.status.last_run.completion_time
    own = after(notified(first), "r2", **BROKEN)
    assert (told(own), shared(own)) == ([], None)
    assert told(after(own.status, "r3")) == [("r3", "Recovered", "All")]


@pytest.mark.parametrize(("changes", "what"), [({}, (CAUSE, "r2", True)), (BROKEN, None)])
def test_a_failure_is_not_lost_if_something_else_happens_before_people_are_told(changes, what):
    """It gets a message of its own. The control is the same failure again, which replaces the first."""
    waiting = after(OperatorStatus(), "r1", **AWAY, notifications=[{"channel": "PagerDuty (pd/key)", "sent": True}])
    following = after(waiting.status, "r2", **changes)
    assert told(following)[0] == ("r1", "Failed", "People")
    assert shared(following) == what
    again = after(waiting.status, "r2", **AWAY, notifications=[{"channel": "PagerDuty (pd/key)", "sent": True}])
    assert (told(again), shared(again)) == ([], (CAUSE, "r2", False))


def test_a_shared_failure_is_told_whatever_its_age():
    """The operator may have been down for days after the runner relied on it."""
    old = after(OperatorStatus(), "r1", minutes=-4000, **AWAY)
    assert (told(old), shared(old)) == ([], (CAUSE, "r1", False))


def test_a_refresh_whose_channels_are_all_programs_shares_nothing():
    """Each of them gets one message per refresh, as before."""
    paged = after(OperatorStatus(), "r1", spec={"notifications": [PAGED]}, **{**AWAY, "leftToOperator": None})
    assert (told(paged), shared(paged)) == ([("r1", "Failed", "All")], None)


@pytest.mark.parametrize(
    ("reason", "spec", "cause"),
    [
        ("WarehouseUnreachable", {}, CAUSE),
        ("LockLost", {}, CAUSE),
        ("ProjectUnavailable", {"project": {"git": {"url": "https://git.example.org/a"}}}, "server of the dbt project: git.example.org"),
        ("ProjectUnavailable", {"project": {"sourceRef": {"kind": "Bucket", "name": "b"}}}, "server of the dbt project: Bucket/b"),
        ("ImagePullFailed", {"image": "registry.example.org/x:1"}, "image registry.example.org/x:1"),
        ("ImagePullFailed", {}, "image of the runner"),
        ("Unschedulable", {}, "nodes of the cluster"),
        ("LayerFailed", {}, None),
        ("OOMKilled", {}, None),
    ],
)
def test_the_cause_is_known_from_the_spec(reason: str, spec: Any, cause: str | None):
    """No Secret is read for it: refreshes that name the same Secret have the same warehouse."""
    run = after(OperatorStatus(), "r1", **{**AWAY, "reason": reason}).status.last_run
    assert cause_of(run, build_refresh(notifications=BOTH, **spec).spec) == cause


def spec_with(*notifications: Any) -> RefreshSpec:
    spec = build_refresh(notifications=list(notifications)).spec
    assert isinstance(spec, RefreshSpec)
    return spec


def failure(minutes: float | None = None) -> SharedFailure:
    run = after(OperatorStatus(), "r1", **AWAY).status.last_run
    return SharedFailure(cause=CAUSE, run=run, notified_time=None if minutes is None else NOW + timedelta(minutes=minutes))


def test_people_are_told_at_once_unless_they_were_told_recently():
    """Of the first refresh at once, of further ones when the time is over; a wrong clock does not delay them for longer."""
    new, a, b = failure(), Ref("n", "a"), Ref("n", "b")
    assert due_in({a: new}, WINDOW, NOW) == timedelta(0)
    assert due_in({a: new, b: failure(-2)}, WINDOW, NOW) == timedelta(minutes=3)
    assert due_in({a: new, b: failure(-5)}, WINDOW, NOW) == timedelta(0)
    assert due_in({a: new, b: failure(5000)}, WINDOW, NOW) == WINDOW


def test_refreshes_are_told_of_together_if_they_have_the_same_cause_and_channels():
    """Whatever the order of their channels, and whatever else these are told. Programs do not count."""

    def group(*notifications: Any, cause: str = CAUSE) -> Any:
        return group_of("n", spec_with(*notifications), failure().model_copy(update={"cause": cause}))

    mail = {"email": {"to": ["a@b.c"], "smtpSecretRef": {"name": "smtp"}}}
    assert group(SLACK, mail) == group(mail, PAGED, {**SLACK, "when": ["Failed", "Warned"]})
    assert group(SLACK) != group(SLACK, mail)
    assert group(SLACK) != group(SLACK, cause="nodes of the cluster")
    assert group({**SLACK, "when": ["Missed"]}).channels == ()


def test_runs_may_leave_failures_to_an_operator_that_notifies():
    """A variable of the pod says so; without such a channel there is none, so that nothing else changes."""

    def variables(*notifications: Any) -> list[str]:
        refresh = build_refresh(notifications=list(notifications))
        objects: Any = managed_objects(refresh, spec_with(*notifications), SETTINGS, suspended=False)
        cronjob = next(each for each in objects if each["kind"] == "CronJob")
        container = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        return [each["name"] for each in container["env"]]

    assert "REFRESH_COMBINES_NOTIFICATIONS" in variables(SLACK)
    assert "REFRESH_COMBINES_NOTIFICATIONS" not in variables(PAGED)


def test_the_status_keeps_what_is_left_to_tell():
    """As it is written and read back; nothing but the status survives a restart."""
    waiting = after(OperatorStatus(), "r1", **AWAY).status
    again = OperatorStatus.model_validate_json(waiting.model_dump_json(by_alias=True, exclude_none=True))
    assert again.shared_failure == waiting.shared_failure
    written = notified(after(OperatorStatus(), "r1", **AWAY)).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["sharedFailure"]["notifiedTime"] == time_text(NOW)
