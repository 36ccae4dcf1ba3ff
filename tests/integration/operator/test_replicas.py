"""Leader election between two operators of one release, on a real API server."""

import signal

import httpx
import pytest

from cluster.ports import free_port
from support.operator_harness import OperatorHarness


def probe(replica: OperatorHarness, path: str) -> str:
    """Return the response of a probe, with the prefix 503 if it fails; empty if nothing responds."""
    address = replica.settings["HEALTH_ENDPOINT"].replace("healthz", path)
    try:
        answer = httpx.get(address, trust_env=False, timeout=5)
    except httpx.TransportError:
        return ""
    return answer.text if answer.is_success else f"503 {answer.text}"


@pytest.fixture
def two(fresh_operator):
    """The leader and the standby."""
    replicas = [fresh_operator.replica(name, free_port()) for name in ("first", "second")]
    replicas[0].start()
    fresh_operator.wait_for(lambda: probe(replicas[0], "readyz") == "ok", 20)
    replicas[1].start()
    fresh_operator.wait_for(lambda: probe(replicas[1], "readyz").startswith("ok"), 20)
    yield replicas
    for each in replicas:
        each.stop(signal.SIGKILL)


def test_a_standby_takes_over_when_the_leader_stops(two):
    """Probes and metrics show the leader. A leader that stops releases the Lease, so that the standby need not wait for its expiry."""
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


def test_a_leader_that_lost_the_lease_exits_and_a_standby_stops_on_sigterm(two):
    """The exit codes are 1, for a restart, and 0. A deleted Lease is recreated by its holder."""
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
    # An operator releases only a Lease that it holds.
    assert holder() == "somebody"
