"""The chart's admission policy, on a real API server: the operator's token works only for its own objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.admission import (
    ACCOUNT,
    POD,
    Token,
    address,
    container,
    fetch,
    fetch_secured,
    fetch_variable,
    own,
    pod,
    secured,
    template_of,
    unlabelled_pods,
    variable,
    volume,
)
from support.control_plane import needs_admission_policy
from support.eventually import eventually
from support.operator_harness import POLICY, OperatorHarness

pytestmark = needs_admission_policy
Json = dict[str, Any]
FOREIGN: dict[str, Json] = {
    "cronjobs": {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {}}}}},
    "jobs": {"spec": {"template": {}}},
    "serviceaccounts": {},
    "roles": {"rules": []},
    "rolebindings": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "foreign"}, "subjects": []},
}
"""Objects of somebody else."""
ALLOWED = "https://git.example.org/data/velos.git"


def prepared(operator: OperatorHarness, **spec: Any) -> Token:
    """A namespace with a refresh that has run once, and objects of others. Its operator is stopped."""
    operator.start()
    operator.create_refresh("ours", token="one", **spec)
    operator.wait_until_ready("ours")
    job = operator.wait_for_job("ours")
    operator.end_pod(job, 0)
    operator.wait_for_history("ours", job)
    assert operator.stop() == 0
    for plural, body in FOREIGN.items():
        whole = copy.deepcopy(body) | {"metadata": {"name": "foreign"}}
        if plural == "cronjobs":
            whole["spec"]["jobTemplate"]["spec"]["template"] = {"spec": POD}
        if plural == "jobs":
            whole["spec"]["template"] = {"spec": POD}
        operator.api.create(operator.namespace, plural, whole)
    return Token(operator, operator.api.as_account(operator.namespace, ACCOUNT))


@pytest.fixture(scope="module")
def under_policy(create_operator: Callable[..., OperatorHarness]) -> Iterator[Token]:
    """The token in a cluster with the policy."""
    token = prepared(create_operator(*POLICY, "secrets.policy=Listed", "secrets.allowed={warehouse,slack*,smt?}"))
    eventually(lambda: token.answer("DELETE", "jobs", "foreign").status_code == 422, within=30)
    yield token
    token.http.close()


@pytest.fixture(scope="module")
def with_projects(create_operator: Callable[..., OperatorHarness]) -> Iterator[Token]:
    """The token with a policy that allows fetching projects, and a refresh with one. The policy applies to the operator itself."""
    allowed, hub = ("https://git.example.org/data/*", "https://hub.example.org/*"), "https://hub.example.org/"
    projects = (f"projects.allowedUrls={{{','.join(allowed)}}}", f"projects.packageHub={hub}")
    values = (*projects, "proxy.https=http://proxy:3128", "secrets.policy=Listed", "secrets.allowed={warehouse,slack,smtp,repository}")
    settings = {"PROJECTS_ALLOWED_URLS": ",".join(allowed), "PROJECTS_PACKAGE_HUB": hub, "HTTPS_PROXY": "http://proxy:3128"}
    operator = create_operator(*POLICY, *values, **settings)
    token = prepared(operator, project={"git": {"url": ALLOWED, "secretRef": {"name": "repository"}}})
    eventually(lambda: token.answer("DELETE", "jobs", "foreign").status_code == 422, within=30)
    yield token
    token.http.close()


@pytest.fixture(scope="module")
def without_policy(create_operator: Callable[..., OperatorHarness]) -> Iterator[Token]:
    """The token in a cluster without the policy."""
    token = prepared(create_operator())
    yield token
    token.http.close()


def job_of(token: Token) -> Json:
    """Return a Job like those that the operator creates."""
    cronjob = own(token, "cronjobs", "ours")
    metadata = cronjob["metadata"] | {"name": "ours-2"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": cronjob["spec"]["jobTemplate"]["spec"]}


def test_the_operator_may_write_its_own_objects(under_policy):
    """Create, change and delete. This is the control of all rejections below, with the same server and token."""
    for plural, name in (
        ("cronjobs", "ours"),
        ("serviceaccounts", "ours-runner"),
        ("roles", "ours-runner"),
        ("rolebindings", "ours-runner"),
    ):
        body = under_policy.operator.api.get(under_policy.operator.namespace, plural, name)
        assert under_policy.answer("PUT", plural, name, body).status_code == 200, plural
    assert under_policy.answer("POST", "cronjobs", body=own(under_policy, "cronjobs", "ours")).status_code == 201
    made = under_policy.answer("POST", "jobs", body=job_of(under_policy))
    assert made.status_code == 201, made.text
    (job,) = under_policy.operator.jobs("ours")
    assert under_policy.answer("DELETE", "jobs", job["metadata"]["name"]).status_code == 200


def test_a_removed_label_may_be_restored(under_policy):
    """The owner reference still shows that the operator owns the object."""
    operator = under_policy.operator
    whole = operator.api.get(operator.namespace, "cronjobs", "ours")
    operator.api.patch(operator.namespace, "cronjobs", "ours", {"metadata": {"labels": {"dashboards.sigeti.io/refresh": None}}})
    bare = operator.api.get(operator.namespace, "cronjobs", "ours")
    whole["metadata"]["resourceVersion"] = bare["metadata"]["resourceVersion"]
    assert under_policy.answer("PUT", "cronjobs", "ours", whole).status_code == 200
    assert under_policy.answer("PUT", "cronjobs", "ours", bare).status_code == 422
    operator.api.patch(operator.namespace, "cronjobs", "ours", {"metadata": {"labels": {"dashboards.sigeti.io/refresh": "ours"}}})


@pytest.mark.parametrize("plural", [each for each in FOREIGN if each != "jobs"])
def test_objects_of_others_cannot_be_changed(under_policy, without_policy, plural):
    """Adding the operator's label does not help. Without the policy, the same token may change them."""
    for token, code in ((under_policy, 422), (without_policy, 200)):
        body = token.operator.api.get(token.operator.namespace, plural, "foreign")
        assert token.answer("PUT", plural, "foreign", body).status_code == code
        body["metadata"]["labels"] = {"dashboards.sigeti.io/refresh": "ours"}
        assert token.answer("PUT", plural, "foreign", body).status_code == code


