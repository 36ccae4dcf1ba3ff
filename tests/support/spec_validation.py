"""Two validators of one spec, the API server with the CRD and the pydantic models, and specs to compare them with."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from refresh_api.names import API_VERSION, KIND
from refresh_api.spec import RefreshSpec
from support.apiserver import ApiServer

Json = dict[str, Any]
Route = tuple[str | int, ...]

_LABELS = {"matchLabels": {"team": "bi"}, "matchExpressions": [{"key": "tier-of", "operator": "In", "values": ["a", "b"]}]}
_POD_TERM = {"topologyKey": "kubernetes.io/hostname", "labelSelector": _LABELS, "namespaces": ["bi"], "namespaceSelector": _LABELS}
_PODS = {
    "requiredDuringSchedulingIgnoredDuringExecution": [_POD_TERM],
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": _POD_TERM}],
}
_NODE_TERM = {
    "matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}, {"key": "cores", "operator": "Gt", "values": ["4"]}],
    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}],
}
_NODES = {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_NODE_TERM]},
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": _NODE_TERM}],
}
_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
    "limits": {"cpu": 2, "memory": "4Gi", "ephemeral-storage": "10Gi"},
}
_POD_TEMPLATE = {
    "metadata": {"labels": {"example.org/team": "bi"}, "annotations": {"sidecar.istio.io/inject": "false", "note": "any text, é"}},
    "spec": {
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [
            {"key": "batch", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 30},
            {"operator": "Exists"},
        ],
        "affinity": {"nodeAffinity": _NODES, "podAffinity": _PODS, "podAntiAffinity": _PODS},
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "registry"}],
        "containers": [{"name": "runner", "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "TENANT"}]}],
    },
}
FULL_SPEC: Json = {
    "displayName": "Phase 2",
    "schedule": "30 2,5,8 1-15/2 jan-mar,6 MON-FRI",
    "timeZone": "Europe/Paris",
    "suspend": False,
    "suspendUntil": "2026-12-24T18:00:00Z",
    "suspendAfterFailures": 3,
    "dependsOn": [{"name": "main", "within": "2h"}, {"name": "geo", "namespace": "geodata"}],
    "warehouse": {"secretRef": {"name": "warehouse"}},
    "lock": {"policy": "Wait", "waitTimeout": "5m"},
    "image": "registry.example.org:5000/team/runner:1.2@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "project": {
        "git": {
            "url": "ssh://git@git.example.org:22/~data/velos%20dbt.git",
            "ref": {"branch": "release/2.x"},
            "path": "warehouse/dbt",
            "secretRef": {"name": "repository"},
            "packages": "Locked",
            "timeout": "2m",
        },
        "fallback": "LastGood",
        "onProjectChange": "Run",
        "interval": "1m30s",
    },
    "dbt": {"threads": 4, "target": "prod", "schema": "dwh", "vars": {"as_of": "2026-01-31", "deep": {"a": [1, None, {"b": True}]}}},
    "layers": [
        {"name": "staging", "select": ["stg_a", "tag:x"], "exclude": ["path:models/b"], "timeout": "120s", "retries": 1},
        {"name": "marts", "select": ["+mart_a"]},
    ],
    "sources": {"stalePolicy": "Warn", "timeout": "60s"},
    "tests": {
        "select": ["tag:P2"],
        "exclude": ["a"],
        "failurePolicy": "Fail",
        "timeout": "2m",
        "retries": 0,
        "failedRowsLimit": 5,
        "reuse": "Never",
    },
    "validation": {
        "maxNullShare": "10%",
        "marts": [
            {
                "relation": "dwh.mart_a",
                "keyColumns": ["zone_id", "annee"],
                "maxNullShare": "2.5%",
                "uniqueKey": ["id"],
                "recency": {"column": "day", "maxAgeDays": 3},
                "maxRowCountChange": "50%",
                "minRows": 0,
            },
            {"relation": "dwh.mart_b"},
        ],
    },
    "publish": "Swap",
    "vacuum": "Deferred",
    "unchangedPolicy": "Skip",
    "cache": {
        "baseURL": "http://dashboard-api:8000",
        "timeout": "30s",
        "endpoints": ["/api/a", "/api/b"],
        "fromExposures": True,
        "waitForReplicas": "20s",
        "version": {"header": "X-Data-Version"},
        "authorizationSecretRef": {"name": "api", "key": "token"},
    },
    "notifications": [
        {"slack": {"channel": "#alerts", "webhookSecretRef": {"name": "slack", "key": "url"}}, "when": ["Failed", "Warned", "Recovered"]},
        {"email": {"to": ["admin@sigeti.local"], "smtpSecretRef": {"name": "smtp"}}},
        {
            "teams": {"webhookSecretRef": {"name": "teams", "key": "url"}},
            "when": ["Recovered"],
            "quietHours": [{"start": "22:00", "end": "07:00"}, {"start": "00:00", "end": "24:00", "days": ["Sat", "Sun"]}],
        },
        {"googleChat": {"webhookSecretRef": {"name": "chat", "key": "url"}}},
        {
            "pagerDuty": {
                "routingKeySecretRef": {"name": "pd", "key": "key"},
                "severity": "critical",
                "url": "https://events.eu.pagerduty.com/v2/enqueue",
            },
            "when": ["Failed"],
        },
        {"alertmanager": {"secretRef": {"name": "alertmanager"}, "labels": {"severity": "page", "cluster": "eu-1"}}},
        {"webhook": {"secretRef": {"name": "hook"}, "format": "CloudEvents", "body": {"text": "$subject", "deep": [1, None, {"a": True}]}}},
    ],
    "lineage": {"url": "https://lineage.example.org/api/v1/lineage", "authorizationSecretRef": {"name": "lineage", "key": "token"}},
    "artifacts": {
        "store": {
            "s3": {
                "endpoint": "https://s3.eu-west-3.amazonaws.com",
                "bucket": "refreshes",
                "prefix": "team/prod",
                "region": "eu-west-3",
                "secretRef": {"name": "bucket"},
            }
        }
    },
    "tracing": {"headersSecretRef": {"name": "collector", "key": "headers"}},
    "freshness": {"maxStaleness": "4h"},
    "history": {"retentionDays": 30},
    "timeout": "15m",
    "retries": 2,
    "startTimeout": "5m",
    "resources": _RESOURCES,
    "podTemplate": _POD_TEMPLATE,
    "preview": {"warehouse": {"secretRef": {"name": "warehouse-preview"}}, "timeout": "30m", "maxConcurrent": 2, "resources": _RESOURCES},
}
"""A spec with every field, except those that exclude another one."""
FULL_SPEC = json.loads(json.dumps(FULL_SPEC))  # no object is shared, or one mutation would change several places


@dataclass(frozen=True)
class Verdict:
    """The results of both validators for one spec."""

    stored: Json | None
    """The spec as the API server stores it; None if it rejects the spec."""
    server_says: str
    read: RefreshSpec | None
    """The spec as the models read it; None if they reject the spec."""
    models_say: str

    @property
    def agreed(self) -> bool:
        """Return whether both accept or both reject the spec."""
        return (self.stored is None) == (self.read is None)


def validate_by_both(api: ApiServer, spec: object) -> Verdict:
    """Validate a spec by both; the API server does a dry run."""
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "checked"}, "spec": spec}
    taken, answer = api.dry_run_create("default", "dashboardrefreshes", body)
    try:
        read, says = RefreshSpec.model_validate(spec), ""
    except ValidationError as error:
        read, says = None, str(error)
    return Verdict(answer["spec"] if taken else None, "" if taken else str(answer.get("message")), read, says)


def value_at(value: Any, path: Route) -> Any:
    """Return the value at a path."""
    for key in path:
        value = value[key]
    return value


def with_value(spec: Json, path: Route, new: object) -> Json:
    """Return a copy with another value at a path."""
    changed: Json = copy.deepcopy(spec)
    value_at(changed, path[:-1])[path[-1]] = new
    return changed


_ODD = ["\x00", "\x0b", "\x1f", "\x7f", "\x85", "\xa0", "\u2003", "\u200b", "\u2028", "\ufeff", "ſ", "K", "٣", "é", "😀", "\n", "\r", "\t"]
_ASCII = list(" !\"#$%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~")
_TEXTS = ["", " ", "-", ".", "..", "a..b", "a.-b", "-a", "a-", "A", "0", "00", "1e3", "true", "null", "~", "a" * 63, "a" * 64, "a" * 254]
_TEXTS += [
    "0s",
    "1s",
    "168h",
    "168h1s",
    "0h0m1s",
    "1h30m",
    "100%",
    "100.0%",
    "100.00001%",
    "010%",
    "0.0001",
    "0.001",
    "1.5Gi",
    "2Ei",
    "1Ei",
]
_TEXTS += ["1" * 19, "9" * 33, "* * * * *", "* * * * 7", "*/0 * * * *", "0 0 31 2-6/2 *", "0 0 31 4-5 ?", "5-1 * * * *", "0 0 * * sat-sun"]
_TEXTS += [
    "Etc/UTC",
    "posix/Etc/UTC",
    "right/UTC",
    "Local",
    "localtime",
    "EST5EDT",
    "etc/utc",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:00Z",
]
_TEXTS += [
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00Z",
    "2026-01-01T00:00:00+23:59",
    "2026-01-01T00:00:00.5Z",
]
_TEXTS += ["https://a/b", "https://a/../b", "https://a:b@c/d", "ssh://a@b/c", "a@b:c", "../a", "./a", "a/.", "0" * 40, "f" * 64]
_TEXTS += ["http://", "https://a?b", "a@b@c", "#", "@x", "/", "app", "kubernetes.io/x", "x.k8s.io/y", "PATH", "_x", "lower_case"]
_OTHERS = [None, True, False, 0, 1, -1, 1.0, 1.5, 10**15, 2**63, [], {}, [None], {"a": None}, "1", "true"]


def _tweaked(text: str) -> st.SearchStrategy[str]:
    """Generate texts that differ in one character."""
    letters = st.sampled_from(_ODD + _ASCII)
    where = st.integers(0, len(text))
    inserted = st.builds(lambda letter, index: text[:index] + letter + text[index:], letters, where)
    return st.one_of(inserted, letters.map(lambda letter: text + letter), letters.map(lambda letter: letter + text))


def _mutated_list(value: list[Any]) -> st.SearchStrategy[Any]:
    choices = [[], [*value, None], value * 2, value * 120]
    return st.sampled_from(choices + [[*value, f"x{number}"] for number in range(2)])


def _mutated_map(value: Json) -> st.SearchStrategy[Any]:
    smaller = [{name: each for name, each in value.items() if name != gone} for gone in value]
    bigger = [value | {f"k{number}": "v" for number in range(size)} for size in (1, 32, 33, 64, 65)]
    keys = st.sampled_from(_ODD + _ASCII + _TEXTS).map(lambda key: value | {key: "v"})
    return st.one_of(st.sampled_from([*smaller, *bigger, value | {"null": None}]), keys)


@st.composite
def _routes(draw: st.DrawFn, spec: Json) -> Route:
    """Generate a path in a spec; siblings are equally likely, whatever their size."""
    path: Route = (draw(st.sampled_from(sorted(spec))),)
    while (value := value_at(spec, path)) and isinstance(value, dict | list) and draw(st.integers(0, 4)):
        path = (*path, draw(st.sampled_from(sorted(value, key=str) if isinstance(value, dict) else range(len(value)))))
    return path


@st.composite
def mutants(draw: st.DrawFn) -> Json:
    """Generate specs that differ from the full one in one or two places."""
    spec = copy.deepcopy(FULL_SPEC)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(_routes(spec))
        value = value_at(spec, path)
        options: list[st.SearchStrategy[Any]] = [st.sampled_from(_OTHERS), st.sampled_from(_TEXTS)]
        if isinstance(value, str):
            options += [_tweaked(value)] * 3
        elif isinstance(value, bool):
            options.append(st.just(not value))
        elif isinstance(value, int):
            options += [st.integers(-2, 200), st.just(float(value)), st.just(str(value))]
        elif isinstance(value, list):
            options += [_mutated_list(value)] * 2
        elif isinstance(value, dict):
            options += [_mutated_map(value)] * 2
        spec = with_value(spec, path, draw(st.one_of(options)))
    return spec


def as_ascii(spec: object) -> str:
    """Return a spec as ASCII JSON, so that odd characters are visible."""
    return json.dumps(spec, ensure_ascii=True)
