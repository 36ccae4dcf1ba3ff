"""Checks for new commits of a project: when they start, and which run a new commit requests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from refresh_api.names import CHECK_LABEL, PROJECT_ANNOTATION, REFRESH_LABEL
from refresh_api.status import OperatorStatus, ProjectCheck
from refresh_operator.code_policy import CodeRules
from refresh_operator.reconcile.decision import Decision, decide
from refresh_operator.state.kube_types import Job
from refresh_operator.state.snapshot import Pause, SourceSeen
from support.snapshots import NOW, SETTINGS, UID, build_job, build_pod, build_refresh, build_run_status, build_snapshot, minutes_from_now

Json = dict[str, Any]
PROJECT = {
    "git": {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}, "secretRef": {"name": "repository"}},
    "onProjectChange": "Run",
}
ALLOWED = replace(SETTINGS, code_rules=CodeRules(urls=("https://git.example.org/data/*",)))
A, B = (f"main@sha1:{digits * 5}" for digits in ("6e27e9a9", "0c11aa22"))


def checked(revision: str | None, minutes: float = -1, handled: str | None = None, generation: int = 1, **changes: Any) -> OperatorStatus:
    """Return a status in which a check ended `minutes` after NOW."""
    check = ProjectCheck(
        observed_generation=generation,
        last_check_time=NOW + timedelta(minutes=minutes),
        revision=revision,
        handled_revision=handled,
    )
    return OperatorStatus.model_validate({"observed_generation": 1, "project_check": check, **changes})


def check_job(name: str = "check-1", end: str | None = "Complete", minutes: float = -1, generation: str = "1", uid: str = UID) -> Job:
    """Return the Job of a check that ended `minutes` after NOW, or still runs."""
    conditions = [{"type": end, "status": "True", "lastTransitionTime": minutes_from_now(minutes)}] if end else []
    metadata = {
        "name": name,
        "creationTimestamp": minutes_from_now(minutes - 1),
        "annotations": {"dashboards.sigeti.io/generation": generation},
        "labels": {REFRESH_LABEL: "phase2", CHECK_LABEL: "project"},
        "ownerReferences": [{"uid": uid, "kind": "DashboardRefresh", "name": "phase2", "controller": True}],
    }
    return Job.model_validate({"metadata": metadata, "status": {"conditions": conditions}})


def seen(revision: str = "", error: str = "", of: str = "check-1") -> Any:
    """Return the pod of a check, with its report."""
    words = {"revision": revision} if revision else {"error": error}
    return build_pod(of, phase="Succeeded", terminated={"exitCode": 0, "message": json.dumps(words)})


def decision(status: OperatorStatus | None = None, now: datetime = NOW, project: Json = PROJECT, **snapshot: Any) -> Decision:
    """Decide about a refresh whose project is checked, with this status, fields of the spec, and objects."""
    spec = {key: snapshot.pop(key) for key in ("suspend", "suspendAfterFailures") if key in snapshot}
    known = {key: snapshot.pop(key) for key in ("token", "generation", "run") if key in snapshot}
    refresh = build_refresh(status, project=project, **known, **spec)
    return decide(build_snapshot(refresh, **snapshot), ALLOWED, now)


def check_of(decided: Decision) -> ProjectCheck:
    assert decided.status
    assert decided.status.project_check
    return decided.status.project_check


def test_the_first_check_starts_at_once_with_the_repositorys_secret_only():
    """No token for the API server, not the warehouse's Secret, and as little memory as `git ls-remote` needs."""
    job: Any = decision().create_check
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["name"], container["args"], "initContainers" in pod) == ("project", ["poll"], False)
    assert pod["automountServiceAccountToken"] is False
    assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == ["repository"]
    assert container["resources"]["limits"] == {"memory": "256Mi"}
    assert job["metadata"]["labels"][CHECK_LABEL] == job["spec"]["template"]["metadata"]["labels"][CHECK_LABEL] == "project"
    assert [each["kind"] for each in job["metadata"]["ownerReferences"]] == ["DashboardRefresh"]


