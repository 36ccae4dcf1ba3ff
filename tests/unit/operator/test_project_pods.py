"""The pods of a refresh whose dbt project is fetched from a Git repository by an init container."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from refresh_api.project import Project
from refresh_api.run_request import RunRequest
from refresh_operator.code_policy import CodeRules
from refresh_operator.reconcile.decision import Decision, decide
from refresh_operator.settings import CaBundle, Settings
from support.snapshots import NOW, SETTINGS, build_refresh, build_snapshot, condition_of

Json = dict[str, Any]
URL = "https://git.example.org/data/velos.git"
PROJECT = {"git": {"url": URL, "ref": {"branch": "main"}, "secretRef": {"name": "repository"}}}
ALLOWED = replace(SETTINGS, code_rules=CodeRules(urls=("https://git.example.org/data/*",)))


def job_of(settings: Settings = ALLOWED, **changes: Any) -> Json:
    """Return the spec of the Jobs of a refresh with a project."""
    decision = decide(build_snapshot(build_refresh(**{"project": PROJECT, **changes}), objects={}), settings, NOW)
    cronjob: Any = next(item for item in decision.create if item["kind"] == "CronJob")
    return dict(cronjob["spec"]["jobTemplate"]["spec"])


def pod_of(settings: Settings = ALLOWED, **changes: Any) -> Json:
    """Return the spec of its pods."""
    return dict(job_of(settings, **changes)["template"]["spec"])


def secrets_of(pod: Json, container: Json) -> dict[str, Json]:
    """Return the Secrets that a container mounts: the volume's source by path."""
    volumes = {each["name"]: each.get("secret") for each in pod["volumes"]}
    return {mount["mountPath"]: source for mount in container["volumeMounts"] if (source := volumes[mount["name"]])}


def variables_of(container: Json) -> dict[str, Json]:
    return {each["name"]: each for each in container["env"]}


def test_an_init_container_fetches_the_project_and_the_run_cannot_change_it():
    """Both use the same image and the same security settings; only the run's folder for temporary files is another one."""
    pod = pod_of()
    (fetch,), (runner,) = pod["initContainers"], pod["containers"]
    assert (fetch["name"], fetch["args"], runner["args"]) == ("project", ["fetch"], ["run"])
    for key in ("image", "imagePullPolicy", "securityContext", "resources", "terminationMessagePath", "terminationMessagePolicy"):
        assert fetch[key] == runner[key], key
    places = {mount["mountPath"]: mount for mount in fetch["volumeMounts"]}
    assert places["/run/refresh/project"] == {"name": "project", "mountPath": "/run/refresh/project"}
    assert {"name": "project", "mountPath": "/run/refresh/project", "readOnly": True} in runner["volumeMounts"]
    assert places["/tmp"]["name"] == "fetch"
    assert "fetch" not in [mount["name"] for mount in runner["volumeMounts"]]
    assert [each["name"] for each in pod["volumes"] if "emptyDir" in each] == ["tmp", "project", "fetch"]
    request = RunRequest.model_validate_json(variables_of(fetch)["REFRESH_RUN_REQUEST"]["value"])
    assert request.spec.project
    assert variables_of(fetch)["REFRESH_RUN_REQUEST"] == variables_of(runner)["REFRESH_RUN_REQUEST"]
    assert variables_of(fetch)["REFRESH_PROJECT_URL"]["value"] == request.spec.project.origin.url == URL


def test_a_refresh_without_a_project_has_no_init_container():
    """The control: its project is in the image, and nothing in its pods changes."""
    pod = pod_of(project=None)
    assert "initContainers" not in pod
    assert [each["name"] for each in pod["volumes"]] == ["tmp", "secret-0", "secret-1", "secret-2"]


def test_only_the_init_container_has_the_secret_of_the_repository():
    """And it has no Secret of a channel or of the API. It needs the warehouse's for the commit of an earlier attempt."""
    pod = pod_of()
    (fetch,), (runner,) = pod["initContainers"], pod["containers"]
    assert {path.rsplit("/", 1)[1] for path in secrets_of(pod, runner)} == {"warehouse", "slack", "smtp"}
    assert secrets_of(pod, fetch) == {
        "/run/refresh/secrets/warehouse": {"secretName": "warehouse", "defaultMode": 0o440},
        "/run/refresh/secrets/repository": {"secretName": "repository", "defaultMode": 0o440, "optional": True},
    }


def test_a_run_that_uses_a_key_of_the_repositorys_secret_gets_that_key_only():
    """A Secret with a webhook beside the repository's password must not give the password to the project's code."""
    slack = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "repository", "key": "url"}}}
    pod = pod_of(notifications=[slack])
    (fetch,), (runner,) = pod["initContainers"], pod["containers"]
    assert secrets_of(pod, runner)["/run/refresh/secrets/repository"]["items"] == [{"key": "url", "path": "url"}]
    assert "items" not in secrets_of(pod, fetch)["/run/refresh/secrets/repository"]


def test_one_secret_for_warehouse_and_repository_is_mounted_once():
    """Kubernetes refuses two volumes at one path."""
    project = {"git": {"url": URL, "secretRef": {"name": "warehouse"}}}
    pod = pod_of(project=project)
    paths = [mount["mountPath"] for mount in pod["initContainers"][0]["volumeMounts"]]
    assert len(paths) == len(set(paths))
    assert secrets_of(pod, pod["initContainers"][0]) == {
        "/run/refresh/secrets/warehouse": {"secretName": "warehouse", "defaultMode": 0o440}
    }


