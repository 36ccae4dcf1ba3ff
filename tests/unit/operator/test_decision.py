"""What the operator decides to change, for one snapshot."""

import copy
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from refresh_api.status import OperatorStatus
from refresh_operator.names import requested_job_name
from refresh_operator.reconcile.decision import decide
from refresh_operator.state.kube_types import OwnerReference
from refresh_operator.state.refresh import parse_refresh
from refresh_operator.state.snapshot import Pause
from support.snapshots import (
    NOW,
    SETTINGS,
    UID,
    build_job,
    build_managed_objects,
    build_pod,
    build_refresh,
    build_run_status,
    build_snapshot,
    condition_of,
    decision_for,
    minutes_from_now,
    sample_spec,
    status_after,
)


def kinds(items):
    return [item["kind"] for item in items]


def test_a_new_refresh_gets_rbac_objects_and_a_cronjob():
    """A run would fail if the CronJob started it before its permissions exist, so they are created first."""
    decision = decision_for(build_snapshot(build_refresh(), objects={}))
    assert kinds(decision.create) == ["ServiceAccount", "Role", "RoleBinding", "CronJob"]
    assert decision.events == ()


def test_an_unchanged_snapshot_leads_to_no_change():
    """Otherwise the operator would write to the API server forever."""
    first = decision_for(build_snapshot(build_refresh()))
    again = decision_for(build_snapshot(build_refresh(status=first.status)), NOW + timedelta(minutes=1))
    assert (again.create, again.replace, again.create_job, again.status, again.events) == ((), (), None, None, ())


def test_a_terminating_namespace_deletes_jobs_and_creates_nothing():
    """Active Jobs would block the deletion of the namespace. The control is the same snapshot without the deletion."""
    jobs = (build_job("r1"), build_job("r2", "Failed"))
    ended = decision_for(build_snapshot(build_refresh(), jobs, (build_pod("r1", phase="Running"),), objects={}, namespace_terminating=True))
    assert (ended.delete_jobs, ended.create, ended.status) == (("r1",), (), None)
    stays = decision_for(build_snapshot(build_refresh(), jobs, (build_pod("r1", phase="Running"),)))
    assert stays.delete_jobs == ()
    assert stays.status is not None