@pytest.mark.parametrize("project", [{**PROJECT, "onProjectChange": "Ignore"}, {"git": PROJECT["git"]}, None])
def test_nothing_is_checked_unless_it_is_asked_for(project):
    """Off by default. Once it is off, its Jobs are deleted, and the status has no check."""
    decided = decision(checked(A), project=project, checks=(check_job(),), pods=(seen(B),))
    assert (decided.create_check, decided.create_job, decided.delete_jobs) == (None, None, ("check-1",))
    assert decided.status
    assert decided.status.project_check is None


def test_checks_follow_each_other_at_the_interval():
    """Not earlier, not while one is active, and one name for each, so that none is created twice."""
    status = checked(A, minutes=-4, handled=A)
    early = decision(status)
    assert early.create_check is None
    assert early.requeue_after <= timedelta(minutes=1, seconds=1)
    due = decision(status, NOW + timedelta(minutes=1))
    assert due.create_check
    assert decision(status, NOW + timedelta(minutes=3)).create_check == due.create_check
    assert decision(status, NOW + timedelta(minutes=3), checks=(check_job(end=None),)).create_check is None
    assert decision(status, project={**PROJECT, "interval": "1m"}).create_check
    assert decision(status, generation=2).create_check, "an edit is checked at once"


def test_a_new_commit_requests_one_run():
    """With no parameters of an earlier request. The same commit requests no other one, in whatever order things are observed."""
    first = decision(checked(A, minutes=-9, handled=A), checks=(check_job(),), pods=(seen(B),))
    job: Any = first.create_job
    assert job["metadata"]["annotations"][PROJECT_ANNOTATION] == B
    assert (check_of(first).revision, check_of(first).handled_revision, check_of(first).error) == (B, B, None)
    assert [each.reason for each in first.events if each.reason == "ProjectChanged"] == ["ProjectChanged"]
    assert first.create_check is None
    again = decision(first.status, checks=(check_job(),), pods=(seen(B),))
    assert (again.create_job, again.status) == (None, None)
    later = decision(first.status, checks=(check_job(), check_job("check-2", minutes=0)), pods=(seen(B), seen(B, of="check-2")))
    assert (later.create_job, later.delete_jobs) == (None, ("check-1",))


def test_a_run_is_requested_once_although_the_operator_was_killed():
    """Its Job exists, but the status does not say that it was requested."""
    before = checked(A, minutes=-9, handled=A)
    first = decision(before, checks=(check_job(),), pods=(seen(B),))
    created: Any = first.create_job
    job = build_job(created["metadata"]["name"], minutes=0)
    again = decision(before, checks=(check_job(),), pods=(seen(B),), jobs=(job,))
    assert (again.create_job, check_of(again).handled_revision) == (None, B)
    # the API server keeps one of two equal events
    events = [[each for each in decided.events if each.reason == "ProjectChanged"] for decided in (first, again)]
    assert events[0] == events[1] != []


def test_a_commit_that_comes_back_requests_another_run():
    """A branch was reset to an older commit: its data are not live any more."""
    back = decision(checked(B, minutes=-9, handled=B), checks=(check_job(),), pods=(seen(A),))
    assert back.create_job
    first = decision(checked(None, minutes=-99), checks=(check_job(minutes=-50),), pods=(seen(A),))
    assert first.create_job
    assert back.create_job["metadata"] != first.create_job["metadata"]


def test_a_new_tag_of_the_same_commit_is_no_new_commit():
    """With a range of versions, releases can be tagged again."""
    tagged = B.replace("main", "v2.0.0")
    decided = decision(checked(B, minutes=-9, handled=B), checks=(check_job(),), pods=(seen(tagged),))
    assert (decided.create_job, check_of(decided).revision) == (None, tagged)


