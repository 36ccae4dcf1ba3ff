"""Values of the chart that users set: unusual ones work, or are rejected with a message before anything is applied."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from support.control_plane import HAS_ADMISSION_POLICY
from support.spec_validation import FULL_SPEC

from .test_chart import CHART, Helm, of_kind, run_helm

__all__ = ["run_helm"]
EVERYTHING = {
    "page": {"enabled": True, "warehouse": {"secretName": "reader"}},
    "networkPolicy": {"enabled": True},
    "operator": {"replicas": 2},
    "admissionPolicy": {"enabled": HAS_ADMISSION_POLICY},
    "secrets": {"policy": "Listed", "allowed": ["warehouse", "slack-*"]},
    "projects": {"allowedUrls": ["https://git.example.org/data/*", "ssh://git@[2001:db8::1]:22/~a/b+?%20c/*.git"]},
    "proxy": {"http": "", "https": "http://o'$x:3128", "noProxy": '.svc,"<a>\\'},
    "refreshes": {"main": {"enabled": True}, "phase2": {"enabled": True}},
}
"""Objects whose kinds the tests' API server knows."""


def rendered(helm: Helm, values: dict[str, Any], release: str = "r", namespace: str = "ns") -> list[dict[str, Any]]:
    """Return all objects of a release with these values."""
    return [each for each in yaml.safe_load_all(helm(*words(release, namespace, values))) if each]


def words(release: str, namespace: str, values: dict[str, Any]) -> list[str]:
    # each value by itself: a null within another one means "keep the default"
    sets = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    return ["template", release, str(CHART), "-n", namespace, *sets]


def all_taken(contract: Any, objects: list[dict[str, Any]], namespace: str) -> None:
    """Assert that the API server accepts every object in a strict dry run; kubectl applies objects of one namespace at a time."""
    for place in {each["metadata"].get("namespace", namespace) for each in objects}:
        items = [each for each in objects if each["metadata"].get("namespace", namespace) == place]
        whole = {"apiVersion": "v1", "kind": "List", "items": items}
        contract.within(place)("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(whole))


@pytest.mark.parametrize("release", ["1st", "a.b", "1.2", "a" * 53, "9" * 53, "true", "null", "1e3", "0x1f", "dashboard-refresh", "x" * 34])
def test_a_release_may_have_any_name_that_helm_takes(run_helm, contract, release):
    """Names of Services begin with a letter and have no dots; labels that look like numbers or booleans stay texts."""
    objects = rendered(run_helm, EVERYTHING, release, contract.namespace)
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in objects} == {release}
    all_taken(contract, objects, contract.namespace)


@pytest.mark.parametrize("namespace", ["2026", "1e3", "true", "null", "0x1f", "n" * 63])
def test_a_namespace_may_have_any_name_that_kubernetes_takes(run_helm, contract, namespace):
    """A namespace that looks like a number or a boolean stays a text, also in the list of watched ones."""
    contract("create", "namespace", namespace)
    for watch in ([], [namespace, "default"]):
        objects = rendered(run_helm, {**EVERYTHING, "watch.namespaces": watch}, "r", namespace)
        assert {each["metadata"].get("namespace", namespace) for each in objects} <= {namespace, "default"}
        all_taken(contract, objects, namespace)


def test_names_of_secrets_are_texts(run_helm, contract):
    """Also those that YAML would read as another type."""
    secrets = ["true", "123", "1e3", "null"]
    values = {"imagePullSecrets": secrets, "page.warehouse.secretName": "2026", "caBundle.configMap": "true", "warehouse.secretName": "1"}
    objects = rendered(run_helm, {**EVERYTHING, **values}, "r", contract.namespace)
    for deployment in of_kind(objects, "Deployment").values():
        assert [each["name"] for each in deployment["spec"]["template"]["spec"]["imagePullSecrets"]] == secrets
    all_taken(contract, objects, contract.namespace)


def test_admission_policies_need_their_version_of_kubernetes(run_helm):
    """1.29 has no stable API for them, and helm would fail over an unknown kind. The control: 1.30 renders both."""
    enabled = words("r", "ns", {"admissionPolicy.enabled": True})
    refused = run_helm.attempt(*enabled, "--kube-version", "1.29.15")
    assert "admissionPolicy.enabled needs Kubernetes 1.30, and this cluster has v1.29.15" in refused.stderr
    objects = [each for each in yaml.safe_load_all(run_helm(*enabled, "--kube-version", "1.30.0")) if each]
    assert len(of_kind(objects, "ValidatingAdmissionPolicy")) == 2


