"""The chart's admission policy for previews, on a real API server: their pods run code of a branch, and have only what they need."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.admission import (
    ACCOUNT,
    POD,
    Json,
    Token,
    address,
    container,
    fetch,
    own,
    pod,
    secured,
    template_of,
    unlabelled_pods,
    volume,
)
from support.control_plane import needs_admission_policy
from support.eventually import eventually
from support.operator_harness import POLICY, OperatorHarness
from support.previews import create_preview, previewable, wait_for_state

pytestmark = needs_admission_policy
SECRETS = ("warehouse", "slack", "smtp", "repository", "warehouse-preview")
FOREIGN_JOB: Json = {"metadata": {"name": "foreign"}, "spec": {"template": {"spec": POD}}}


@pytest.fixture(scope="module")
def with_previews(create_operator: Callable[..., OperatorHarness]) -> Iterator[Token]:
    """The token where the policy is on; the operator itself has started a preview under the policy."""
    allowed = "https://git.example.org/data/*"
    values = (f"projects.allowedUrls={{{allowed}}}", "secrets.policy=Listed", f"secrets.allowed={{{','.join(SECRETS)}}}")
    images = "registry.example.org/team/*"
    operator = create_operator(
        *POLICY, *values, f"runner.allowedImages={{{images}}}", PROJECTS_ALLOWED_URLS=allowed, RUNNER_ALLOWED_IMAGES=images
    )
    operator.start()
    previewable(operator, "ours")
    create_preview(operator, "fix", "ours")
    wait_for_state(operator, "fix", "Running")
    previewable(operator, "other")
    create_preview(operator, "own-image", "other", image="registry.example.org/team/velos:4")
    wait_for_state(operator, "own-image", "Running")
    assert operator.stop() == 0
    token = Token(operator, operator.api.as_account(operator.namespace, ACCOUNT))
    eventually(lambda: token.answer("POST", "jobs", body=FOREIGN_JOB).status_code == 422, within=30)
    yield token
    token.http.close()


@pytest.fixture(scope="module")
def previews_without_policy(create_operator: Callable[..., OperatorHarness]) -> Iterator[Token]:
    """A token where the policy is off."""
    operator = create_operator()
    token = Token(operator, operator.api.as_account(operator.namespace, ACCOUNT))
    yield token
    token.http.close()


def preview_job(token: Token) -> Json:
    """Return the Job of the preview as the operator made it, to be made once more."""
    (found,) = token.operator.api.items(token.operator.namespace, "jobs", "dashboards.sigeti.io/preview=fix")
    body = own(token, "jobs", found["metadata"]["name"])
    # what the API server adds, which must not be given
    del body["spec"]["selector"], body["spec"]["manualSelector"]
    template = body["spec"]["template"]["metadata"]
    template["labels"] = {key: value for key, value in template["labels"].items() if key.startswith("dashboards.sigeti.io/")}
    # its account has its name
    body["metadata"]["name"] = body["spec"]["template"]["spec"]["serviceAccountName"] = "fix-2"
    return body


def mounted(container: str, index: int, volume: str, **mount: Any) -> Callable[[Json], None]:
    return lambda body: template_of(body)["spec"][container][index]["volumeMounts"].append(
        {"name": volume, "mountPath": f"/more/{volume}", **mount}
    )


def one_fetch(body: Json) -> None:
    template_of(body)["spec"]["initContainers"].pop()


def third_fetch(body: Json) -> None:
    containers = template_of(body)["spec"]["initContainers"]
    containers.append({**containers[0], "name": "more"})


def another_secret(body: Json) -> None:
    (warehouse,) = (each for each in template_of(body)["spec"]["volumes"] if each["name"] == "secret-0")
    warehouse["secret"]["secretName"] = "others"


def same_secret(body: Json) -> None:
    for each in template_of(body)["spec"]["volumes"]:
        if "secret" in each:
            each["secret"]["secretName"] = "repository"


def writable(body: Json) -> None:
    for mount in template_of(body)["spec"]["containers"][0]["volumeMounts"]:
        mount.pop("readOnly", None)


def unlabelled_preview(body: Json) -> None:
    del body["metadata"]["labels"]["dashboards.sigeti.io/preview"]


def orphaned(body: Json) -> None:
    body["metadata"]["ownerReferences"] = [{**body["metadata"]["ownerReferences"][0], "name": "other"}]


APART = "only the init containers may mount the Secret of the repository, and only the runner that of the warehouse"
PREVIEW_PODS = {
    "a run instead": (container(args=["run"]), "the command of its image"),
    "another image": (container(image="evil:1"), "one in runner.allowedImages"),
    "another image in a fetch": (fetch(image="registry.example.org/others/velos:4"), "one in runner.allowedImages"),
    "the repository's Secret in the runner": (mounted("containers", 0, "repository", readOnly=True), APART),
    "the warehouse's Secret in a fetch": (mounted("initContainers", 0, "secret-0", readOnly=True), APART),
    "one Secret for both": (same_secret, APART),
    "one more Secret": (volume(secret={"secretName": "slack"}), APART),
    "a Secret that is not allowed": (another_secret, "only the Secrets in secrets.allowed"),
    "projects that it can change": (writable, APART),
    "one fetch": (one_fetch, "two init containers, project and base"),
    "three fetches": (third_fetch, "two init containers, project and base"),
    "a sidecar": (fetch(restartPolicy="Always"), "two init containers, project and base"),
    "another host": (address("https://git.example.com/data/velos"), "with an address in projects.allowedUrls"),
    "the account of runs": (pod(serviceAccountName="ours-runner", serviceAccount="ours-runner"), "a preview's pod that of its preview"),
    "a pod without the label": (unlabelled_pods, "a run's pod must have the label dashboards.sigeti.io/refresh"),
    "a Job without the label": (unlabelled_preview, "a preview's pod must have the label dashboards.sigeti.io/preview"),
    "another owner": (orphaned, "must be owned by the DashboardRefresh or the RefreshPreview that its label names"),
    "root": (secured(runAsUser=0, runAsNonRoot=False), "restricted"),
    "the node's files": (volume(hostPath={"path": "/"}), "may mount only its Secrets"),
}


def test_the_job_of_a_preview_can_be_created(with_previews, previews_without_policy):
    """The control of the rejections below: the operator has created it under the policy, and it can be created once more elsewhere."""
    body = preview_job(with_previews)
    for token in (with_previews, previews_without_policy):
        answer = token.answer("POST", "jobs", body=moved(body, token.operator.namespace))
        assert answer.status_code == 201, answer.text
    (job,) = with_previews.operator.api.items(with_previews.operator.namespace, "jobs", "dashboards.sigeti.io/preview=fix")
    assert with_previews.answer("DELETE", "jobs", job["metadata"]["name"]).status_code == 200


def moved(body: Json, namespace: str) -> Json:
    """Return an object for another namespace."""
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


@pytest.mark.parametrize(("change", "says"), PREVIEW_PODS.values(), ids=PREVIEW_PODS.keys())
def test_only_the_pod_of_a_preview_can_be_started_for_it(with_previews, previews_without_policy, change, says):
    """It runs code that nobody has reviewed. Without the policy, a token may start all of these."""
    body = preview_job(with_previews)
    change(body)
    answer = with_previews.answer("POST", "jobs", body=body)
    assert answer.status_code == 422
    assert says in answer.json()["message"]
    control = previews_without_policy.answer("POST", "jobs", body=moved(body, previews_without_policy.operator.namespace))
    assert control.status_code == 201, control.text


def test_the_role_of_a_preview_can_only_grant_the_status_of_that_preview(with_previews):
    """Not that of a refresh, and not that of another preview. The control is the Role as it is."""
    (role,) = with_previews.operator.api.items(with_previews.operator.namespace, "roles", "dashboards.sigeti.io/preview=fix")
    name = role["metadata"]["name"]
    assert with_previews.answer("PUT", "roles", name, role).status_code == 200
    changes: list[Json] = [
        {"resources": ["dashboardrefreshes/status"]},
        {"resourceNames": ["other"]},
        {"resourceNames": []},
        {"verbs": ["*"]},
    ]
    for change in changes:
        body = copy.deepcopy(role)
        body["rules"][0] |= change
        assert with_previews.answer("PUT", "roles", name, body).status_code in (403, 422), change