def test_jobs_of_others_cannot_be_deleted(under_policy, without_policy):
    """Without the policy, the same token may delete them."""
    assert under_policy.answer("DELETE", "jobs", "foreign").status_code == 422
    assert without_policy.answer("DELETE", "jobs", "foreign").status_code == 200


def sidecar(body: Json) -> None:
    containers = template_of(body)["spec"]["containers"]
    containers.append({**containers[0], "name": "more"})


def unlabelled(body: Json) -> None:
    body["metadata"]["labels"] = {"app": "x"}


PODS = {
    # both policies reject it, and the API server reports either one
    "no label": (unlabelled, "must have the label dashboards.sigeti.io/refresh"),
    "no label on the pods": (unlabelled_pods, "a run's pod must have the label dashboards.sigeti.io/refresh"),
    "another image": (container(image="evil:1"), "with the image refresh-runner:test or one in runner.allowedImages"),
    "an image that ends like an allowed one": (container(image="evil/registry.example.org/team/x"), "one in runner.allowedImages"),
    "another command": (container(command=["sh", "-c"]), "the command of its image"),
    "other arguments": (container(args=["shell"]), "the command of its image"),
    "a hook": (container(lifecycle={"preStop": {"exec": {"command": ["sh"]}}}), "the command of its image"),
    "a liveness probe": (container(livenessProbe={"exec": {"command": ["sh"]}}), "the command of its image"),
    "a readiness probe": (container(readinessProbe={"exec": {"command": ["sh"]}}), "the command of its image"),
    "a startup probe": (container(startupProbe={"exec": {"command": ["sh"]}}), "the command of its image"),
    "variables of a Secret": (container(envFrom=[{"secretRef": {"name": "others"}}]), "none from Secrets"),
    "a variable of a Secret": (
        variable(name="A", valueFrom={"secretKeyRef": {"name": "others", "key": "a"}}),
        "none from Secrets",
    ),
    "a variable of the linker": (variable(name="LD_PRELOAD", value="/tmp/x"), "none that change what runs"),
    "another container": (sidecar, "one container"),
    "an init container": (pod(initContainers=[{"name": "x", "image": "refresh-runner:test"}]), "one container"),
    "another account": (pod(serviceAccountName="admin"), "the ServiceAccount of its refresh"),
    "the account of another refresh": (pod(serviceAccountName="theirs-runner"), "the ServiceAccount of its refresh"),
    "the node's network": (pod(hostNetwork=True), "its node's namespaces"),
    "a node by name": (pod(nodeName="control-plane"), "nodeName"),
    "addresses of its own": (pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["dashboard-api"]}]), "hostAliases"),
    "root": (secured(runAsUser=0, runAsNonRoot=False), "restricted"),
    "privileges": (secured(allowPrivilegeEscalation=True, privileged=True), "restricted"),
    "capabilities": (secured(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), "restricted"),
    "the node's files": (volume(hostPath={"path": "/"}), "may mount only its Secrets"),
    "tokens": (volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}), "may mount only its Secrets"),
    "a claim": (volume(persistentVolumeClaim={"claimName": "others"}), "may mount only its Secrets"),
    "a ConfigMap": (volume(configMap={"name": "others"}), "may mount only its Secrets"),
    "another Secret": (volume(secret={"secretName": "others"}), "only the Secrets in secrets.allowed"),
}


