"""What the operator changes, from what it saw."""

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


def test_a_new_refresh_gets_permissions_and_a_cronjob():
    """In this order, so that no run starts without its permissions."""
    decision = decision_for(build_snapshot(build_refresh(), objects={}))
    assert kinds(decision.create) == ["ServiceAccount", "Role", "RoleBinding", "CronJob"]
    assert decision.events == ()


def test_at_rest_there_is_nothing_to_do():
    """What was decided once and written is not written again."""
    first = decision_for(build_snapshot(build_refresh()))
    again = decision_for(build_snapshot(build_refresh(status=first.status)), NOW + timedelta(minutes=1))
    assert (again.create, again.replace, again.create_job, again.status, again.events) == ((), (), None, None, ())


def test_in_a_namespace_that_is_being_deleted_runs_end_and_nothing_is_made():
    """The control: the same world in a namespace that stays."""
    jobs = (build_job("r1"), build_job("r2", "Failed"))
    ended = decision_for(build_snapshot(build_refresh(), jobs, (build_pod("r1", phase="Running"),), objects={}, namespace_terminating=True))
    assert (ended.delete_jobs, ended.create, ended.status) == (("r1",), (), None)
    stays = decision_for(build_snapshot(build_refresh(), jobs, (build_pod("r1", phase="Running"),)))
    assert stays.delete_jobs == ()
    assert stays.status is not None


def test_ready_speaks_of_the_configuration():
    """True and Scheduled once all is there; a failed run leaves it so."""
    share = status_after(build_snapshot(build_refresh(), (build_job("r1", "Failed"),)))
    assert condition_of(share, "Ready")[:2] == ("True", "Scheduled")
    assert condition_of(share, "LastRunSucceeded")[:2] == ("False", "RunnerLost")


def test_the_generation_is_acknowledged():
    """Also for an invalid spec: what was understood is what was observed."""
    assert status_after(build_snapshot(build_refresh(generation=4))).observed_generation == 4
    assert status_after(build_snapshot(build_refresh(generation=5, schedule="0 0 30 2 *"))).observed_generation == 5


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"schedule": "0 0 30 2 *"}, "InvalidSchedule", "spec.schedule: '0 0 30 2 *' never comes"),
        ({"timeZone": "Mars/Olympus"}, "InvalidTimeZone", "spec.timeZone: there is no time zone 'Mars/Olympus'"),
        ({"layers": []}, "InvalidSpec", "spec.layers: "),
        ({"timeout": "soon"}, "InvalidSpec", "spec.timeout: write a duration"),
    ],
)
def test_an_invalid_spec_is_a_decision_that_names_the_field(changes, reason, says):
    """Stalled, with the path; nothing is made or changed, and the next generation is judged anew."""
    decision = decision_for(build_snapshot(build_refresh(**changes), objects={}))
    assert decision.status is not None
    assert condition_of(decision.status, "Ready")[:2] == ("False", reason)
    assert condition_of(decision.status, "Stalled")[0] == "True"
    assert decision.status.message.startswith(says)
    assert (decision.create, decision.status.phase, decision.status.next) == ((), "Stalled", None)
    fixed = status_after(build_snapshot(build_refresh(status=decision.status, generation=2)))
    assert condition_of(fixed, "Ready")[:2] == ("True", "Scheduled")
    assert condition_of(fixed, "Stalled")[0] == "False"


def test_suspend_is_acknowledged():
    """Phase, reason and no next run; the CronJob is not touched twice."""
    share = status_after(build_snapshot(build_refresh(suspend=True)))
    assert (share.phase, share.next_run, share.next) == ("Suspended", None, None)
    assert condition_of(share, "Ready")[:2] == ("True", "Suspended")


@pytest.mark.parametrize(("schedule", "shown"), [("30 14 * * *", "Tue 14:30"), ("0 6 * * 1", "Mon 06:00"), ("0 0 1 12 *", "2026-12-01")])
def test_the_next_run_is_short(schedule, shown):
    """A weekday within a week, else the date; in the refresh's zone."""
    assert status_after(build_snapshot(build_refresh(schedule=schedule))).next == shown


def test_the_next_run_is_in_the_refreshs_zone():
    """The instant is the schedule's, whatever the operator's own zone."""
    share = status_after(build_snapshot(build_refresh(schedule="30 14 * * *", timeZone="Asia/Tokyo")))
    assert (share.next, share.next_run.isoformat()) == ("Wed 14:30", "2026-03-04T14:30:00+09:00")