@pytest.mark.parametrize("part", ["operator", "runner", "page"])
def test_a_list_without_ports_allows_none(run_helm, contract, part):
    """A rule without ports would allow all of them. The control: one port allows that port only."""
    names = {"operator": "r-dashboard-refresh", "runner": "r-dashboard-refresh-runs", "page": "r-dashboard-refresh-page"}
    for ports in ([], [5432]):
        objects = rendered(run_helm, {**EVERYTHING, f"networkPolicy.{part}Ports": ports})
        policy = of_kind(objects, "NetworkPolicy")[names[part]]
        assert all(rule.get("ports") for rule in policy["spec"]["egress"])
        assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53, *ports]
        policy["metadata"]["namespace"] = contract.namespace
        all_taken(contract, [policy], contract.namespace)


WRONG = {
    "no duration": ({"watch.resync": "0s"}, "watch.resync is 0s: write a duration"),
    "no duration in zeros": ({"watch.resync": "0h00m0s"}, "write a duration"),
    "too long a duration": ({"watch.resync": "169h"}, "write a duration"),
    "a duration without its unit": ({"watch.resync": "300"}, "/watch/resync"),
    "everything, and some": (
        {"watch.clusterWide": True, "watch.namespaces": ["a"]},
        "watch.namespaces and watch.clusterWide exclude each other",
    ),
    "an invalid namespace": ({"watch.namespaces": ["A_b"]}, "/watch/namespaces/0"),
    "a refresh that nobody watches": (
        {"watch.namespaces": ["a"], "refreshes.main.enabled": True},
        "refreshes.main is created in the release's namespace, which is not watched: add ns",
    ),
    "the writer's Secret for the page": (
        {"page.enabled": True, "page.warehouse.secretName": "warehouse"},
        "page.warehouse.secretName is the Secret of runs",
    ),
    "a link with a part that is not known": (
        {"links.runUrl": "https://x/{cluster}"},
        "links.runUrl: unknown placeholder; only {namespace}",
    ),
    "an invalid address": ({"page.url": "dashboards.example.org"}, "/page/url"),
    "an address with a blank": ({"dashboardApi.baseUrl": "http://a b"}, "/dashboardApi/baseUrl"),
    "an invalid collector": ({"tracing.endpoint": "collector:4318"}, "/tracing/endpoint"),
    "an invalid proxy": ({"proxy.https": "proxy:3128"}, "/proxy/https"),
    "a misspelt key of a refresh's spec": ({"refreshes.main.spec": {"shedule": "* * * * *"}}, "shedule"),
    "a misspelt key of resources": ({"operator.resources": {"limit": {"memory": "1Gi"}}}, "limit"),
    "a misspelt resource": ({"page.resources": {"limits": {"memroy": "1Gi"}}}, "memroy"),
    "an invalid quantity": ({"operator.resources": {"limits": {"memory": "1 GB"}}}, "/operator/resources/limits/memory"),
    "a misspelt toleration": ({"operator.tolerations": [{"key": "a", "operatr": "Exists"}]}, "operatr"),
    "a misspelt notification": ({"notifications": [{"slak": {}}]}, "slak"),
    "a misspelt peer": ({"networkPolicy.pageFrom": [{"namespaceSelektor": {}}]}, "namespaceSelektor"),
    "a peer that is nobody": ({"networkPolicy.pageFrom": [{}]}, "/networkPolicy/pageFrom/0"),
    "a misspelt selector": ({"networkPolicy.operatorFrom": [{"podSelector": {"matchLabel": {}}}]}, "matchLabel"),
    "an invalid port": ({"networkPolicy.runnerPorts": [0]}, "/networkPolicy/runnerPorts/0"),
    "null for a port": ({"networkPolicy.runnerPorts": [None]}, "/networkPolicy/runnerPorts/0"),
    "a port in quotes": ({"networkPolicy.runnerPorts": ["5432"]}, "/networkPolicy/runnerPorts/0"),
    "an invalid label": ({"monitoring.labels": {"a b": "c"}}, "/monitoring/labels"),
    "an invalid label of a node": ({"operator.nodeSelector": {"disk": "very fast"}}, "/operator/nodeSelector/disk"),
    "an invalid Secret": ({"imagePullSecrets": ["My Registry"]}, "/imagePullSecrets/0"),
    "an object for a Secret": ({"imagePullSecrets": [{"name": "registry"}]}, "/imagePullSecrets/0"),
    "a tag with a blank": ({"runner.image.tag": "1 0"}, "/runner/image/tag"),
    "a tag in the name": ({"runner.image.repository": "Runner:1"}, "/runner/image/repository"),
    "an invalid key": ({"caBundle.key": "../ca"}, "/caBundle/key"),
    "a project's address without a path": (
        {"projects.allowedUrls": ["https://git.example.org*"]},
        "/projects/allowedUrls/0",
    ),
    "a project's address without a scheme": ({"projects.allowedUrls": ["git.example.org/data/*"]}, "/projects/allowedUrls/0"),
    "a project's address of a plain scheme": ({"projects.allowedUrls": ["http://git.example.org/data/*"]}, "/projects/allowedUrls/0"),
    "a project's address as ssh writes it": ({"projects.allowedUrls": ["git@git.example.org:data/*"]}, "/projects/allowedUrls/0"),
    "two addresses in one": ({"projects.allowedUrls": ["https://a/b/*,https://c/d/*"]}, "/projects/allowedUrls/0"),
    "one address for a list": ({"projects.allowedUrls": "https://a/b/*"}, "/projects/allowedUrls"),
    "a misspelt key of projects": ({"projects.allowedURLs": ["https://a/b/*"]}, "allowedURLs"),
    "a misspelt section": ({"netwrokPolicy": {"enabled": True}}, "netwrokPolicy"),
    "a misspelt key of the policy": ({"admissionPolicy": {"enable": True}}, "enable"),
}


