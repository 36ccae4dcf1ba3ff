"""Two operators of one release: one works, the other one takes over; on a real API server."""

import signal

import httpx
import pytest

from cluster.ports import free_port
from support.operator_harness import OperatorHarness


def probe(replica: OperatorHarness, path: str) -> str:
    """What a probe says, with 503 before it where it fails; empty where nobody answers."""
    address = replica.settings["HEALTH_ENDPOINT"].replace("healthz", path)
    try:
        answer = httpx.get(address, trust_env=False, timeout=5)
    except httpx.TransportError:
        return ""
    return answer.text if answer.is_success else f"503 {answer.text}"


@pytest.fixture
def two(fresh_operator):
    """The one that works, and the one that stands by."""
    replicas = [fresh_operator.replica(name, free_port()) for name in ("first", "second")]
    replicas[0].start()
    fresh_operator.wait_for(lambda: probe(replicas[0], "readyz") == "ok", 20)
    replicas[1].start()
    fresh_operator.wait_for(lambda: probe(replicas[1], "readyz").startswith("ok"), 20)
    yield replicas
    for each in replicas:
        each.stop(signal.SIGKILL)


def test_one_works_and_the_other_takes_over_when_it_ends(two):
    """Both say so in their probes and figures; an operator that is told to end gives the Lease back, so that nothing waits."""
    first, second = two
    assert probe(second, "readyz") == "ok, standing by for first"
    assert probe(second, "healthz").startswith("ok")
    first.create_refresh("handed-over")
    first.wait_until_ready("handed-over")
    assert "dashboardrefresh_operator_works 1.0" in probe(first, "metrics")
    assert "dashboardrefresh_ready" in probe(first, "metrics")
    assert "dashboardrefresh_operator_works 0.0" in probe(second, "metrics")
    assert "dashboardrefresh_ready{" not in probe(second, "metrics")
    assert first.stop() == 0
    first.patch_spec("handed-over", schedule="7 7 1 1 *")
    second.wait_for(lambda: second.cronjob("handed-over")["spec"]["schedule"] == "7 7 1 1 *", 6, "handed-over")
    assert probe(second, "readyz") == "ok"
    lease = second.api.get(second.namespace, "leases", "op-dashboard-refresh")["spec"]
    assert (lease["holderIdentity"], lease["leaseTransitions"]) == ("second", 3)


def test_one_that_was_taken_over_ends_and_one_that_waits_ends_when_told(two):
    """With 1, for Kubernetes to start it anew; the other with 0. A Lease deleted by hand is made again by its holder."""
    first, second = two
    first.api.delete(first.namespace, "leases", "op-dashboard-refresh")

    def holder() -> str:
        return ((first.api.get(first.namespace, "leases", "op-dashboard-refresh") or {}).get("spec") or {}).get("holderIdentity", "")

    first.wait_for(holder, 10)
    working, waiting = (first, second) if holder() == "first" else (second, first)
    assert waiting.stop() == 0
    working.api.patch(first.namespace, "leases", "op-dashboard-refresh", {"spec": {"holderIdentity": "somebody"}})
    assert working.wait(15) == 1
    assert "is now held by somebody" in first.log.read_text()
    # It gives back what it holds, and never what another one has taken.
    assert holder() == "somebody"