def test_the_next_look_comes_when_the_next_run_is_due():
    """Or else NEXT would stay behind."""
    assert decision_for(build_snapshot(build_refresh(schedule="1 * * * *"))).requeue_after == timedelta(seconds=61)


def test_a_cronjob_edited_by_hand_is_put_right_and_the_fields_are_named():
    """The event tells what was changed; additions count as well as changes."""
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
def test_what_was_deleted_by_hand_is_made_again(kind):
    """And an event tells so, which it does not for a new refresh."""
    share = status_after(build_snapshot(build_refresh()))
    objects = {name: item for name, item in build_managed_objects(build_refresh()).items() if name != kind}
    decision = decision_for(build_snapshot(build_refresh(status=share), objects=objects))
    assert kinds(decision.create) == [kind]
    assert [(note.reason, kind in note.message) for note in decision.events] == [("DriftCorrected", True)]


def test_an_edit_of_the_spec_is_no_drift():
    """The CronJob follows, and nobody is accused."""
    before = build_refresh()
    decision = decision_for(build_snapshot(build_refresh(generation=2, schedule="0 6 * * *"), objects=build_managed_objects(before)))
    assert len(decision.replace) == 1
    assert "DriftCorrected" not in [note.reason for note in decision.events]


@pytest.mark.parametrize(
    ("changes", "forgets"),
    [({"schedule": "0 6 * * *"}, True), ({"timeZone": "Europe/Paris"}, True), ({"timeout": "9m"}, False), ({"suspend": True}, True)],
)
def test_a_change_of_the_slots_forgets_those_that_passed(changes, forgets):
    """So that an edit never sets off a run by itself; a change of anything else keeps a slot that is due."""
    (replacement,) = decision_for(
        build_snapshot(build_refresh(generation=2, **changes), objects=build_managed_objects(build_refresh()))
    ).replace
    assert replacement.reset_last_schedule_time is forgets


def test_what_others_note_on_our_objects_stays():
    """Labels and annotations of others are no drift, and survive a repair."""
    objects = build_managed_objects(build_refresh())
    objects["CronJob"] = copy.deepcopy(objects["CronJob"])
    objects["CronJob"]["metadata"]["annotations"]["team"] = "blue"
    assert decision_for(build_snapshot(build_refresh(), objects=objects)).replace == ()
    objects["CronJob"]["spec"]["suspend"] = True
    (replacement,) = decision_for(build_snapshot(build_refresh(), objects=objects)).replace
    assert replacement.item["metadata"]["annotations"]["team"] == "blue"