def ended(revision: str, **changes: Any) -> Json:
    """Return an entry of the history."""
    entry = {"id": "r1", "trigger": "Scheduled", "outcome": "Succeeded", "reason": "Succeeded", "completionTime": minutes_from_now(-3)}
    return {**entry, "revision": revision, **changes}


@pytest.mark.parametrize(
    ("entry", "is_requested"),
    [
        (ended(B), False),
        (ended(B, outcome="Failed", reason="LayerFailed"), False),
        (ended(B, outcome="Skipped", reason="LockHeld"), True),
        (ended(B, mode="only=tests"), True),
        (ended(A), True),
    ],
)
def test_a_commit_that_a_run_has_taken_is_not_requested(entry: Json, is_requested: bool):
    """The schedule was faster than the check. A partial or skipped run has not built everything of the commit."""
    status = checked(A, minutes=-9, handled=A).model_dump(mode="json", by_alias=True) | {"history": [entry]}
    decided = decision(OperatorStatus.model_validate(status), checks=(check_job(),), pods=(seen(B),))
    assert (decided.create_job is not None) == is_requested
    assert check_of(decided).handled_revision == B


def test_commits_during_a_run_become_one_run():
    """The newest waits until the run has ended. A run that has taken it itself makes it superfluous."""
    active = build_job("r1", minutes=-1)
    waiting = decision(checked(A, minutes=-9, handled=A), checks=(check_job(),), pods=(seen(B),), jobs=(active,))
    assert (waiting.create_job, check_of(waiting).revision, check_of(waiting).handled_revision) == (None, B, A)
    done = build_job("r1", "Complete", minutes=-6)
    report: Any = {"run": build_run_status("r1", project={"url": "u", "path": "p", "revision": A})}
    assert decision(waiting.status, jobs=(done,), **report).create_job
    report = {"run": build_run_status("r1", project={"url": "u", "path": "p", "revision": B})}
    taken = decision(waiting.status, jobs=(done,), **report)
    assert (taken.create_job, check_of(taken).handled_revision) == (None, B)


def test_a_request_goes_first():
    """Its run takes the commit, too."""
    requested: Any = decision(checked(A, minutes=-9, handled=A), token="now", checks=(check_job(),), pods=(seen(B),))
    assert requested.create_job["metadata"]["annotations"]["dashboards.sigeti.io/request"] == "now"
    assert check_of(requested).handled_revision == A


@pytest.mark.parametrize(
    "held",
    [{"suspend": True}, {"pause": Pause("Maintenance")}, {"missing_secrets": ("Secret warehouse is missing",)}],
    ids=["suspended", "paused", "blocked"],
)
def test_nothing_is_checked_or_requested_while_runs_are_suspended(held: Json):
    """Like a scheduled run. What was seen stays known."""
    decided = decision(checked(A, minutes=-9, handled=A), checks=(check_job(),), pods=(seen(B),), **held)
    assert (decided.create_job, decided.create_check, check_of(decided).revision, check_of(decided).handled_revision) == (None, None, B, A)
    assert decision(decided.status).create_job
    assert decision(checked(A, minutes=-9, handled=A), **held).create_check is None


def test_why_a_check_failed_is_in_the_status_and_an_event():
    """The revision seen before stays. The same error makes one event. Success removes it."""
    failed = decision(checked(A, minutes=-9, handled=A), checks=(check_job(),), pods=(seen(error="the server refused the credentials"),))
    assert (check_of(failed).error, check_of(failed).revision) == ("the server refused the credentials", A)
    assert [each.message for each in failed.events if each.reason == "ProjectCheckFailed"] == ["the server refused the credentials"]
    other = check_job("check-2", minutes=0)
    again = decision(failed.status, checks=(other,), pods=(seen(error="the server refused the credentials", of="check-2"),))
    assert not [each for each in again.events if each.reason == "ProjectCheckFailed"]
    assert check_of(decision(failed.status, checks=(other,), pods=(seen(A, of="check-2"),))).error is None