@pytest.mark.parametrize("make", ["cronjobs", "jobs"])
@pytest.mark.parametrize(("change", "says"), PODS.values(), ids=PODS.keys())
def test_only_pods_of_runs_can_be_started(under_policy, without_policy, make, change, says):
    """The rejection has the policy's message. Without the policy, the same token may start all of these."""
    answers = {}
    for token in (under_policy, without_policy):
        body = own(token, "cronjobs", "ours") if make == "cronjobs" else job_of(token)
        change(body)
        answers[token is under_policy] = token.answer("POST", make, body=body)
    assert answers[True].status_code == 422
    assert says in answers[True].json()["message"]
    assert answers[False].status_code == 201, answers[False].text


@pytest.mark.parametrize("make", ["cronjobs", "jobs"])
def test_an_allowed_image_can_be_started(under_policy, make):
    """It is the refresh's own image, and matches runner.allowedImages."""
    body = own(under_policy, "cronjobs", "ours") if make == "cronjobs" else job_of(under_policy)
    container(image="registry.example.org/team/velos:3")(body)
    assert under_policy.answer("POST", make, body=body).status_code == 201


def no_address(body: Json) -> None:
    container = template_of(body)["spec"]["initContainers"][0]
    container["env"] = [each for each in container["env"] if each["name"] != "REFRESH_PROJECT_URL"]


def renamed(body: Json) -> None:
    """Rename the init container. The podFailurePolicy must not name a container that does not exist."""
    template_of(body)["spec"]["initContainers"][0]["name"] = "x"
    job = body["spec"].get("jobTemplate", body)["spec"]
    del job["podFailurePolicy"]


def second_fetch(body: Json) -> None:
    containers = template_of(body)["spec"]["initContainers"]
    containers.append({**containers[0], "name": "more"})