def test_ready_reports_the_configuration_only():
    """A failed run must not make a well-configured refresh unready."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", "Failed"),)))
    assert condition_of(share, "Ready")[:2] == ("True", "Scheduled")
    assert condition_of(share, "LastRunSucceeded")[:2] == ("False", "RunnerLost")


def test_the_observed_generation_is_recorded():
    """Clients compare it with the generation to know whether an edit was seen, also an invalid one."""
    assert status_after(build_snapshot(build_refresh(generation=4))).observed_generation == 4
    assert status_after(build_snapshot(build_refresh(generation=5, schedule="0 0 30 2 *"))).observed_generation == 5


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"schedule": "0 0 30 2 *"}, "InvalidSchedule", "spec.schedule: '0 0 30 2 *' never matches"),
        ({"timeZone": "Mars/Olympus"}, "InvalidTimeZone", "spec.timeZone: unknown time zone 'Mars/Olympus'"),
        ({"layers": []}, "InvalidSpec", "spec.layers: "),
        ({"timeout": "soon"}, "InvalidSpec", "spec.timeout: write a duration"),
    ],
)
def test_an_invalid_spec_stalls_the_refresh_and_names_the_field(changes, reason, says):
    """Objects stay as they are, and the next generation is evaluated again."""
    decision = decision_for(build_snapshot(build_refresh(**changes), objects={}))
    assert decision.status is not None
    assert condition_of(decision.status, "Ready")[:2] == ("False", reason)
    assert condition_of(decision.status, "Stalled")[0] == "True"
    assert decision.status.message.startswith(says)
    assert (decision.create, decision.status.phase, decision.status.next) == ((), "Stalled", None)
    fixed = status_after(build_snapshot(build_refresh(status=decision.status, generation=2)))
    assert condition_of(fixed, "Ready")[:2] == ("True", "Scheduled")
    assert condition_of(fixed, "Stalled")[0] == "False"


def test_suspend_shows_in_phase_reason_and_next_run():
    """Users must see that no run is coming; the CronJob is written once only."""
    share = status_after(build_snapshot(build_refresh(suspend=True)))
    assert (share.phase, share.next_schedule_time, share.next) == ("Suspended", None, None)
    assert condition_of(share, "Ready")[:2] == ("True", "Suspended")


@pytest.mark.parametrize(("schedule", "shown"), [("30 14 * * *", "Tue 14:30"), ("0 6 * * 1", "Mon 06:00"), ("0 0 1 12 *", "2026-12-01")])
def test_the_next_run_is_a_weekday_within_a_week_and_a_date_later(schedule, shown):
    """The column of `kubectl get` has little room."""
    assert status_after(build_snapshot(build_refresh(schedule=schedule))).next == shown


def test_the_next_run_is_computed_in_the_refreshs_time_zone():
    """The operator may run in another time zone."""
    share = status_after(build_snapshot(build_refresh(schedule="30 14 * * *", timeZone="Asia/Tokyo")))
    assert (share.next, share.next_schedule_time.isoformat()) == ("Wed 14:30", "2026-03-04T14:30:00+09:00")


def test_the_refresh_is_requeued_when_the_next_run_is_due():
    """Without that, the column NEXT would show a time that has passed."""
    assert decision_for(build_snapshot(build_refresh(schedule="1 * * * *"))).requeue_after == timedelta(seconds=61)


def test_drift_of_a_cronjob_is_corrected_and_the_event_names_the_fields():
    """Added fields count as drift as well as changed ones."""
    objects = build_managed_objects(build_refresh())
    objects["CronJob"] = copy.deepcopy(objects["CronJob"])
    objects["CronJob"]["spec"]["schedule"] = "* * * * *"
    objects["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["nodeSelector"] = {"a": "b"}
    decision = decision_for(build_snapshot(build_refresh(), objects=objects))
    (replacement,) = decision.replace
    assert replacement.item["spec"]["schedule"] == "30 2,5,8,11,14,17,20,23 * * *"
    assert replacement.item["metadata"]["resourceVersion"] == "7"
    (note,) = [note for note in decision.events if note.reason == "DriftCorrected"]
    assert "spec.schedule" in note.message
    assert "nodeSelector" in note.message


@pytest.mark.parametrize("kind", ["CronJob", "ServiceAccount", "Role", "RoleBinding"])
def test_a_deleted_object_is_recreated_with_an_event(kind):
    """A new refresh, whose objects do not exist yet either, gets no such event."""
    share = status_after(build_snapshot(build_refresh()))
    objects = {name: item for name, item in build_managed_objects(build_refresh()).items() if name != kind}
    decision = decision_for(build_snapshot(build_refresh(status=share), objects=objects))
    assert kinds(decision.create) == [kind]
    assert [(note.reason, kind in note.message) for note in decision.events] == [("DriftCorrected", True)]


def test_an_edit_of_the_spec_is_not_reported_as_drift():
    """The operator itself has to change the CronJob then."""
    before = build_refresh()
    decision = decision_for(build_snapshot(build_refresh(generation=2, schedule="0 6 * * *"), objects=build_managed_objects(before)))
    assert len(decision.replace) == 1
    assert "DriftCorrected" not in [note.reason for note in decision.events]


@pytest.mark.parametrize(
    ("changes", "forgets"),
    [({"schedule": "0 6 * * *"}, True), ({"timeZone": "Europe/Paris"}, True), ({"timeout": "9m"}, False), ({"suspend": True}, True)],
)
def test_a_change_of_the_schedule_resets_the_last_schedule_time(changes, forgets):
    """Otherwise the CronJob controller would start a run for a past time. Other changes must keep a run that is due."""
    (replacement,) = decision_for(
        build_snapshot(build_refresh(generation=2, **changes), objects=build_managed_objects(build_refresh()))
    ).replace
    assert replacement.reset_last_schedule_time is forgets


def test_labels_and_annotations_of_others_are_kept():
    """They are not drift, and a correction must not remove them."""
    objects = build_managed_objects(build_refresh())
    objects["CronJob"] = copy.deepcopy(objects["CronJob"])
    objects["CronJob"]["metadata"]["annotations"]["team"] = "blue"
    assert decision_for(build_snapshot(build_refresh(), objects=objects)).replace == ()
    objects["CronJob"]["spec"]["suspend"] = True
    (replacement,) = decision_for(build_snapshot(build_refresh(), objects=objects)).replace
    assert replacement.item["metadata"]["annotations"]["team"] == "blue"


def test_a_difference_that_a_webhook_restores_is_tolerated():
    """Correcting it would never end. Other differences are still corrected."""
    objects = build_managed_objects(build_refresh())
    objects["CronJob"] = copy.deepcopy(objects["CronJob"])
    objects["CronJob"]["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = 60
    found = decision_for(build_snapshot(build_refresh(), objects=objects)).replace[0].differences
    assert decide(build_snapshot(build_refresh(), objects=objects), SETTINGS, NOW, frozenset(found)).replace == ()
    objects["CronJob"]["spec"]["suspend"] = True
    assert len(decide(build_snapshot(build_refresh(), objects=objects), SETTINGS, NOW, frozenset(found)).replace) == 1


@pytest.mark.parametrize("kind", ["CronJob", "Role", "ServiceAccount"])
def test_an_object_of_another_owner_is_left_alone(kind):
    """It could be somebody's own CronJob. The condition names it."""
    objects = build_managed_objects(build_refresh())
    objects[kind] = {"kind": kind, "metadata": {"name": "phase2", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
    decision = decision_for(build_snapshot(build_refresh(), objects=objects))
    assert decision.replace == ()
    assert condition_of(decision.status, "Ready")[:2] == ("False", "CronJobConflict")
    assert kind in decision.status.message


def _left(earlier, kind="CronJob", **metadata):
    """Return the objects of a refresh, one of which is left from a deleted refresh of the same name."""
    objects = copy.deepcopy(build_managed_objects(earlier))
    meta = objects[kind]["metadata"]
    meta["ownerReferences"][0]["uid"] = "00000000-0000-0000-0000-0000000000aa"
    meta |= {"creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return objects


@pytest.mark.parametrize("kind", ["CronJob", "Role", "ServiceAccount"])
def test_objects_of_a_deleted_refresh_of_the_same_name_are_taken_over(kind):
    """The garbage collector may be late. This is neither drift nor a reason to start runs for past times."""
    decision = decision_for(build_snapshot(build_refresh(), objects=_left(build_refresh(), kind)))
    (replaced,) = decision.replace
    assert replaced.item["metadata"]["ownerReferences"][0]["uid"] == UID
    assert replaced.reset_last_schedule_time is (kind == "CronJob")
    assert condition_of(decision.status, "Ready")[0] == "True"
    assert (decision.drifted_kinds, [note.reason for note in decision.events if note.warning]) == ((), [])


@pytest.mark.parametrize("is_earlier", [False, True])
def test_a_terminating_cronjob_makes_the_refresh_unready(is_earlier):
    """A finalizer can keep it for long, and it starts no runs meanwhile."""
    objects = _left(build_refresh()) if is_earlier else copy.deepcopy(build_managed_objects(build_refresh()))
    objects["CronJob"]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.org/hold"]}
    decision = decision_for(build_snapshot(build_refresh(), objects=objects))
    status, reason, message = condition_of(decision.status, "Ready")
    assert (status, reason, decision.status.phase) == ("False", "CronJobTerminating", "Blocked")
    assert "CronJob phase2 is terminating, held by example.org/hold" in message
    assert (decision.replace, decision.create) == ((), ())
    # The control: a permission works as long as it is there.
    objects["CronJob"]["metadata"] |= {"deletionTimestamp": None}
    objects["Role"] = copy.deepcopy(objects["Role"])
    objects["Role"]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.org/hold"]}
    assert condition_of(decision_for(build_snapshot(build_refresh(), objects=objects)).status, "Ready")[0] == "True"


@pytest.mark.parametrize("metadata", [{"creationTimestamp": "2030-01-01T00:00:00Z"}, {"ownerReferences": []}])
def test_a_newer_object_or_one_without_owner_is_not_taken_over(metadata):
    """An object newer than the refresh may belong to its successor, if this snapshot is outdated."""
    decision = decision_for(build_snapshot(build_refresh(), objects=_left(build_refresh(), **metadata)))
    assert decision.replace == ()
    assert condition_of(decision.status, "Ready")[:2] == ("False", "CronJobConflict")


def test_jobs_of_a_deleted_refresh_of_the_same_name_are_deleted():
    """They would otherwise run as long as their CronJob exists. Finished and newer Jobs are the controls."""
    made = build_refresh().metadata.creation_timestamp
    before, after = ((made - NOW).total_seconds() / 60 + minutes for minutes in (-1, 1))
    others = (build_job("old-1", minutes=before), build_job("old-2", "Failed", minutes=before), build_job("next-1", minutes=after))
    assert decision_for(build_snapshot(build_refresh(), previous_owner_jobs=others)).delete_jobs == ("old-1",)


def test_an_unknown_field_is_reported_and_ignored():
    """After a downgrade of the operator, every refresh would be stalled otherwise. A known field with a wrong value is the control."""
    tests = {"select": ["tag:P2"], "newer": 1}
    assert condition_of(status_after(build_snapshot(build_refresh(tests=tests, newest=True))), "Ready") == (
        "True",
        "Scheduled",
        "CronJob is up to date; ignoring fields that this operator version does not support: spec.tests.newer, spec.newest",
    )
    assert condition_of(status_after(build_snapshot(build_refresh())), "Ready")[2] == "CronJob is up to date"
    assert condition_of(status_after(build_snapshot(build_refresh(tests={**tests, "retries": 99}))), "Ready")[:2] == (
        "False",
        "InvalidSpec",
    )


def test_a_missing_secret_blocks_the_refresh_and_is_retried():
    """Users can create it at any time, without an edit of the refresh."""
    decision = decision_for(build_snapshot(build_refresh(), missing_secrets=("Secret warehouse has no key password",)))
    assert condition_of(decision.status, "Ready")[:2] == ("False", "SecretNotFound")
    assert condition_of(decision.status, "Stalled")[0] == "False"
    assert decision.status.phase == "Blocked"
    assert decision.requeue_after == SETTINGS.recheck


def test_a_request_creates_one_job():
    """It is recorded as handled once the Job is observed, so that an interruption neither loses nor repeats it."""
    first = decision_for(build_snapshot(build_refresh(token="now")))
    assert first.create_job["metadata"]["name"] == requested_job_name("phase2", UID, "now")
    assert first.status.last_handled_request_at is None
    seen = build_snapshot(
        build_refresh(status=first.status, token="now"), (build_job(requested_job_name("phase2", UID, "now"), minutes=0, token="now"),)
    )
    second = decision_for(seen)
    assert (second.create_job, second.status.last_handled_request_at) == (None, "now")
    third = decision_for(build_snapshot(build_refresh(status=second.status, token="now")))
    assert third.create_job is None


def test_a_request_with_a_recorded_run_is_not_repeated():
    """The record of the request may be lost and its Job deleted."""
    name = requested_job_name("phase2", UID, "now")
    share = status_after(build_snapshot(build_refresh(), (build_job(name, "Complete", token="now"),))).model_copy(
        update={"last_handled_request_at": None}
    )
    decision = decision_for(build_snapshot(build_refresh(status=share, token="now")))
    assert (decision.create_job, decision.status.last_handled_request_at) == (None, "now")


def test_a_request_is_queued_while_a_run_is_active():
    """The message says so, and the Job is created once the active run has ended."""
    running = build_job("r1", minutes=-1)
    waiting = decision_for(build_snapshot(build_refresh(token="now"), (running,)))
    assert waiting.create_job is None
    assert "request now is queued" in condition_of(waiting.status, "Running")[2]
    done = decision_for(build_snapshot(build_refresh(status=waiting.status, token="now"), (build_job("r1", "Complete"),)))
    assert done.create_job is not None


def test_a_request_starts_a_run_while_suspended():
    """Suspension is about the schedule only."""
    assert decision_for(build_snapshot(build_refresh(token="now", suspend=True))).create_job is not None


@pytest.mark.parametrize("changes", [{"missing_secrets": ("no Secret",)}, {"objects": {}}])
def test_a_request_is_queued_until_the_refresh_is_ready(changes):
    """Without the Secret or the CronJob, its Job could only fail."""
    assert decision_for(build_snapshot(build_refresh(token="now"), **changes)).create_job is None


def test_nothing_is_created_for_a_deleted_refresh():
    """The garbage collector deletes its objects, and would be fought otherwise."""
    seen = build_refresh()
    gone = seen.metadata.model_copy(update={"deletion_timestamp": NOW})
    decision = decision_for(build_snapshot(type(seen)(gone, seen.spec, seen.status, seen.run), objects={}))
    assert (decision.create, decision.status) == ((), None)


def test_start_and_end_of_a_run_are_one_event_each():
    """Repeated events would hide other ones in `kubectl describe`."""
    first = decision_for(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), (build_pod("r1", phase="Running"),)))
    assert [note.reason for note in first.events if note.key == "r1"] == ["RunStarted"]
    second = decision_for(build_snapshot(build_refresh(status=first.status, run=build_run_status("r1")), (build_job("r1", "Complete"),)))
    assert [note.reason for note in second.events] == ["RunSucceeded"]
    assert (
        decision_for(build_snapshot(build_refresh(status=second.status, run=build_run_status("r1")), (build_job("r1", "Complete"),))).events
        == ()
    )


def test_unreadable_status_fields_are_dropped():
    """Another operator version may have written them in another form."""
    raw: Any = {
        "metadata": {"name": "phase2", "namespace": "default", "uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": sample_spec(),
        "status": {"phase": "Dreaming", "lastHandledRequestAt": "t", "run": {"id": 1}, "future": True},
    }
    seen = parse_refresh(raw)
    assert (seen.status.phase, seen.status.last_handled_request_at, seen.run) == (None, "t", None)


def test_finished_jobs_without_a_cronjob_are_deleted_beyond_the_history_limit():
    """Nothing else would delete them. Jobs that still have their CronJob are left to it."""
    jobs = tuple(build_job(f"r{number}", "Complete", -100 + number) for number in range(8))
    first = decision_for(build_snapshot(build_refresh(), jobs))
    assert first.delete_jobs == ()  # nothing is deleted before it is recorded
    assert set(decision_for(build_snapshot(build_refresh(status=first.status), jobs)).delete_jobs) == {"r0", "r1", "r2"}


def test_an_active_job_gets_its_refresh_as_additional_owner_once():
    """Otherwise it would be deleted together with its CronJob."""
    mine = build_job("r1", minutes=-1)
    owned = mine.model_copy(update={"metadata": mine.metadata.model_copy(update={"owner_references": (OwnerReference(uid=UID),)})})
    assert decision_for(build_snapshot(build_refresh(), (mine,))).adopt_jobs == ("r1",)
    assert decision_for(build_snapshot(build_refresh(), (owned,))).adopt_jobs == ()
    assert decision_for(build_snapshot(build_refresh(), (build_job("r1", "Complete"),))).adopt_jobs == ()


def test_new_defaults_of_the_operator_are_applied_with_an_event():
    """A new operator version or image changes objects without an edit of the refresh. Edits and suspensions get no such event."""
    settled_share = status_after(build_snapshot(build_refresh()))
    newer = dataclasses.replace(SETTINGS, runner_image="refresh-runner:2")
    decision: Any = decide(build_snapshot(build_refresh(status=settled_share)), newer, NOW)
    (note,) = decision.events
    assert (note.reason, decision.drifted_kinds) == ("DefaultsChanged", ())
    assert "CronJob phase2 updated to new defaults of the operator: spec.jobTemplate.spec.template.spec.containers[0].image" in note.message
    edited = decision_for(
        build_snapshot(build_refresh(status=settled_share, generation=2, displayName="New"), objects=build_managed_objects(build_refresh()))
    )
    assert "DefaultsChanged" not in [each.reason for each in edited.events]
    paused = decision_for(build_snapshot(build_refresh(status=settled_share), pause=Pause("all refreshes are paused")))
    assert "DefaultsChanged" not in [each.reason for each in paused.events]


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("Warned", "the last run (only=cache) succeeded with warnings: away; the last full run failed (LayerFailed): no such column"),
        ("Succeeded", "the last run (only=cache) succeeded; the last full run failed (LayerFailed): no such column"),
        ("Failed", "the last run (only=cache) failed (LayerFailed): away; the last full run failed (LayerFailed): no such column"),
    ],
)
def test_after_a_partial_run_the_message_includes_a_failed_full_run(outcome, says):
    """A partial run does not repair what the full run left undone."""
    reasons = {"Warned": "SucceededWithWarnings", "Succeeded": "Succeeded", "Failed": "LayerFailed"}
    failed = {
        "trigger": "Scheduled",
        "outcome": "Failed",
        "reason": "LayerFailed",
        "message": "no such column",
        "completionTime": minutes_from_now(-30),
    }
    part = {
        "trigger": "Requested",
        "outcome": outcome,
        "reason": reasons[outcome],
        "message": "away",
        "completionTime": minutes_from_now(-10),
    }
    share = status_after(build_snapshot(build_refresh()))
    for mode, wanted in (("only=cache", says), (None, "the last run ")):
        runs = [{"id": "b", "mode": mode, **part}, {"id": "a", **failed}]
        past = {**share.model_dump(mode="json", by_alias=True, exclude_none=True), "history": runs, "lastRun": runs[0]}
        message = status_after(build_snapshot(build_refresh(OperatorStatus.model_validate(past)))).message
        assert message.startswith(wanted if outcome != "Succeeded" or mode else "next run: ")
        assert ("the last full run" in message) == (mode is not None)