def test_a_check_without_a_report_is_a_failure_after_a_moment():
    """Pods are watched apart from Jobs, so a report may be observed later than the end of its Job."""
    status, job = checked(A, minutes=-9, handled=A), check_job(end="Failed", minutes=0)
    soon = decision(status, NOW + timedelta(seconds=5), checks=(job,))
    assert (soon.status is None or check_of(soon).error is None, soon.create_check) == (True, None)
    late = decision(status, NOW + timedelta(seconds=16), checks=(job,))
    assert (check_of(late).error or "").startswith("the check ended without a report; see: kubectl logs -n default job/check-1")


def test_what_an_earlier_spec_showed_is_not_requested():
    """The new one may name another branch."""
    decided = decision(checked(A, minutes=-9, handled=A), generation=2, checks=(check_job(),), pods=(seen(B),))
    assert (decided.create_job, decided.create_check is not None) == (None, True)


SOURCE = {"sourceRef": {"kind": "GitRepository", "name": "warehouse"}, "onProjectChange": "Run"}
SOURCES = replace(SETTINGS, code_rules=CodeRules(sources=("GitRepository/*",)))


def of_source(status: OperatorStatus | None = None, now: datetime = NOW, **snapshot: Any) -> Decision:
    """Decide about a refresh whose project comes from a source of Flux."""
    return decide(build_snapshot(build_refresh(status, project=SOURCE), objects=objects_of_source(), **snapshot), SOURCES, now)


def objects_of_source() -> Any:
    made = decide(build_snapshot(build_refresh(project=SOURCE), objects={}), SOURCES, NOW).create
    metadata: Any = {"uid": "u", "resourceVersion": "7", "creationTimestamp": minutes_from_now(-600)}
    return {str(item["kind"]): {**item, "metadata": {**item["metadata"], **metadata}} for item in made}  # type: ignore[dict-item]


def test_a_new_artifact_of_a_source_starts_one_run_without_a_check():
    """The operator reads the source itself: there is nothing to fetch. The time is written once per interval."""
    first = of_source(checked(A, minutes=-1, handled=A), source=SourceSeen(B, "2026-03-03T11:59:00Z"))
    job: Any = first.create_job
    assert (job["metadata"]["annotations"][PROJECT_ANNOTATION], first.create_check) == (B, None)
    assert (check_of(first).handled_revision, check_of(first).last_check_time) == (B, NOW)
    again = of_source(first.status, NOW + timedelta(minutes=1), source=SourceSeen(B, "2026-03-03T11:59:00Z"))
    assert (again.create_job, again.status) == (None, None)
    assert again.requeue_after <= timedelta(minutes=5, seconds=1)
    later = of_source(first.status, NOW + timedelta(minutes=5), source=SourceSeen(B, "2026-03-03T11:59:00Z"))
    assert check_of(later).last_check_time == NOW + timedelta(minutes=5)
    failed = of_source(first.status, NOW + timedelta(minutes=1), source=SourceSeen(error="GitRepository/warehouse has no artifact yet"))
    assert (check_of(failed).error, check_of(failed).revision) == ("GitRepository/warehouse has no artifact yet", B)
    assert [each.reason for each in failed.events if each.warning] == ["ProjectCheckFailed"]


def test_the_pods_of_a_refresh_may_read_its_source_only():
    """By a rule that names it. A refresh with another project gets none."""
    role: Any = objects_of_source()["Role"]
    assert role["rules"][1:] == [
        {"apiGroups": ["source.toolkit.fluxcd.io"], "resources": ["gitrepositories"], "resourceNames": ["warehouse"], "verbs": ["get"]}
    ]
    made = decide(build_snapshot(build_refresh(project=SOURCE), objects={}), SETTINGS, NOW).create
    denied: Any = next(item for item in made if item["kind"] == "Role")
    assert len(denied["rules"]) == 1
    pod: Any = next(item for item in made if item["kind"] == "CronJob")
    assert "initContainers" not in pod["spec"]["jobTemplate"]["spec"]["template"]["spec"]
