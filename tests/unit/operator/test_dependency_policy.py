"""On refreshes of which namespaces a refresh may depend: none but its own, until the chart allows more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from refresh_api.spec import Dependency
from refresh_operator.dependency_policy import NO_DEPENDENCIES, DependencyRules
from refresh_operator.reconcile.decision import decide
from support.snapshots import NOW, SETTINGS, build_refresh, build_snapshot, condition_of

RULES = DependencyRules(("core", "team-*"))
NOT_ALLOWED = "is not allowed by dependencies.allowedNamespaces of the operator's chart"


def denied(rules: DependencyRules, *dependencies: Dependency) -> str | None:
    denial = rules.denial("ventes", "phase2", list(dependencies))
    return denial.message if denial else None


def on(name: str, namespace: str | None = None) -> Dependency:
    return Dependency(name=name, namespace=namespace)


@pytest.mark.parametrize("rules", [NO_DEPENDENCIES, RULES])
def test_its_own_namespace_is_always_allowed(rules: DependencyRules) -> None:
    """Also if it is written out."""
    assert denied(rules, on("main"), on("geo", "ventes")) is None


@pytest.mark.parametrize("namespace", ["core", "team-a"])
def test_a_namespace_is_allowed_by_a_pattern(namespace: str) -> None:
    """The control: without the pattern it is denied."""
    assert denied(RULES, on("phase2", namespace)) is None
    assert denied(NO_DEPENDENCIES, on("phase2", namespace)) == f"spec.dependsOn[0]: namespace {namespace} {NOT_ALLOWED}: it allows none"


@pytest.mark.parametrize("namespace", ["core2", "a-core", "team", "kube-system"])
def test_any_other_namespace_is_denied_with_its_place(namespace: str) -> None:
    """The message says which entry is meant, and what is allowed."""
    assert denied(RULES, on("main"), on("geo", namespace)) == (
        f"spec.dependsOn[1]: namespace {namespace} {NOT_ALLOWED}: allowed are core, team-*"
    )


def test_a_refresh_cannot_depend_on_itself() -> None:
    """It would never run. The API server does not know the namespace of an object, so it accepts this one."""
    assert denied(DependencyRules(("*",)), on("phase2", "ventes")) == "spec.dependsOn[0]: a refresh cannot depend on itself"


def test_a_denied_dependency_stalls_the_refresh() -> None:
    """Run without the check, it could feed old data into new marts. The control is the same refresh without the denial."""
    refresh = build_refresh(dependsOn=[{"name": "main", "namespace": "core"}])
    snapshot = build_snapshot(refresh, objects={})
    denial = NO_DEPENDENCIES.denial(refresh.ref.namespace, refresh.ref.name, [on("main", "core")])
    assert denial
    stalled, fine = (decide(each, SETTINGS, NOW) for each in (replace(snapshot, denial=denial), snapshot))
    assert stalled.status
    assert fine.status
    assert condition_of(stalled.status, "Ready") == ("False", "DependencyNotAllowed", denial.message)
    assert condition_of(stalled.status, "Stalled")[0] == "True"
    assert condition_of(stalled.status, "Suspended")[:2] == ("True", "DependencyNotAllowed")
    assert condition_of(fine.status, "Ready")[0] == "True"
    cronjobs: list[Any] = [next(each for each in found.create if each["kind"] == "CronJob") for found in (stalled, fine)]
    suspended = [each["spec"]["suspend"] for each in cronjobs]
    assert suspended == [True, False]
