"""A refresh with its own image or project is stalled until the operator's patterns allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.operator_harness import OperatorHarness

OWN = "registry.example.org/team/velos:3"
PROJECT = {"git": {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}, "secretRef": {"name": "repository"}}}


def image_of(item: Any) -> str:
    """Return the image of a CronJob or Job."""
    spec = item["spec"].get("jobTemplate", item)["spec"]
    return str(spec["template"]["spec"]["containers"][0]["image"])


def test_an_image_is_run_where_it_is_allowed(create_operator: Callable[..., OperatorHarness]) -> None:
    """A denied image starts nothing, and the request stays queued.

    An edit to an allowed image starts it. Other refreshes run the chart's image.
    """
    operator = create_operator(RUNNER_ALLOWED_IMAGES="registry.example.org/team/*")
    operator.start()
    operator.create_refresh("usual")
    operator.create_refresh("velos", token="one", image="registry.example.org/others/velos:3")
    operator.wait_for(lambda: operator.condition("velos", "Ready") == ("False", "ImageNotAllowed"), 20, "velos")
    cronjob: Any = operator.cronjob("velos")
    assert (image_of(cronjob), cronjob["spec"]["suspend"], operator.jobs("velos")) == ("refresh-runner:test", True, [])
    operator.patch_spec("velos", image=OWN)
    job = operator.wait_for_job("velos")
    assert image_of(operator.api.get(operator.namespace, "jobs", job)) == OWN
    operator.wait_for(lambda: image_of(operator.cronjob("velos")) == OWN, 20, "velos")
    assert not (operator.cronjob("velos") or {})["spec"]["suspend"]
    assert image_of(operator.cronjob("usual")) == "refresh-runner:test"


def pod_of(item: Any) -> Any:
    """Return the spec of the pods of a CronJob or Job."""
    return item["spec"].get("jobTemplate", item)["spec"]["template"]["spec"]


def test_a_project_is_fetched_where_it_is_allowed(create_operator: Callable[..., OperatorHarness]) -> None:
    """A denied project starts nothing, fetches nothing and mounts no credentials. An edit to an allowed one starts the queued request."""
    operator = create_operator(PROJECTS_ALLOWED_URLS="https://git.example.org/data/*")
    operator.start()
    elsewhere = {"git": {**PROJECT["git"], "url": "https://git.example.com/data/velos.git"}}
    operator.create_refresh("velos", token="one", project=elsewhere)
    operator.wait_for(lambda: operator.condition("velos", "Ready") == ("False", "ProjectNotAllowed"), 20, "velos")
    assert operator.condition("velos", "Suspended") == ("True", "ProjectNotAllowed")
    cronjob: Any = operator.cronjob("velos")
    assert (cronjob["spec"]["suspend"], operator.jobs("velos")) == (True, [])
    assert "initContainers" not in pod_of(cronjob)
    assert "repository" not in str(pod_of(cronjob)["volumes"])
    operator.expect_events("velos", "ProjectNotAllowed")
    operator.patch_spec("velos", project=PROJECT)
    job = operator.wait_for_job("velos")
    (fetch,) = pod_of(operator.api.get(operator.namespace, "jobs", job))["initContainers"]
    assert (fetch["name"], fetch["args"]) == ("project", ["fetch"])
    operator.wait_for(lambda: not (operator.cronjob("velos") or {})["spec"]["suspend"], 20, "velos")
    operator.wait_for(lambda: operator.condition("velos", "Ready")[0] == "True", 20, "velos")
    assert "DriftCorrected" not in dict(operator.events("velos"))


def test_a_run_shows_its_fetch_and_its_revision(create_operator: Callable[..., OperatorHarness]) -> None:
    """The pod is Pending while it fetches, but has started: no startTimeout ends it. The history has what the runner reported.

    The CronJob with the init container is not changed.
    """
    operator = create_operator(PROJECTS_ALLOWED_URLS="https://git.example.org/data/*", RESYNC="2s")
    operator.start()
    operator.create_refresh("velos", token="one", project=PROJECT)
    job = operator.wait_for_job("velos")
    running = [
        {"name": "project", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": {"running": {}}},
    ]
    operator.set_pod_status(job, "Pending", {"waiting": {"reason": "PodInitializing"}}, initContainerStatuses=running)
    says = f"run {job}: pod is fetching the dbt project"
    operator.wait_for(lambda: operator.status("velos")["message"] == says, 20, "velos")
    operator.patch_spec("velos", startTimeout="1s")
    operator.wait_for(lambda: operator.status("velos")["observedGeneration"] == 2, 20, "velos")
    assert operator.status("velos")["message"] == says
    generation = (operator.cronjob("velos") or {})["metadata"]["generation"]
    revision = "main@sha1:" + "6e27e9a9" * 5
    operator.report_run("velos", job, project={"url": PROJECT["git"]["url"], "path": ".", "revision": revision})
    running[0]["state"] = {"terminated": {"exitCode": 0}}
    operator.end_pod(job, 0, initContainerStatuses=running)
    assert operator.wait_for_history("velos", job)["revision"] == revision
    assert operator.status("velos")["lastRun"]["revision"] == revision
    assert (operator.cronjob("velos") or {})["metadata"]["generation"] == generation