ONLY = "may have only the operator's variables, with an address in projects.allowedUrls"
FETCHES = {
    "another image": (fetch(image="evil:1"), "one in runner.allowedImages"),
    "another command": (fetch(command=["sh", "-c"]), "the command of its image"),
    "other arguments": (fetch(args=["run"]), "the command of its image"),
    "a sidecar with a hook": (
        fetch(restartPolicy="Always", lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
        "the command of its image",
    ),
    "a sidecar": (fetch(restartPolicy="Always"), "one init container, project"),
    "another name": (renamed, "one init container, project"),
    "a second one": (second_fetch, "one init container, project"),
    "variables of a Secret": (fetch(envFrom=[{"secretRef": {"name": "others"}}]), "none from Secrets"),
    "a variable of a Secret": (
        fetch_variable(name="RUN_ID", valueFrom={"secretKeyRef": {"name": "others", "key": "a"}}),
        "none from Secrets",
    ),
    "a variable of git": (fetch_variable(name="GIT_SSH_COMMAND", value="sh"), ONLY),
    "a variable of certificates": (fetch_variable(name="SSL_CERT_FILE", value="/run/refresh/secrets/repository/ca.crt"), ONLY),
    "another proxy": (fetch_variable(name="HTTPS_PROXY", value="http://evil:3128"), ONLY),
    "another hub": (fetch_variable(name="DBT_PACKAGE_HUB_URL", value="https://evil.example/"), ONLY),
    "more addresses of packages": (fetch_variable(name="PROJECT_ALLOWED_URLS", value="https://*/*"), ONLY),
    "another variable of dbt": (fetch_variable(name="DBT_PROFILES_DIR", value="/tmp"), ONLY),
    "a variable of the linker": (fetch_variable(name="LD_PRELOAD", value="/tmp/x"), ONLY),
    "another host": (address("https://git.example.com/data/velos"), ONLY),
    "a host that begins like an allowed one": (address("https://git.example.org.evil.example/data/velos"), ONLY),
    "a host whose letter is any": (address("https://gitxexample.org/data/velos"), ONLY),
    "another folder": (address("https://git.example.org/other/velos"), ONLY),
    "no address": (no_address, ONLY),
    "a part of a variable": (address("https://git.example.org/data/$(RUN_ID)"), ONLY),
    "a second address": (fetch_variable(name="REFRESH_PROJECT_URL", value=ALLOWED), ONLY),
    "root": (fetch_secured(runAsUser=0, runAsNonRoot=False), "restricted"),
    "privileges": (fetch_secured(allowPrivilegeEscalation=True, privileged=True), "restricted"),
    "capabilities": (fetch_secured(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), "restricted"),
    "a file system that can be written": (fetch_secured(readOnlyRootFilesystem=False), "restricted"),
}


def made(token: Token, make: str) -> Json:
    """Return a CronJob or Job of the refresh, to be created again."""
    return own(token, "cronjobs", "ours") if make == "cronjobs" else job_of(token)


@pytest.mark.parametrize("make", ["cronjobs", "jobs"])
def test_a_project_can_be_fetched_where_it_is_allowed(with_projects, make):
    """The control of the rejections below. The operator has created both under the policy, with the chart's proxy and hub."""
    body = made(with_projects, make)
    (container,) = template_of(body)["spec"]["initContainers"]
    assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container["env"]
    assert {"name": "DBT_PACKAGE_HUB_URL", "value": "https://hub.example.org/"} in container["env"]
    assert with_projects.answer("POST", make, body=body).status_code == 201
    address("https://git.example.org/data/other")(body)
    assert with_projects.answer("POST", make, body=body).status_code == 201
    del template_of(body)["spec"]["initContainers"]
    del body["spec"].get("jobTemplate", body)["spec"]["podFailurePolicy"]
    assert with_projects.answer("POST", make, body=body).status_code == 201


@pytest.mark.parametrize("make", ["cronjobs", "jobs"])
@pytest.mark.parametrize(("change", "says"), FETCHES.values(), ids=FETCHES.keys())
def test_only_the_container_that_fetches_can_be_started_before_a_run(with_projects, without_policy, make, change, says):
    """The rejection has the policy's message. Without the policy, a token may start all of these."""
    body = made(with_projects, make)
    change(body)
    answer = with_projects.answer("POST", make, body=body)
    assert answer.status_code == 422
    assert says in answer.json()["message"]
    control = without_policy.answer("POST", make, body=body)
    assert control.status_code == 201, control.text


@pytest.mark.parametrize("make", ["cronjobs", "jobs"])
def test_no_project_can_be_fetched_where_none_is_allowed(with_projects, under_policy, without_policy, make):
    """No variant of the container is allowed. The control: the same object without a policy."""
    body = made(under_policy, make)
    fetching = template_of(made(with_projects, make))["spec"]
    template_of(body)["spec"] |= {"initContainers": fetching["initContainers"], "volumes": fetching["volumes"]}
    answer = under_policy.answer("POST", make, body=body)
    assert answer.status_code == 422
    assert "a run's pod must have one container" in answer.json()["message"]
    assert without_policy.answer("POST", make, body=body).status_code == 201


RULES = {
    "more rules": {"rules": [{"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["create"]}]},
    "another refresh's status": {
        "rules": [
            {"apiGroups": ["dashboards.sigeti.io"], "resources": ["dashboardrefreshes/status"], "verbs": ["patch"], "resourceNames": ["x"]}
        ]
    },
    "every refresh's status": {
        "rules": [{"apiGroups": ["dashboards.sigeti.io"], "resources": ["dashboardrefreshes/status"], "verbs": ["patch"]}]
    },
}


@pytest.mark.parametrize("change", RULES.values(), ids=RULES.keys())
def test_a_role_can_only_grant_the_status_of_its_refresh(under_policy, without_policy, change):
    """Kubernetes itself lets the operator grant every permission that it holds."""
    for token, code in ((under_policy, 422), (without_policy, 200)):
        role = token.operator.api.get(token.operator.namespace, "roles", "ours-runner")
        assert token.answer("PUT", "roles", "ours-runner", {**role, **change}).status_code == code


def test_a_role_binding_can_only_bind_a_runs_role_to_its_account(under_policy, without_policy):
    """Neither the operator's own Role to a run, nor a run's Role to another account."""
    for token, code in ((under_policy, 422), (without_policy, 201)):
        body = own(token, "rolebindings", "ours-runner")
        body["metadata"]["name"] = "other"
        stolen = {**body, "roleRef": {**body["roleRef"], "name": ACCOUNT}}
        assert token.answer("POST", "rolebindings", body=stolen).status_code == code
        given = {**body, "subjects": [{**body["subjects"][0], "name": "default"}]}
        assert token.answer("POST", "rolebindings", body=given).status_code == code


def test_only_the_operators_own_leases_can_be_written(under_policy, without_policy):
    """These are the Leases of the leader and of the namespace. Otherwise the operator could block the leader of another controller."""
    for token, code in ((under_policy, 422), (without_policy, 201)):
        lease = {"metadata": {"name": "scheduler"}, "spec": {"holderIdentity": "x"}}
        assert token.answer("POST", "leases", body=lease).status_code == code
        for name in (ACCOUNT, "dashboards.sigeti.io"):
            body = token.operator.api.get(token.operator.namespace, "leases", name)
            assert token.answer("PUT", "leases", name, body).status_code == 200, name


def test_the_policy_does_not_restrict_other_accounts(under_policy):
    """The administrator may create what the operator may not."""
    operator = under_policy.operator
    assert operator.api.dry_run_create(operator.namespace, "serviceaccounts", {"metadata": {"name": "anybody"}})[0]
