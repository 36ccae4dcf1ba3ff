"""A refresh that depends on one of another namespace is stalled until the operator's patterns allow that namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.operator_harness import OperatorHarness


def test_a_dependency_runs_where_its_namespace_is_allowed(create_operator: Callable[..., OperatorHarness]) -> None:
    """A denied one starts nothing, and the request stays queued. The same operator runs a refresh whose dependency is allowed."""
    operator = create_operator(DEPENDENCIES_ALLOWED_NAMESPACES="core,team-*")
    operator.start()
    operator.create_refresh("allowed", token="one", dependsOn=[{"name": "allowed", "namespace": "core"}])
    operator.create_refresh("denied", token="one", dependsOn=[{"name": "main", "namespace": "elsewhere"}])
    operator.wait_for_job("allowed")
    operator.wait_for(lambda: operator.condition("denied", "Ready") == ("False", "DependencyNotAllowed"), 20, "denied")
    assert operator.condition("denied", "Suspended") == ("True", "DependencyNotAllowed")
    assert operator.status("denied")["phase"] == "Stalled"
    assert operator.status("denied")["message"].startswith("spec.dependsOn[0]: namespace elsewhere is not allowed")
    cronjob: Any = operator.cronjob("denied")
    assert (cronjob["spec"]["suspend"], operator.jobs("denied")) == (True, [])
    operator.expect_events("denied", "DependencyNotAllowed")
    operator.patch_spec("denied", dependsOn=[{"name": "main", "namespace": "team-a"}])
    operator.wait_for_job("denied")
    operator.wait_for(lambda: not (operator.cronjob("denied") or {})["spec"]["suspend"], 20, "denied")
    operator.wait_for(lambda: operator.condition("denied", "Ready")[0] == "True", 20, "denied")