def test_a_denied_secret_of_the_repository_is_mounted_nowhere():
    """Neither by the init container nor as a volume of the pod; the refresh is stalled until it is allowed."""
    denied = {"repository": "Secret repository (spec.project.git.secretRef) is not allowed"}
    decision = decide(build_snapshot(build_refresh(project=PROJECT), objects={}, denied_secrets=denied), ALLOWED, NOW)
    cronjob: Any = next(item for item in decision.create if item["kind"] == "CronJob")
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "repository" not in json.dumps([pod["volumes"], pod["initContainers"][0]["volumeMounts"]])
    assert cronjob["spec"]["suspend"]
    assert decision.status
    assert condition_of(decision.status, "Ready")[1] == "SecretNotAllowed"


@pytest.mark.parametrize("token", [None, "now"])
def test_a_project_that_is_not_allowed_is_not_fetched_and_starts_nothing(token: str | None):
    """No init container, no volume with the credentials, no scheduled run, and a request waits. The control is allowed."""
    refresh = build_refresh(project=PROJECT, token=token)
    denial = SETTINGS.code_rules.project_denial(Project.model_validate(PROJECT))
    assert denial
    decision: Decision = decide(build_snapshot(refresh, denial=denial), SETTINGS, NOW)
    assert decision.create_job is None
    assert job_started(decide(build_snapshot(refresh), ALLOWED, NOW)) is (token is not None)
    first = decide(build_snapshot(refresh, denial=denial, objects={}), SETTINGS, NOW)
    cronjob: Any = next(item for item in first.create if item["kind"] == "CronJob")
    assert cronjob["spec"]["suspend"]
    pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert "repository" not in json.dumps(pod["volumes"])
    status = decision.status
    assert status
    message = f"{URL} (spec.project.git.url) is not allowed by projects.allowedUrls of the operator's chart: it allows none"
    assert condition_of(status, "Ready") == ("False", "ProjectNotAllowed", message)
    assert condition_of(status, "Stalled")[:2] == ("True", "ProjectNotAllowed")
    assert condition_of(status, "Suspended") == ("True", "ProjectNotAllowed", f"scheduled runs are suspended: {message}")


def job_started(decision: Decision) -> bool:
    return decision.create_job is not None


def test_the_init_container_has_the_charts_proxy_and_none_of_the_pod_template():
    """With a proxy of their own, and a certificate in the Secret, users could put any server in the place of an allowed one."""
    settings = replace(ALLOWED, proxies=(("HTTPS_PROXY", "http://chart:3128"),), ca_bundle=CaBundle("company-ca", "ca.crt"))
    own = [{"name": "HTTPS_PROXY", "value": "http://users:1"}, {"name": "TENANT", "value": "a"}]
    pod = pod_of(settings, podTemplate={"spec": {"containers": [{"name": "runner", "env": own}]}})
    (fetch,), (runner,) = pod["initContainers"], pod["containers"]
    assert variables_of(runner)["HTTPS_PROXY"]["value"] == "http://users:1"
    assert variables_of(fetch)["HTTPS_PROXY"]["value"] == "http://chart:3128"
    assert "TENANT" not in variables_of(fetch)
    assert variables_of(fetch)["SSL_CERT_FILE"]["value"] == "/etc/refresh-ca/ca.crt"
    assert {"name": "ca", "mountPath": "/etc/refresh-ca", "readOnly": True} in fetch["volumeMounts"]


@pytest.mark.parametrize("hub", ["", "https://hub.example.org/"])
def test_the_init_container_downloads_packages_as_the_chart_allows(hub: str):
    """From the same addresses as projects, and by the chart's hub if it has one; the run downloads nothing."""
    rules = CodeRules(urls=("https://git.example.org/data/*", "https://hub.example.org/*"))
    pod = pod_of(replace(SETTINGS, code_rules=rules, package_hub=hub))
    (fetch,), (runner,) = pod["initContainers"], pod["containers"]
    assert variables_of(fetch)["PROJECT_ALLOWED_URLS"]["value"] == "https://git.example.org/data/* https://hub.example.org/*"
    assert variables_of(fetch).get("DBT_PACKAGE_HUB_URL", {}).get("value", "") == hub
    assert not {"PROJECT_ALLOWED_URLS", "DBT_PACKAGE_HUB_URL"} & variables_of(runner).keys()


def test_an_attempt_may_take_as_long_as_fetch_and_run_together():
    """The deadline of the pod begins before its init containers."""
    git = {"url": URL, "timeout": "3m"}
    plain, fetching = job_of(project=None, timeout="10m", retries=1), job_of(project={"git": git}, timeout="10m", retries=1)
    assert fetching["template"]["spec"]["activeDeadlineSeconds"] == 660 + 180
    assert fetching["activeDeadlineSeconds"] - plain["activeDeadlineSeconds"] == 2 * 180


def test_exit_codes_mean_the_same_in_both_containers():
    """By the name of each container: one that the cluster adds has exit codes of its own."""
    rules = [each["onExitCodes"] | {"action": each["action"]} for each in job_of()["podFailurePolicy"]["rules"] if "onExitCodes" in each]
    assert [(rule["containerName"], rule["action"], rule["values"]) for rule in rules] == [
        ("runner", "FailJob", [1, 2]),
        ("runner", "Ignore", [143]),
        ("project", "FailJob", [1, 2]),
        ("project", "Ignore", [143]),
    ]