def test_what_an_admission_webhook_insists_on_is_not_fought():
    """A difference that came back at once is tolerated; any other one is still put right."""
    objects = build_managed_objects(build_refresh())
    objects["CronJob"] = copy.deepcopy(objects["CronJob"])
    objects["CronJob"]["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] = 60
    found = decision_for(build_snapshot(build_refresh(), objects=objects)).replace[0].differences
    assert decide(build_snapshot(build_refresh(), objects=objects), SETTINGS, NOW, frozenset(found)).replace == ()
    objects["CronJob"]["spec"]["suspend"] = True
    assert len(decide(build_snapshot(build_refresh(), objects=objects), SETTINGS, NOW, frozenset(found)).replace) == 1


@pytest.mark.parametrize("kind", ["CronJob", "Role", "ServiceAccount"])
def test_a_foreign_object_of_our_name_is_refused(kind):
    """It is left as it is, and the refresh says so."""
    objects = build_managed_objects(build_refresh())
    objects[kind] = {"kind": kind, "metadata": {"name": "phase2", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}
    decision = decision_for(build_snapshot(build_refresh(), objects=objects))
    assert decision.replace == ()
    assert condition_of(decision.status, "Ready")[:2] == ("False", "CronJobConflict")
    assert kind in decision.status.message


def _left(earlier, kind="CronJob", **metadata):
    """The objects of a refresh, one of them as an earlier one of the name left it."""
    objects = copy.deepcopy(build_managed_objects(earlier))
    meta = objects[kind]["metadata"]
    meta["ownerReferences"][0]["uid"] = "00000000-0000-0000-0000-0000000000aa"
    meta |= {"creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    return objects


@pytest.mark.parametrize("kind", ["CronJob", "Role", "ServiceAccount"])
def test_what_a_deleted_refresh_of_the_name_left_is_taken_over(kind):
    """Kubernetes may take its time to remove it; nobody changed it by hand, and no slot of it is made up for."""
    decision = decision_for(build_snapshot(build_refresh(), objects=_left(build_refresh(), kind)))
    (replaced,) = decision.replace
    assert replaced.item["metadata"]["ownerReferences"][0]["uid"] == UID
    assert replaced.reset_last_schedule_time is (kind == "CronJob")
    assert condition_of(decision.status, "Ready")[0] == "True"
    assert (decision.drifted_kinds, [note.reason for note in decision.events if note.warning]) == ((), [])


@pytest.mark.parametrize("is_earlier", [False, True])
def test_what_is_kept_while_it_is_deleted_is_told(is_earlier):
    """It starts nothing, so a refresh that said to be ready would lie; it heals by itself once the object is gone."""
    objects = _left(build_refresh()) if is_earlier else copy.deepcopy(build_managed_objects(build_refresh()))
    objects["CronJob"]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.org/hold"]}
    decision = decision_for(build_snapshot(build_refresh(), objects=objects))
    status, reason, message = condition_of(decision.status, "Ready")
    assert (status, reason, decision.status.phase) == ("False", "BeingDeleted", "Blocked")
    assert "CronJob phase2 is terminating, held by example.org/hold" in message
    assert (decision.replace, decision.create) == ((), ())
    # The control: a permission works as long as it is there.
    objects["CronJob"]["metadata"] |= {"deletionTimestamp": None}
    objects["Role"] = copy.deepcopy(objects["Role"])
    objects["Role"]["metadata"] |= {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.org/hold"]}
    assert condition_of(decision_for(build_snapshot(build_refresh(), objects=objects)).status, "Ready")[0] == "True"


@pytest.mark.parametrize("metadata", [{"creationTimestamp": "2030-01-01T00:00:00Z"}, {"ownerReferences": []}])
def test_what_is_younger_or_of_nobody_is_foreign(metadata):
    """If it is younger than the refresh, it is we who are behind: it may belong to the next one."""
    decision = decision_for(build_snapshot(build_refresh(), objects=_left(build_refresh(), **metadata)))
    assert decision.replace == ()
    assert condition_of(decision.status, "Ready")[:2] == ("False", "CronJobConflict")


def test_runs_of_a_deleted_refresh_of_the_name_end():
    """They would go on as long as the CronJob that they belong to. The controls: what has ended, and what is younger than the refresh."""
    made = build_refresh().metadata.creation_timestamp
    before, after = ((made - NOW).total_seconds() / 60 + minutes for minutes in (-1, 1))
    others = (build_job("old-1", minutes=before), build_job("old-2", "Failed", minutes=before), build_job("next-1", minutes=after))
    assert decision_for(build_snapshot(build_refresh(), previous_owner_jobs=others)).delete_jobs == ("old-1",)


def test_a_field_of_a_newer_crd_stops_nothing():
    """After a step back; the control is a field that is known, and wrong."""
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


def test_a_missing_secret_is_named_and_looked_for_again():
    """Blocked, not stalled: it heals by itself."""
    decision = decision_for(build_snapshot(build_refresh(), missing_secrets=("Secret warehouse has no key password",)))
    assert condition_of(decision.status, "Ready")[:2] == ("False", "SecretNotFound")
    assert condition_of(decision.status, "Stalled")[0] == "False"
    assert decision.status.phase == "Blocked"
    assert decision.requeue_after == SETTINGS.recheck


def test_a_request_makes_one_job():
    """Acknowledged once the Job is seen; the same token then asks for nothing."""
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


def test_a_request_whose_job_is_in_the_history_is_not_run_again():
    """Also when the acknowledgement was lost and the Job has gone since."""
    name = requested_job_name("phase2", UID, "now")
    share = status_after(build_snapshot(build_refresh(), (build_job(name, "Complete", token="now"),))).model_copy(
        update={"last_handled_request_at": None}
    )
    decision = decision_for(build_snapshot(build_refresh(status=share, token="now")))
    assert (decision.create_job, decision.status.last_handled_request_at) == (None, "now")


def test_a_request_waits_for_the_run_under_way():
    """And says so; it starts once that has ended."""
    running = build_job("r1", minutes=-1)
    waiting = decision_for(build_snapshot(build_refresh(token="now"), (running,)))
    assert waiting.create_job is None
    assert "request now is queued" in condition_of(waiting.status, "Running")[2]
    done = decision_for(build_snapshot(build_refresh(status=waiting.status, token="now"), (build_job("r1", "Complete"),)))
    assert done.create_job is not None


def test_a_request_works_while_suspended():
    """Suspend is about the schedule."""
    assert decision_for(build_snapshot(build_refresh(token="now", suspend=True))).create_job is not None


@pytest.mark.parametrize("changes", [{"missing_secrets": ("no Secret",)}, {"objects": {}}])
def test_a_request_waits_until_the_refresh_can_run(changes):
    """Without the Secret or the CronJob the Job could only fail."""
    assert decision_for(build_snapshot(build_refresh(token="now"), **changes)).create_job is None


def test_a_deleted_refresh_is_left_to_the_garbage_collector():
    """Nothing is made for it any more."""
    seen = build_refresh()
    gone = seen.metadata.model_copy(update={"deletion_timestamp": NOW})
    decision = decision_for(build_snapshot(type(seen)(gone, seen.spec, seen.status, seen.run), objects={}))
    assert (decision.create, decision.status) == ((), None)


def test_each_run_is_told_as_an_event_once():
    """Started and ended, with the reason."""
    first = decision_for(build_snapshot(build_refresh(), (build_job("r1", minutes=-1),), (build_pod("r1", phase="Running"),)))
    assert [note.reason for note in first.events if note.key == "r1"] == ["RunStarted"]
    second = decision_for(build_snapshot(build_refresh(status=first.status, run=build_run_status("r1")), (build_job("r1", "Complete"),)))
    assert [note.reason for note in second.events] == ["RunSucceeded"]
    assert (
        decision_for(build_snapshot(build_refresh(status=second.status, run=build_run_status("r1")), (build_job("r1", "Complete"),))).events
        == ()
    )


def test_an_unreadable_status_of_another_version_is_no_obstacle():
    """What can't be read is forgotten, the rest is kept."""
    raw: Any = {
        "metadata": {"name": "phase2", "namespace": "default", "uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": sample_spec(),
        "status": {"phase": "Dreaming", "lastHandledRequestAt": "t", "run": {"id": 1}, "future": True},
    }
    seen = parse_refresh(raw)
    assert (seen.status.phase, seen.status.last_handled_request_at, seen.run) == (None, "t", None)


def test_jobs_that_outlived_their_cronjob_are_cleared_away_in_the_end():
    """The five newest stay; those that a CronJob still clears away are left to it."""
    jobs = tuple(build_job(f"r{number}", "Complete", -100 + number) for number in range(8))
    first = decision_for(build_snapshot(build_refresh(), jobs))
    assert first.delete_jobs == ()  # nothing is deleted before it is recorded
    assert set(decision_for(build_snapshot(build_refresh(status=first.status), jobs)).delete_jobs) == {"r0", "r1", "r2"}


def test_a_run_under_way_is_adopted_once():
    """One that belongs to its refresh already is left alone, and one that has ended."""
    mine = build_job("r1", minutes=-1)
    owned = mine.model_copy(update={"metadata": mine.metadata.model_copy(update={"owner_references": (OwnerReference(uid=UID),)})})
    assert decision_for(build_snapshot(build_refresh(), (mine,))).adopt_jobs == ("r1",)
    assert decision_for(build_snapshot(build_refresh(), (owned,))).adopt_jobs == ()
    assert decision_for(build_snapshot(build_refresh(), (build_job("r1", "Complete"),))).adopt_jobs == ()


def test_new_defaults_are_followed_and_told():
    """Of a new operator, or a new image: the refresh is the same. Its own edit is not told as such, nor a suspension."""
    settled_share = status_after(build_snapshot(build_refresh()))
    newer = dataclasses.replace(SETTINGS, runner_image="refresh-runner:2")
    decision: Any = decide(build_snapshot(build_refresh(status=settled_share)), newer, NOW)
    (note,) = decision.events
    assert (note.reason, decision.drifted_kinds) == ("DefaultsChanged", ())
    assert "CronJob phase2 updated to new defaults of the operator: spec.jobTemplate.spec.template.spec.containers[0].image" in note.message
    edited = decision_for(
        build_snapshot(build_refresh(status=settled_share, generation=2, title="New"), objects=build_managed_objects(build_refresh()))
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
def test_after_a_run_of_a_part_alone_the_message_tells_of_the_last_full_one_too(outcome, says):
    """Its warning has mended nothing; the control: after a full run there is one to tell of."""
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
