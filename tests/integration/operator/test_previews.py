"""Previews on a real API server, under the chart's permissions and its admission policy: what starts, waits, is refused and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cluster.ports import free_port
from support.control_plane import HAS_ADMISSION_POLICY
from support.operator_harness import POLICY, OperatorHarness
from support.previews import (
    LIVE,
    PREVIEWS,
    create_preview,
    previewable,
    report,
    report_differences,
    status_of,
    wait_for_state,
)

ALLOWED = "https://git.example.org/data/*"


@pytest.fixture(scope="module")
def operator(create_operator: Callable[..., OperatorHarness]) -> Iterator[OperatorHarness]:
    """An operator that allows the repository, and a refresh whose live commit is known."""
    values = (*POLICY, f"projects.allowedUrls={{{ALLOWED}}}") if HAS_ADMISSION_POLICY else ()
    found = create_operator(*values, PROJECTS_ALLOWED_URLS=ALLOWED, RECHECK="1s")
    found.start()
    previewable(found, "velos")
    yield found
    found.stop()


def job_of(operator: OperatorHarness, name: str) -> Any:
    """Return the Job of a preview that runs."""
    job = wait_for_state(operator, name, "Running")["job"]
    return operator.api.get(operator.namespace, "jobs", job)


def names(operator: OperatorHarness, plural: str, preview: str) -> list[str]:
    return [each["metadata"]["name"] for each in operator.api.items(operator.namespace, plural, f"dashboards.sigeti.io/preview={preview}")]


def test_a_preview_runs_reports_and_is_deleted_after_its_time(operator: OperatorHarness) -> None:
    """Its pod has the Secret of previews, and may write the status of this preview only. The report is the runner's."""
    uid = create_preview(operator, "one", "velos", ttlSecondsAfterFinished=4)["metadata"]["uid"]
    job = job_of(operator, "one")
    name = job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    # Kubernetes deletes it with the preview
    assert [each["kind"] for each in job["metadata"]["ownerReferences"]] == ["RefreshPreview"]
    assert {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each} == {"warehouse-preview", "repository"}
    (runner,) = pod["containers"]
    assert "repository" not in [mount["name"] for mount in runner["volumeMounts"]]
    assert names(operator, "serviceaccounts", "one") == names(operator, "rolebindings", "one") == [name] == [pod["serviceAccountName"]]
    client = operator.api.as_account(operator.namespace, name)
    for other, code in (("one", 200), ("two", 403)):
        path = operator.api.path_of(operator.namespace, PREVIEWS, other) + "/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = client.patch(path, content='{"status": {"message": "x"}}', headers=headers, params={"dryRun": "All"})
        assert answer.status_code == code
    client.close()
    status = status_of(operator, "one")
    assert (status["baseRevision"], status["message"]) == (LIVE, "fetching the two commits")
    report(operator, "one", state="Running", message="building 1 models")
    report_differences(operator, "one")
    operator.end_pod(name, 0)
    table = operator.kubectl("get", "refreshpreviews", "one").splitlines()
    assert table[0].split() == ["NAME", "REFRESH", "REVISION", "STATE", "DIFFERS", "AGE"]
    assert table[1].split()[:7] == ["one", "velos", "fix@0badcafe", "Differs", "marts.a:", "2", "changed"]
    operator.wait_for(lambda: status_of(operator, "one") == {}, 20)
    assert "one" not in operator.status("velos")["message"]
    # on the preview, by which `kubectl describe` finds them
    operator.expect_events("one", "PreviewCreated", "PreviewStarted", "PreviewCompared")
    assert dict(operator.events("one"))["PreviewCompared"] == "marts.a: 2 changed"
    (subject,) = {
        (each["involvedObject"]["kind"], each["involvedObject"]["uid"])
        for each in operator.api.items(operator.namespace, "events")
        if each["involvedObject"]["name"] == "one"
    }
    assert subject == ("RefreshPreview", uid)


