"""What the operator decides about a preview, and what its pod contains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refresh_api.names import preview_id
from refresh_api.run_request import RunRequest
from refresh_api.status import FinishedRun, OperatorStatus
from refresh_operator.code_policy import CodeRules
from refresh_operator.kube.resources import PREVIEWS
from refresh_operator.kube.store import Store
from refresh_operator.names import preview_name
from refresh_operator.previews.decision import PreviewDecision, decide
from refresh_operator.previews.model import Preview, PreviewSnapshot, parse_preview
from refresh_operator.previews.reconciler import Previews
from refresh_operator.settings import Settings
from refresh_operator.state.kube_types import Job
from refresh_operator.state.snapshot import Pause
from support.previews import LIVE, PREVIEWABLE
from support.snapshots import NOW, SETTINGS, build_pod, build_refresh, build_snapshot, minutes_from_now, status_after

Json = dict[str, Any]
UID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ALLOWED: Settings = replace(SETTINGS, code_rules=CodeRules(("registry.example.org/team/*",), ("https://git.example.org/data/*",)))


def build_preview(name: str = "fix", minutes: float = 0, status: Mapping[str, Any] | None = None, **spec: Any) -> Preview:
    """Build a preview of phase2, created `minutes` after NOW."""
    metadata: Json = {"name": name, "namespace": "default", "uid": UID, "generation": 1, "creationTimestamp": minutes_from_now(minutes)}
    return parse_preview(
        {"metadata": metadata, "spec": {"refresh": "phase2", "ref": {"branch": "fix"}, **spec}, "status": dict(status or {})}
    )


def seen(
    preview: Preview | None = None, live: str | None = LIVE, refresh: Mapping[str, Any] | None = None, **changes: Any
) -> PreviewSnapshot:
    """Return a snapshot of a preview that could start, with changes."""
    found = build_refresh(OperatorStatus(live_revision=live), **{**PREVIEWABLE, **(refresh or {})})
    return PreviewSnapshot(**{"preview": preview or build_preview(), "refresh": found, **changes})


def decided(snapshot: PreviewSnapshot, minutes: float = 0) -> PreviewDecision:
    return decide(snapshot, ALLOWED, NOW + timedelta(minutes=minutes))


def job_of(of: Preview | None = None, **refresh: Any) -> Any:
    """Return the Job of a preview of a refresh with changes."""
    return decided(seen(of, refresh=refresh)).create[-1]


def pod_of(**refresh: Any) -> Any:
    return job_of(**refresh)["spec"]["template"]["spec"]


def secrets_of(pod: Json, container: Json) -> dict[str, str]:
    """Return the Secrets that a container mounts, by path."""
    volumes = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"] if mount["name"] in volumes}


def request_of(container: Json) -> RunRequest:
    (text,) = (each["value"] for each in container["env"] if each["name"] == "REFRESH_RUN_REQUEST")
    return RunRequest.model_validate_json(text.replace("$$", "$"))


def test_the_pod_has_the_secret_of_previews_and_none_of_production():
    """The refresh notifies Slack and mail, calls an API, and writes to a bucket; a preview does nothing of it, also if its code asks."""
    bucket = {"endpoint": "https://s3", "bucket": "files", "secretRef": {"name": "bucket"}}
    called = {"url": "https://l", "authorizationSecretRef": {"name": "l", "key": "k"}}
    traces = {"headersSecretRef": {"name": "c", "key": "k"}}
    pod = pod_of(artifacts={"store": {"s3": bucket}}, lineage=called, tracing=traces)
    (runner,) = pod["containers"]
    assert secrets_of(pod, runner) == {"/run/refresh/secrets/warehouse-preview": "warehouse-preview"}
    assert sorted(each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each) == ["repository", "warehouse-preview"]
    request = request_of(runner)
    assert request.spec.warehouse.secret_ref.name == "warehouse-preview"
    assert (request.spec.cache, request.spec.notifications, request.spec.preview, request.spec.retries) == (None, [], None, 0)
    assert (request.spec.lineage, request.spec.artifacts, request.spec.tracing) == (None, None, None)
    assert request.spec.secret_keys.keys() == {"warehouse-preview", "repository"}
    assert runner["args"] == ["preview"]
    assert "API_BASE_URL" not in {each["name"] for each in runner["env"]}


def test_only_the_containers_that_fetch_have_the_secret_of_the_repository():
    """Each fetches one commit into a folder of its own, which the runner cannot change."""
    pod = pod_of()
    change, base = pod["initContainers"]
    (runner,) = pod["containers"]
    for container in (change, base):
        assert container["args"] == ["fetch"]
        assert secrets_of(pod, container) == {"/run/refresh/secrets/repository": "repository"}
    refs = [request_of(container).spec.project for container in (change, base)]
    assert [each.git.ref.label for each in refs if each and each.git] == ["branch fix", "commit " + "6e27e9a9" * 5]
    mounts = {mount["mountPath"]: mount for mount in runner["volumeMounts"]}
    assert mounts["/run/refresh/project"] == {"name": "project", "mountPath": "/run/refresh/project", "readOnly": True}
    assert mounts["/run/refresh/base"] == {"name": "base", "mountPath": "/run/refresh/base", "readOnly": True}
    places = [{mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]} for container in (change, base)]
    assert [each["/run/refresh/project"] for each in places] == ["project", "base"]
    assert len({each["/tmp"] for each in places} | {"tmp"}) == 3


def test_its_objects_are_its_own_and_end_with_it():
    """The names end as those of its schemas do, and differ from those of a deleted preview of the same name."""
    account, role, binding, job = decided(seen()).create
    name = f"fix-{preview_id(UID)}"
    assert [each["metadata"]["name"] for each in (account, role, binding, job)] == [name] * 4  # type: ignore[index,call-overload]
    owner = job["metadata"]["ownerReferences"][0]  # type: ignore[index,call-overload]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("RefreshPreview", UID, True)  # type: ignore[index,call-overload]
    assert role["rules"] == [
        {"apiGroups": ["dashboards.sigeti.io"], "resources": ["refreshpreviews/status"], "resourceNames": ["fix"], "verbs": ["patch"]}
    ]
    assert len(preview_name("a" * 52, UID)) <= 63
    assert preview_name(f"{'a' * 44}.b", UID) == f"{'a' * 44}-{preview_id(UID)}"


def test_one_attempt_within_its_own_limits():
    """Timeouts and resources are those of spec.preview where it has any."""
    small = {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    job = job_of(preview={**PREVIEWABLE["preview"], "timeout": "1h", "resources": small}, startTimeout="5m")
    spec = job["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 3600 + 2 * 120 + 60
    assert spec["activeDeadlineSeconds"] == 3600 + 2 * 120 + 60 + 300
    assert spec["template"]["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert job_of(timeout="10m")["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 600 + 2 * 120 + 60


def test_variables_selectors_and_allowed_differences_reach_the_runner():
    """As in a run request; the annotations of the refresh do not."""
    job = job_of(build_preview(variables={"n": "5", "as_of": "2026-01-31"}, select=["+mart_a", "tag:x"], sampleRows=5000, allow=["Added"]))
    request = request_of(job["spec"]["template"]["spec"]["containers"][0])
    assert request.vars == {"n": 5, "as_of": "2026-01-31"}
    assert request.preview
    assert (request.preview.name, request.preview.uid, request.preview.allow) == ("fix", UID, ["Added"])
    assert (request.preview.select, request.preview.sample_rows) == (["+mart_a", "tag:x"], 5000)


def test_another_image_builds_and_the_image_of_the_refresh_fetches():
    """Who may only create previews must not choose what runs with the credentials of the repository.

    Another image may build any model differently, so the change touches all of them; the same image by its name touches none.
    """
    own, other = "registry.example.org/team/velos:3", "registry.example.org/team/velos:4"
    for wanted, of_refresh, runs, all_models in (
        (None, None, SETTINGS.runner_image, False),
        (None, own, own, False),
        (other, own, other, True),
        (own, own, own, False),
        (SETTINGS.runner_image, None, SETTINGS.runner_image, False),
        (other, None, other, True),
    ):
        pod = job_of(build_preview(image=wanted), image=of_refresh)["spec"]["template"]["spec"]
        (runner,) = pod["containers"]
        assert runner["image"] == runs
        assert {each["image"] for each in pod["initContainers"]} == {of_refresh or SETTINGS.runner_image}
        request = request_of(runner).preview
        assert request
        assert request.all_models == all_models


@pytest.mark.parametrize(
    ("history", "spec", "variables", "as_of"),
    [
        ([{"startTime": "2026-03-02T23:30:00Z", "completionTime": "2026-03-03T00:10:00Z"}], {}, {}, "2026-03-02"),
        ([{"startTime": "2026-03-02T23:30:00Z"}], {"timeZone": "Europe/Paris"}, {}, "2026-03-03"),
        ([{"mode": "only=tests", "startTime": "2026-03-03T01:00:00Z"}, {"startTime": "2026-03-01T01:00:00Z"}], {}, {}, "2026-03-01"),
        ([{"outcome": "Failed", "startTime": "2026-03-03T01:00:00Z"}], {}, {}, "2026-02-20"),
        ([{"startTime": "2026-03-02T01:00:00Z", "vars": '{"as_of": "2026-01-31"}'}], {}, {}, "2026-01-31"),
        ([{"startTime": "2026-03-02T01:00:00Z"}], {}, {"as_of": "2026-01-01"}, "2026-01-01"),
        ([{"startTime": "2026-03-02T01:00:00Z"}], {"dbt": {"vars": {"as_of": "2026-06-30"}}}, {}, None),
    ],
)
def test_the_date_is_that_of_the_run_whose_marts_are_live(history: list[Json], spec: Json, variables: Json, as_of: str | None):
    """Else every row of a mart with the date in it would differ on the next day. In the zone of the schedule, as a run has it."""
    done = [FinishedRun.model_validate({**_DONE, **each}) for each in history]
    last = datetime(2026, 2, 20, 1, tzinfo=UTC)
    status = OperatorStatus(live_revision=LIVE, history=done, last_success_time=last)
    # the sample has a zone and variables of its own
    refresh = build_refresh(status, **{"timeZone": "Etc/UTC", "dbt": {}, **PREVIEWABLE, **spec})
    (*_, job) = decided(PreviewSnapshot(build_preview(variables=variables), refresh)).create
    pod: Any = job
    assert request_of(pod["spec"]["template"]["spec"]["containers"][0]).vars.get("as_of") == as_of


_DONE = {"id": "phase2-1", "trigger": "Requested", "outcome": "Succeeded", "reason": "Succeeded", "completionTime": minutes_from_now(-10)}


def test_invalid_variables_fail_the_preview():
    """The CRD cannot check that a text is a date."""
    status = decided(seen(build_preview(variables={"as_of": "yesterday"}))).status
    assert status
    assert (status.state, status.conditions[0].reason) == ("Failed", "InvalidPreview")
    assert "as_of must be a date" in (status.message or "")


def running(name: str, minutes: float) -> Preview:
    return build_preview(name, minutes, {"state": "Running", "job": f"{name}-1"})


@pytest.mark.parametrize(
    ("limit", "others", "says"),
    [
        (1, (), ""),
        (1, (running("a", -5),), "1 of 1 previews of phase2 are running"),
        (2, (running("a", -5),), ""),
        (2, (running("a", -5), build_preview("b", -1)), "1 of 2 previews of phase2 are running, and 1 created before this one wait"),
        (1, (build_preview("b", 1),), ""),
        (1, (build_preview("zz", 0),), ""),
        (1, (build_preview("aa", 0),), "0 of 1 previews of phase2 are running, and 1 created before this one wait"),
    ],
)
def test_as_many_start_as_may_run_in_the_order_of_their_creation(limit: int, others: tuple[Preview, ...], says: str):
    """Of two that were created in the same second, the first by name starts."""
    decision = decided(seen(refresh={"preview": {**PREVIEWABLE["preview"], "maxConcurrent": limit}}, others=others))
    assert bool(decision.create) == (not says)
    assert (decision.status.message if decision.status else "") == says


def test_a_pause_of_all_refreshes_holds_previews():
    """Somebody repairs the warehouse."""
    decision = decided(seen(pause=Pause("all refreshes are paused: repair")))
    assert decision.status
    assert (decision.create, decision.status.state, decision.status.message) == ((), "Pending", "all refreshes are paused: repair")


def job(end: Json | None = None, minutes: float = -1) -> Job:
    """Return the Job of the preview, created `minutes` after NOW."""
    annotations = {"dashboards.sigeti.io/base": LIVE}
    conditions = [{"type": "Failed", "status": "True", "lastTransitionTime": minutes_from_now(0), **end}] if end is not None else []
    metadata = {"name": preview_name("fix", UID), "creationTimestamp": minutes_from_now(minutes), "annotations": annotations}
    return Job.model_validate({"metadata": metadata, "status": {"conditions": conditions}})


def test_a_running_preview_keeps_what_its_pod_reports():
    """The operator adds when it began and with which commit it is compared: that of the Job, not a newer one."""
    reported = {"state": "Running", "message": "building 3 models", "revision": "fix@sha1:" + "a" * 40}
    status = decided(seen(build_preview(status=reported), live="main@sha1:" + "b" * 40, job=job())).status
    assert status
    assert (status.state, status.message, status.base_revision) == ("Running", "building 3 models", LIVE)
    again = build_preview(status=status.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert decided(seen(again, job=job())).status is None


@pytest.mark.parametrize(
    ("pods", "end", "reason"),
    [
        ((), {"reason": "BackoffLimitExceeded"}, "RunnerLost"),
        ((build_pod("x", phase="Failed", reason="Evicted", message="disk"),), {}, "Evicted"),
        ((build_pod("x", phase="Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}),), {}, "OOMKilled"),
        ((build_pod("x", phase="Failed", terminated={"exitCode": 137, "reason": "Error"}),), {}, "RunnerLost"),
        ((build_pod("x", phase="Failed", reason="DeadlineExceeded"),), {}, "DeadlineExceeded"),
        ((), {"reason": "DeadlineExceeded"}, "RunnerLost"),
    ],
)
def test_a_preview_without_a_report_fails_with_the_reason_of_its_pod(pods: tuple[Any, ...], end: Json, reason: str):
    """Its pod is its only attempt."""
    decision = decided(seen(build_preview(status={"state": "Running"}), job=job(end), pods=pods))
    assert decision.status
    assert (decision.status.state, decision.status.conditions[0].reason) == ("Failed", reason)
    assert decision.wakes


def test_a_pod_that_does_not_start_in_time_fails_the_preview():
    """And its Job is deleted. Before that, the preview runs."""
    early, late = (decided(seen(refresh={"startTimeout": "2m"}, job=job()), minutes) for minutes in (0.5, 1.5))
    assert early.status
    assert (early.status.state, early.delete_job) == ("Running", False)
    assert late.status
    assert (late.status.state, late.status.conditions[0].reason, late.delete_job) == ("Failed", "StartTimeout", True)


def test_a_deleted_job_fails_the_preview():
    """It is not started again: somebody wanted it to end."""
    status = decided(seen(build_preview(status={"state": "Running", "job": "fix-1"}))).status
    assert status
    assert (status.state, status.message) == ("Failed", "Job fix-1 was deleted")


@pytest.mark.parametrize(("ttl", "minutes", "deleted"), [(3600, 59, False), (3600, 60, True), (0, 0, True)])
def test_a_finished_preview_is_deleted_after_its_time(ttl: int, minutes: float, deleted: bool):
    """Whether it has a result or not."""
    ended = {"state": "Same", "completionTime": minutes_from_now(0)}
    decision = decided(seen(build_preview(status=ended, ttlSecondsAfterFinished=ttl)), minutes)
    assert decision.delete is deleted
    assert decision.status is None


def events(decision: PreviewDecision) -> list[tuple[str, str, bool]]:
    return [(event.reason, event.message, event.warning) for event in decision.events]


def test_events_say_what_happens_to_a_preview():
    """Once each: when it is seen, when it starts and when it ends. An unchanged status posts none."""
    created = ("PreviewCreated", "requested for branch fix of phase2", False)
    waits = decided(seen(others=(build_preview("old", -1, {"state": "Running"}),)))
    assert events(waits) == [created]
    name = preview_name("fix", UID)
    assert events(decided(seen(job=job()))) == [created, ("PreviewStarted", f"Job {name}", False)]
    pending = build_preview(status={"state": "Pending", "message": "waits"})
    assert events(decided(seen(pending, job=job()))) == [("PreviewStarted", f"Job {name}", False)]
    running = build_preview(status={"state": "Running", "job": name, "message": "building 3 models"})
    assert events(decided(seen(running, job=job()))) == []


@pytest.mark.parametrize("state", ["Same", "Differs"])
def test_the_end_of_a_preview_is_an_event_also_if_it_is_deleted_at_once(state: str):
    """The API server keeps one event of a name, for an hour; after that, it would be a second one."""
    ended = {"state": state, "message": "marts.a: 2 changed", "completionTime": minutes_from_now(0)}
    for ttl, minutes, posted in ((86400, 0, True), (0, 0, True), (86400, 59, True), (86400, 60, False)):
        found = decided(seen(build_preview(status=ended, ttlSecondsAfterFinished=ttl)), minutes)
        assert events(found) == ([("PreviewCompared", "marts.a: 2 changed", False)] if posted else [])
        assert found.delete is (ttl == 0)


def test_a_failure_is_a_warning_with_its_reason():
    """As of a run. What fails at once was seen, too. Its next reconciliation posts the same event, of which one is kept."""
    found = decided(seen(live=None))
    assert found.status
    assert [(reason, warning) for reason, _, warning in events(found)] == [("PreviewCreated", False), ("PreviewFailed", True)]
    assert found.events[1].message.startswith("NothingLive: the revision that is live is not known")
    ended = build_preview(status=found.status.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert decided(seen(ended)).events == found.events[1:]
    deleted = decided(seen(build_preview(status={"state": "Running", "job": "fix-1"})))
    assert events(deleted) == [("PreviewFailed", "JobDeleted: Job fix-1 was deleted", True)]


def test_a_preview_that_cannot_be_read_holds_no_other():
    """Somebody wrote an object that this version does not understand. The control is read."""
    store = Store()
    broken: list[Json] = [{}, {"labels": 7}, {"annotations": []}]
    for number, changes in enumerate(broken, 1):
        metadata: Json = {"name": f"p{number}", "namespace": "default", "uid": UID, "resourceVersion": str(number), **changes}
        store.put(
            PREVIEWS,
            {"metadata": {"creationTimestamp": minutes_from_now(0), **metadata}, "spec": {"refresh": "phase2", "ref": {"tag": "a"}}},
        )
    assert [each.metadata.name for each in Previews(None, store, None).readable("default")] == ["p1"]  # type: ignore[arg-type]


REVISION = "main@sha1:" + "c" * 40


def run(outcome: str = "Succeeded", minutes: float = -10, revision: str | None = REVISION, mode: str | None = None) -> FinishedRun:
    return FinishedRun.model_validate(
        {
            "id": f"phase2-{abs(int(minutes))}",
            "trigger": "Requested",
            "outcome": outcome,
            "reason": "Succeeded",
            "completionTime": minutes_from_now(minutes),
            "revision": revision,
            "mode": mode,
        }
    )


@pytest.mark.parametrize(
    ("history", "live"),
    [
        ([], LIVE),
        ([run()], REVISION),
        ([run("Warned")], REVISION),
        ([run("Failed", revision="main@sha1:" + "d" * 40), run(minutes=-20)], REVISION),
        ([run("Failed")], LIVE),
        ([run(mode="select=mart_x", revision="main@sha1:" + "d" * 40), run(minutes=-20)], REVISION),
        ([run(mode="rollback", revision=None), run(minutes=-20)], None),
        ([run("Skipped", revision=None), run(minutes=-15, mode="rollback", revision=None), run(minutes=-20)], None),
        ([run(mode="resume"), run(minutes=-20, mode="rollback", revision=None)], REVISION),
        ([run(revision=None), run(minutes=-20)], None),
    ],
)
def test_the_commit_that_is_live_is_that_of_the_last_full_run(history: list[FinishedRun], live: str | None):
    """It outlives the history: a project whose last ten runs failed can be previewed, which is when a preview is needed."""
    status = status_after(build_snapshot(build_refresh(OperatorStatus(history=history, live_revision=LIVE))))
    assert status.live_revision == live
