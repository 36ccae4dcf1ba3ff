"""Checks for new commits of a project on a real API server, under the chart's permissions and its admission policy.

The tests act as the kubelet and as the pods of checks and runs; tests/integration/runner/test_git_poll.py has what those pods do.
"""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.admission import ACCOUNT, Token, template_of
from support.control_plane import HAS_ADMISSION_POLICY, needs_admission_policy
from support.eventually import eventually
from support.operator_harness import POLICY, OperatorHarness

Json = dict[str, Any]
ALLOWED = "https://git.example.org/data/*"
PROJECT = {
    "git": {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}, "secretRef": {"name": "repository"}},
    "onProjectChange": "Run",
    "interval": "10s",
}
A, B = (f"main@sha1:{digits * 5}" for digits in ("6e27e9a9", "0c11aa22"))


@pytest.fixture(scope="module")
def operator(create_operator: Callable[..., OperatorHarness]) -> Iterator[OperatorHarness]:
    """An operator that allows the repository."""
    values = (*POLICY, f"projects.allowedUrls={{{ALLOWED}}}") if HAS_ADMISSION_POLICY else ()
    found = create_operator(*values, PROJECTS_ALLOWED_URLS=ALLOWED, RECHECK="1s")
    found.start()
    yield found
    found.stop()


def is_check(job: Json) -> bool:
    return "dashboards.sigeti.io/check" in job["metadata"]["labels"]


def unfinished(operator: OperatorHarness, name: str, *, check: bool) -> str | None:
    """Return the Job of a check or of a run that has not ended."""
    jobs = [job for job in operator.jobs(name) if is_check(job) == check]
    ended = ("Complete", "Failed")
    active = (job for job in jobs if all(each["type"] not in ended for each in job["status"].get("conditions", [])))
    return next((str(job["metadata"]["name"]) for job in active), None)


def report(operator: OperatorHarness, name: str, **words: str) -> str:
    """Wait for a check, end it with this report, and return the name of its Job."""
    job = str(operator.wait_for(lambda: unfinished(operator, name, check=True), 30, name))
    operator.end_pod(job, message=json.dumps(words))
    operator.wait_for(lambda: unfinished(operator, name, check=True) != job, 20, name)
    return job


def runs(operator: OperatorHarness, name: str) -> list[Json]:
    return [job for job in operator.jobs(name) if not is_check(job)]


def wait_for_run(operator: OperatorHarness, name: str, revision: str) -> str:
    """Wait for the run that a revision has requested, and return its ID."""

    def found() -> str | None:
        wanted = (job for job in runs(operator, name) if job["metadata"]["annotations"].get("dashboards.sigeti.io/project") == revision)
        return next((str(job["metadata"]["name"]) for job in wanted), None)

    return str(operator.wait_for(found, 20, name))


def end_run(operator: OperatorHarness, name: str, job: str, revision: str) -> Json:
    operator.report_run(name, job, project={"url": PROJECT["git"]["url"], "path": ".", "revision": revision})  # type: ignore[index]
    operator.end_pod(job)
    return operator.wait_for_history(name, job)


def test_a_new_commit_starts_one_run(operator: OperatorHarness) -> None:
    """Also if the operator is killed right after it. The status says what was seen and when; the next check follows at the interval."""
    operator.create_refresh("velos", project=PROJECT)
    first = report(operator, "velos", revision=A)
    run = wait_for_run(operator, "velos", A)
    operator.stop(signal.SIGKILL)
    operator.start()
    ended = end_run(operator, "velos", run, A)
    assert (ended["trigger"], ended["revision"]) == ("ProjectChange", A)
    seen = operator.wait_for(lambda: operator.status("velos").get("projectCheck"), 10, "velos")
    assert (seen["revision"], seen["handledRevision"], "error" in seen) == (A, A, False)
    second = report(operator, "velos", revision=A)
    assert second != first
    operator.wait_for(lambda: operator.status("velos")["projectCheck"]["lastCheckTime"] > seen["lastCheckTime"], 20, "velos")
    assert [job["metadata"]["name"] for job in runs(operator, "velos")] == [run]
    report(operator, "velos", revision=B)
    other = wait_for_run(operator, "velos", B)
    assert {job["metadata"]["name"] for job in runs(operator, "velos")} == {run, other}
    # only the last check is kept, for its log
    operator.wait_for(lambda: first not in [job["metadata"]["name"] for job in operator.jobs("velos")], 20, "velos")
    end_run(operator, "velos", other, B)
    reasons = [reason for reason, _ in operator.events("velos")]
    # the operator may have been killed before it posted the first event
    assert reasons.count("ProjectChanged") in {1, 2}
    assert "ProjectCheckFailed" not in reasons


