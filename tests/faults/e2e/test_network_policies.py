"""The chart's NetworkPolicies on a network that enforces them: runs succeed, and what they do not need is blocked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cluster.local import LocalCluster
from cluster.seam import Cluster
from support.eventually import eventually
from support.git_in_cluster import ALLOWED
from support.installation import Installation
from support.real_cluster import assert_recovers

RUNS = {443: "the API server", 6443: "its pods", 5432: "the warehouse", 8000: "the dashboards' API", 8080: "Slack", 8025: "mail"}
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()
except OSError:
    print("closed")
else:
    print("open")
"""
_LISTEN = "import socket, time; s = socket.create_server(('', 9000)); time.sleep(3600)"
_SECURED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_RESTRICTED = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


@dataclass(frozen=True)
class Pod:
    """A pod that listens on port 9000 and tries connections."""

    installation: Installation
    name: str

    @property
    def address(self) -> str:
        """Return its IP address."""
        address: str = self.installation.kubectl.json("pod", self.name)["status"]["podIP"]
        return address

    def reaches(self, address: str, port: int) -> bool:
        """Return whether it can connect."""
        return self.installation.kubectl("exec", self.name, "--", "python3", "-c", _CONNECT, address, str(port)).strip() == "open"


@pytest.fixture(scope="module")
def enforced(cluster: Cluster, installation: Installation) -> Iterator[Installation]:
    """The release with NetworkPolicies, on a network that enforces them."""
    if not isinstance(cluster, LocalCluster):
        pytest.skip("only the embedded cluster's network is known to enforce NetworkPolicies")
    cluster.enforce_network_policies()
    installation.create_page_role()
    install(installation, *RUNS)
    yield installation
    installation.install_operator(ALLOWED)


def install(installation: Installation, *ports: int) -> None:
    """Install the release; runs may connect to these ports, and only pods of the app `monitor` to operator and page."""
    peers = [f"networkPolicy.{part}From[0].podSelector.matchLabels.app=monitor" for part in ("operator", "page")]
    listed = f"networkPolicy.runnerPorts={{{','.join(map(str, ports))}}}"
    installation.install_operator(ALLOWED, "networkPolicy.enabled=true", listed, *peers, "page.enabled=true")


@pytest.fixture(scope="module")
def pods(enforced: Installation) -> Iterator[dict[str, Pod]]:
    """One pod with the label of runs, one of the app `monitor`, and a stranger."""
    labels = {"run": {"dashboards.sigeti.io/refresh": "main"}, "monitor": {"app": "monitor"}, "stranger": {"app": "stranger"}}
    for name, each in labels.items():
        container = {
            "name": "probe",
            "image": "refresh-examples:dev",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", _LISTEN],
            "securityContext": _SECURED,
            "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1},
        }
        spec = {"containers": [container], "securityContext": _RESTRICTED, "terminationGracePeriodSeconds": 0}
        metadata = {"name": f"probe-{name}", "labels": each}
        enforced.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    names = {name: f"probe-{name}" for name in labels}
    enforced.kubectl("wait", *[f"pod/{name}" for name in names.values()], "--for=condition=Ready", "--timeout=60s", timeout=90)
    yield {name: Pod(enforced, pod) for name, pod in names.items()}
    enforced.kubectl("delete", "pod", *names.values(), "--wait=true")


def test_only_allowed_connections_are_possible(enforced: Installation, pods: dict[str, Pod]):
    """From a run only to the listed ports, and to it none at all; to operator and page only from their peers.

    The control of each blocked connection is the same one from or to a pod that no policy restricts.
    """
    run, monitor, stranger = pods["run"], pods["monitor"], pods["stranger"]
    eventually(lambda: not run.reaches(stranger.address, 9000), within=60)  # the policies act a moment after they are applied
    operator = enforced.kubectl.json("pods", "-l", "app.kubernetes.io/name=dashboard-refresh")["items"][0]["status"]["podIP"]
    page = enforced.kubectl.json("pods", "-l", "app.kubernetes.io/name=dashboard-refresh-page")["items"][0]["status"]["podIP"]
    assert [run.reaches("warehouse", 5432), run.reaches("dashboard-api", 8000), stranger.reaches(monitor.address, 9000)] == [True] * 3
    assert [stranger.reaches(run.address, 9000), monitor.reaches(run.address, 9000)] == [False] * 2
    assert [pod.reaches(operator, 8080) for pod in (monitor, stranger)] == [True, False]
    assert [pod.reaches(page, 4200) for pod in (monitor, stranger)] == [True, False]


def test_a_run_needs_only_the_listed_ports(enforced: Installation):
    """It fetches nothing: it builds, publishes, calls the API and writes its status."""
    assert_recovers(enforced, "main")


def test_a_run_without_the_port_of_the_warehouse_fails_and_says_so(enforced: Installation, apply_phase2):
    """The control of the test before: the policy acts on real runs."""
    install(enforced, *(port for port in RUNS if port != 5432))
    name = apply_phase2(retries=0, timeout="60s")
    enforced.request_run(name, "blocked")
    done = enforced.wait_for_run(name, "blocked")
    assert (done["outcome"], done["reason"]) == ("Failed", "WarehouseUnreachable"), done
    install(enforced, *RUNS)
    assert_recovers(enforced, name)