def test_no_more_run_at_a_time_than_may(operator: OperatorHarness) -> None:
    """The others wait in the order of their creation, and say for what. The next starts when one has ended, or is deleted."""
    for name in ("a", "b", "c"):
        create_preview(operator, name, "velos")
    wait_for_state(operator, "a", "Running")
    waits = wait_for_state(operator, "b", "Pending")
    assert waits["message"].startswith("1 of 1 previews of velos are running")
    assert len([each for each in operator.api.items(operator.namespace, "jobs") if each["metadata"]["name"].startswith(("b-", "c-"))]) == 0
    report_differences(operator, "a", state="Same", differences=[], unexpected=[])
    wait_for_state(operator, "b", "Running")
    assert status_of(operator, "c")["state"] == "Pending"
    operator.api.delete(operator.namespace, PREVIEWS, "b")
    job = job_of(operator, "c")["metadata"]["name"]
    operator.end_pod(job, 1, '{"state": "Failed", "reason": "LayerFailed", "message": "no such column"}')
    ended = wait_for_state(operator, "c", "Failed")
    assert (ended["message"], ended["conditions"][0]["reason"]) == ("no such column", "LayerFailed")
    for name in ("a", "c"):
        operator.api.delete(operator.namespace, PREVIEWS, name)


@pytest.mark.slow
def test_metrics_count_previews_by_outcome(create_operator: Callable[..., OperatorHarness]) -> None:
    """And how long they took. One that ended before the operator started, and one of no refresh, are only in the gauge."""
    endpoint = f"http://127.0.0.1:{free_port()}/healthz"
    operator = create_operator(PROJECTS_ALLOWED_URLS=ALLOWED, RECHECK="1s", HEALTH_ENDPOINT=endpoint)
    operator.start()
    previewable(operator, "velos")
    create_preview(operator, "before", "velos")
    wait_for_state(operator, "before", "Running")
    report_differences(operator, "before")
    operator.expect_events("before", "PreviewCompared")
    operator.stop()
    operator.start()
    create_preview(operator, "fails", "velos")
    operator.end_pod(job_of(operator, "fails")["metadata"]["name"], 137, reason="OOMKilled")
    create_preview(operator, "nobody", "nobody")
    for name in ("fails", "nobody"):
        wait_for_state(operator, name, "Failed")
        operator.expect_events(name, "PreviewFailed")

    def told() -> str:
        return httpx.get(endpoint.replace("healthz", "metrics"), trust_env=False).text

    of = f'namespace="{operator.namespace}"'
    operator.wait_for(lambda: f'dashboardrefresh_finished_previews_total{{{of},outcome="Failed",refresh="velos"}} 1.0' in told(), 10)
    text = told()
    for line in (
        f'dashboardrefresh_previews{{{of},refresh="velos",state="Differs"}} 1.0',
        f'dashboardrefresh_previews{{{of},refresh="nobody",state="Failed"}} 1.0',
        f'dashboardrefresh_preview_duration_seconds_count{{{of},refresh="velos"}} 1.0',
    ):
        assert line in text, line
    assert 'outcome="Differs"' not in text
    assert "dashboardrefresh_finished_previews_total{" + of + ',outcome="Failed",refresh="nobody"' not in text
    assert operator.events("before").count(("PreviewCompared", "marts.a: 2 changed")) == 1


def test_a_preview_that_ends_without_a_report_fails_with_the_reason(operator: OperatorHarness) -> None:
    """As a run does: its pod says why. Nothing is tried again."""
    create_preview(operator, "oom", "velos")
    job = job_of(operator, "oom")["metadata"]["name"]
    operator.end_pod(job, 137, reason="OOMKilled")
    status = wait_for_state(operator, "oom", "Failed")
    assert status["conditions"][0]["reason"] == "OOMKilled"
    assert "spec.preview.resources.limits.memory" in status["message"]
    assert status["completionTime"]
    operator.api.delete(operator.namespace, PREVIEWS, "oom")