def test_a_failed_check_is_said(operator: OperatorHarness) -> None:
    """In the status and in an event, and no run starts. The revision that was seen before stays."""
    operator.create_refresh("refused", project=PROJECT)
    report(operator, "refused", error="cannot fetch the dbt project: the server refused the credentials")
    operator.wait_for(lambda: operator.status("refused").get("projectCheck", {}).get("error"), 10, "refused")
    operator.expect_events("refused", "ProjectCheckFailed")
    assert not runs(operator, "refused")
    assert operator.condition("refused", "Ready")[0] == "True"


def test_nothing_is_checked_by_default(operator: OperatorHarness) -> None:
    """And once it is turned off, its Jobs go. The control is the check before."""
    operator.create_refresh("quiet", project=PROJECT)
    operator.wait_for(lambda: unfinished(operator, "quiet", check=True), 30, "quiet")
    operator.patch_spec("quiet", project={"onProjectChange": None})
    operator.wait_for(lambda: not operator.jobs("quiet"), 20, "quiet")
    assert "projectCheck" not in operator.status("quiet")


@needs_admission_policy
def test_a_check_may_only_be_a_check(operator: OperatorHarness) -> None:
    """Nothing else that the operator's token could start by the label of checks. The control is an unchanged copy."""
    operator.create_refresh("copied", project=PROJECT)
    name = str(operator.wait_for(lambda: unfinished(operator, "copied", check=True), 30, "copied"))
    made: Any = operator.api.get(operator.namespace, "jobs", name)
    token = Token(operator, operator.api.as_account(operator.namespace, ACCOUNT))

    def answer(number: int, change: Callable[[Json], None]) -> tuple[int, str]:
        body = copy.deepcopy(made)
        for field in ("uid", "resourceVersion", "creationTimestamp"):
            del body["metadata"][field]
        template = template_of(body)
        for labels in (body["metadata"]["labels"], template["metadata"]["labels"]):
            for key in [key for key in labels if "controller-uid" in key or "job-name" in key]:
                del labels[key]
        del body["spec"]["selector"]
        body["metadata"]["name"] = f"copy-{number}"
        change(body)
        said = token.answer("POST", "jobs", body=body)
        return said.status_code, said.json().get("message", "")

    def pod(body: Json) -> Json:
        return dict(template_of(body)["spec"])

    def of_pod(**changes: Any) -> Callable[[Json], None]:
        return lambda body: template_of(body)["spec"].update(changes)

    def of_container(**changes: Any) -> Callable[[Json], None]:
        return lambda body: pod(body)["containers"][0].update(changes)

    assert eventually(lambda: answer(0, lambda _body: None)[0] == 201, within=10)
    elsewhere = [{"name": "REFRESH_PROJECT_URL", "value": "https://git.example.com/x.git"}]
    for number, (change, says) in enumerate(
        (
            (of_pod(automountServiceAccountToken=True), "no token for the API server"),
            (of_container(args=["run"]), "must use the command of its image"),
            (of_container(args=["fetch"]), "must use the command of its image"),
            (of_container(name="runner"), "must have one container"),
            (of_container(env=elsewhere), "with an address in projects.allowedUrls"),
            (lambda body: template_of(body)["metadata"]["labels"].pop("dashboards.sigeti.io/check"), "check for a new commit"),
        ),
        1,
    ):
        code, message = answer(number, change)
        assert (code, says in message) == (422, True), (number, code, message)
    token.http.close()