@pytest.mark.parametrize(("values", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_where_it_stands(run_helm, values, says):
    """With a message, or the path of the value. Control: everything else renders, below and in the other tests."""
    done = run_helm.attempt(*words("r", "ns", values))
    assert done.returncode != 0
    assert says in done.stderr
    assert "nil pointer" not in done.stderr


NULLABLE = {"global", "notifications", "admissionPolicy", "dependencies", "tracing"}
SECTIONS = sorted(set(yaml.safe_load((CHART / "values.yaml").read_text())) - NULLABLE)
LEAVES = ["watch.namespaces", "watch.resync", "networkPolicy.runnerPorts", "networkPolicy.pageFrom", "page.warehouse", "operator.image.tag"]


@pytest.mark.parametrize("path", [*SECTIONS, *LEAVES])
def test_a_value_that_was_taken_away_is_named(run_helm, path):
    """null removes a default, and no template may fail on a missing value."""
    done = run_helm.attempt(*words("r", "ns", {"networkPolicy.enabled": True, "page.enabled": True, path: None}))
    assert done.returncode != 0
    assert f"missing property '{path.rpartition('.')[2]}'" in done.stderr


@pytest.mark.parametrize("key", sorted(NULLABLE))
def test_a_value_that_may_be_left_away_may_be_null(run_helm, key):
    """Control of the rejections above."""
    assert rendered(run_helm, {key: None})


RIGHT: dict[str, dict[str, Any]] = {
    "everything": EVERYTHING,
    "a digest": {"runner.image.tag": f"0.1.0@sha256:{'0' * 64}"},
    "a registry with a port": {"runner.image.repository": "registry.example.org:5000/team/refresh-runner"},
    "an hour and a half": {"watch.resync": "1h30m"},
    "a processor as a number": {"operator.resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
    "a peer by its address": {
        "networkPolicy": {"enabled": True, "pageFrom": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}
    },
    "a peer by its labels": {"networkPolicy.pageFrom": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "proxy"}}}]},
    "a toleration": {"operator.tolerations": [{"key": "batch", "operator": "Exists", "effect": "NoSchedule"}]},
    "a link": {"links.runUrl": "https://x/{namespace}/{name}/{run}"},
    "every channel": {"notifications": FULL_SPEC["notifications"]},
    "every field of a spec": {"refreshes.main.spec": {"freshness": {"maxStaleness": "1h"}, "podTemplate": {"metadata": {}}}},
}


@pytest.mark.parametrize("values", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_value_is_taken(run_helm, contract, values):
    """By the schema, and by the API server."""
    all_taken(contract, rendered(run_helm, values, "r", contract.namespace), contract.namespace)


@pytest.mark.parametrize(
    ("values", "says", "place"),
    [
        ({}, "watches the namespace ns.", "ns"),
        ({"watch.namespaces": ["a"]}, "watches the namespace a.", "a"),
        ({"watch.namespaces": ["a", "b"]}, "watches the namespaces a, b.", "a"),
        ({"watch.namespaces": ["a", "ns"]}, "watches the namespaces a, ns.", "ns"),
        ({"watch.clusterWide": True}, "watches every namespace.", "ns"),
    ],
)
def test_the_notes_say_what_is_watched(run_helm, values, says, place):
    """The notes name the namespaces of refreshes."""
    said = run_helm(
        *[word.replace("template", "install") for word in words("r", "ns", values)[:1]], *words("r", "ns", values)[1:], "--dry-run=client"
    )
    notes = said.partition("NOTES:")[2]
    assert says in notes
    assert f"kubectl -n {place} get dashboardrefresh" in notes