def test_what_cannot_start_is_refused_with_words(operator: OperatorHarness) -> None:
    """At once, so that a pipeline does not wait for nothing. The control is the preview of the same repository above."""
    previewable(operator, "off", None, preview=None)
    previewable(operator, "new", None)
    previewable(operator, "elsewhere", None, project={"git": {"url": "https://git.example.com/data/velos.git"}})
    previewable(operator, "shared", None, preview={"warehouse": {"secretRef": {"name": "slack"}}})
    previewable(operator, "bare", None, preview={"warehouse": {"secretRef": {"name": "not-there"}}})
    for refresh, reason, says in (
        ("nobody", "RefreshNotFound", "there is no DashboardRefresh nobody in this namespace"),
        ("off", "NotEnabled", "has no spec.preview"),
        ("new", "NothingLive", "the revision that is live is not known"),
        ("elsewhere", "CodeNotAllowed", "is not allowed by projects.allowedUrls of the operator's chart"),
        ("shared", "SecretNotAllowed", "Secret slack (spec.preview.warehouse.secretRef) is also used by runs"),
        ("bare", "SecretNotFound", "Secret not-there (spec.preview.warehouse.secretRef) not found"),
    ):
        create_preview(operator, f"of-{refresh}", refresh)
        status = wait_for_state(operator, f"of-{refresh}", "Failed")
        assert (status["conditions"][0]["type"], status["conditions"][0]["reason"]) == ("Failed", reason), status
        assert says in status["message"]
    assert names(operator, "jobs", "of-shared") == []


@pytest.mark.slow
def test_an_image_of_its_own_runs_where_it_is_allowed(create_operator: Callable[..., OperatorHarness]) -> None:
    """As that of a refresh, and in its words. The commits are fetched with the image of the refresh."""
    operator = create_operator(PROJECTS_ALLOWED_URLS=ALLOWED, RUNNER_ALLOWED_IMAGES="registry.example.org/team/*", RECHECK="1s")
    operator.start()
    previewable(operator, "velos")
    create_preview(operator, "denied", "velos", image="registry.example.org/others/velos:3")
    status = wait_for_state(operator, "denied", "Failed")
    says = "image registry.example.org/others/velos:3 (spec.image) is not allowed by runner.allowedImages of the operator's chart: "
    assert status["conditions"][0]["reason"] == "CodeNotAllowed"
    assert status["message"] == says + "allowed are registry.example.org/team/*"
    assert names(operator, "jobs", "denied") == []
    create_preview(operator, "allowed", "velos", image="registry.example.org/team/velos:3")
    pod = job_of(operator, "allowed")["spec"]["template"]["spec"]
    assert [each["image"] for each in pod["containers"]] == ["registry.example.org/team/velos:3"]
    assert {each["image"] for each in pod["initContainers"]} == {"refresh-runner:test"}


def test_a_secret_that_the_policy_does_not_allow_is_not_used(create_operator: Callable[..., OperatorHarness]) -> None:
    """The policy of the chart holds for previews as for runs. With the label, a preview starts."""
    operator = create_operator(PROJECTS_ALLOWED_URLS=ALLOWED, SECRETS_POLICY="Labelled", RECHECK="1s")
    labels = {"metadata": {"labels": {"dashboards.sigeti.io/allow": "true"}}}
    for name in ("repository", "slack", "smtp"):
        operator.create_secret(name, {"password": "x"})
    for name in ("warehouse", "repository", "slack", "smtp"):
        operator.api.patch(operator.namespace, "secrets", name, labels)
    operator.start()
    previewable(operator, "velos", notifications=[], cache=None)
    create_preview(operator, "denied", "velos")
    says = wait_for_state(operator, "denied", "Failed")["message"]
    assert says.startswith("Secret warehouse-preview (spec.preview.warehouse.secretRef) is not allowed: missing label")
    operator.api.patch(operator.namespace, "secrets", "warehouse-preview", labels)
    create_preview(operator, "allowed", "velos")
    wait_for_state(operator, "allowed", "Running")


def test_the_spec_of_a_preview_cannot_be_changed(operator: OperatorHarness) -> None:
    """What was compared would not be what it says."""
    create_preview(operator, "fixed", "nobody", variables={"as_of": "2026-01-31"})
    for change in ({"ref": {"branch": "other"}}, {"variables": {"as_of": "2026-02-28"}}, {"ttlSecondsAfterFinished": 1}):
        with pytest.raises(AssertionError, match="the spec of a RefreshPreview cannot be changed: create another one"):
            operator.api.patch(operator.namespace, PREVIEWS, "fixed", {"spec": change})
    operator.api.patch(operator.namespace, PREVIEWS, "fixed", {"metadata": {"labels": {"team": "bi"}}})
