"""Two releases that watch one namespace of a real API server: one acts on its refreshes, and the other one reports that it does not."""

from typing import Any

import httpx
import pytest

from cluster.ports import free_port
from support.operator_harness import OperatorHarness

RELEASE = "op-dashboard-refresh"
LEASE = "dashboards.sigeti.io"
QUICK = {"CLAIM_DURATION": "4s", "RECHECK": "1s"}


def image(operator: OperatorHarness, name: str) -> str:
    """Return the image of a refresh's runs, which shows the release that wrote the CronJob."""
    pod: Any = (operator.cronjob(name) or {})["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


def edited(operator: OperatorHarness, name: str) -> None:
    """Edit a refresh, and wait until the edit is observed."""
    operator.patch_spec(name, displayName="Edited")
    generation = operator.get_refresh(name)["metadata"]["generation"]
    operator.wait_for(lambda: operator.status(name)["observedGeneration"] == generation, 20, name)


def refusal(of: OperatorHarness, holder: OperatorHarness, namespace: str) -> tuple[str, str]:
    """Return the event by which a release reports that another one acts in a namespace."""
    idle, acting = (f"{each.namespace}/{RELEASE}" for each in (of, holder))
    text = f"operator {idle} does not act on this DashboardRefresh: {acting} holds Lease {LEASE} in {namespace}"
    return "OtherOperator", text


@pytest.mark.slow
def test_a_second_release_leaves_refreshes_to_the_first_until_that_is_gone(create_operator):
    """Both would replace the CronJob in turn with their own settings. The control: the second release acts later."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    first = create_operator(RUNNER_IMAGE="refresh-runner:first", **QUICK)
    listed = f"watch.namespaces={{{first.namespace}}}"
    own = {"WATCH_NAMESPACES": first.namespace, "RUNNER_IMAGE": "refresh-runner:second", "HEALTH_ENDPOINT": f"{endpoint}/healthz"}
    second = create_operator(listed, **own, **QUICK)
    first.start()
    first.create_refresh("shared")
    first.wait_until_ready("shared")
    second.start()
    first.wait_for(lambda: refusal(second, first, first.namespace) in first.events("shared"), 20, "shared")
    assert refusal(second, first, first.namespace)[1] in second.log.read_text()
    second.wait_for(lambda: second.responds(f"{endpoint}/readyz"), 10)
    assert "dashboardrefresh_ready{" not in httpx.get(f"{endpoint}/metrics", trust_env=False).text
    edited(first, "shared")
    first.request_run("shared", "one")
    first.wait_for_job("shared")
    assert image(first, "shared") == "refresh-runner:first"
    assert not any(word in second.log.read_text() for word in ("created", "replaced", "deleted"))

    first.stop()
    first.wait_for(lambda: image(first, "shared") == "refresh-runner:second", 20, "shared")
    assert 'dashboardrefresh_ready{namespace="' in httpx.get(f"{endpoint}/metrics", trust_env=False).text
    first.start()
    first.wait_for(lambda: refusal(first, second, first.namespace) in first.events("shared"), 20, "shared")
    edited(first, "shared")
    assert image(first, "shared") == "refresh-runner:second"


@pytest.mark.slow
def test_a_cluster_wide_release_yields_a_namespace_to_one_that_lists_it(create_operator):
    """Whichever was installed first. The control: the cluster-wide release acts before that."""
    wide = create_operator("watch.clusterWide=true", WATCH_CLUSTER_WIDE="true", **QUICK)
    own = create_operator(RUNNER_IMAGE="refresh-runner:own", **QUICK)
    own.create_refresh("divided")
    wide.start()
    own.wait_until_ready("divided")
    assert image(own, "divided") == "refresh-runner:test"
    own.start()
    own.wait_for(lambda: image(own, "divided") == "refresh-runner:own", 30, "divided")
    own.wait_for(lambda: refusal(wide, own, own.namespace) in own.events("divided"), 20, "divided")
    edited(own, "divided")
    own.expect_events("divided", "DefaultsChanged")
    assert own.api.get(own.namespace, "leases", LEASE)["spec"]["holderIdentity"] == f"{own.namespace}/{RELEASE}"
    own.stop()
    own.wait_for(lambda: image(own, "divided") == "refresh-runner:test", 30, "divided")
    wide.stop()


def test_an_operator_that_cannot_claim_a_namespace_does_not_act_there(create_operator):
    """It cannot know whether another one acts. It is not ready, and its log says why, until the permission is restored."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    operator = create_operator(HEALTH_ENDPOINT=f"{endpoint}/healthz", **QUICK)
    role = operator.api.get(operator.namespace, "roles", RELEASE)
    without = [rule for rule in role["rules"] if rule.get("resourceNames") != [LEASE]]
    assert len(without) == len(role["rules"]) - 1
    operator.api.patch(operator.namespace, "roles", RELEASE, {"rules": without})
    operator.create_refresh("closed", token="one")
    operator.start()
    operator.wait_for(lambda: f'leases.coordination.k8s.io \\"{LEASE}\\" is forbidden' in operator.log.read_text(), 20)
    answer = operator.wait_for(lambda: httpx.get(f"{endpoint}/readyz", trust_env=False).text, 10)
    assert answer == f"cannot read the Lease (namespace {operator.namespace})"
    assert (operator.cronjob("closed"), operator.jobs("closed")) == (None, [])
    assert operator.status("closed")["observedGeneration"] == -1
    operator.api.patch(operator.namespace, "roles", RELEASE, {"rules": role["rules"]})
    operator.wait_until_ready("closed")
    operator.wait_for_job("closed")
    operator.wait_for(lambda: operator.responds(f"{endpoint}/readyz"), 10)
    operator.stop()
