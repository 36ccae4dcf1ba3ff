"""The test cluster itself: DNS, Services, exec, logs and memory limits work, and nothing leaves the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster.engine.engine import Engine
from cluster.paths import paths_of
from support.eventually import eventually
from support.kubectl import Kubectl
from support.pods import in_server, serve

_NAMESPACE = "smoke"
_HUNGRY = """
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
    - name: hungry
      image: IMAGE
      imagePullPolicy: IfNotPresent
      command: [python3, -c, "bytearray(300_000_000)"]
      resources: {limits: {memory: 64Mi}}
"""


@pytest.fixture(scope="module")
def image(cluster) -> str:
    """An image with Python that is loaded into the cluster."""
    return cluster.load()["refresh-examples"]


@pytest.fixture(scope="module")
def pods(cluster, image: str) -> Iterator[Kubectl]:
    """A namespace with a server pod."""
    kubectl = Kubectl(cluster.kubeconfig, _NAMESPACE, str(paths_of(os.environ).tools / "kubectl"))
    kubectl.attempt("delete", "namespace", _NAMESPACE, "--wait=true", timeout=120)
    kubectl("create", "namespace", _NAMESPACE)
    serve(kubectl, image)
    yield kubectl
    kubectl("delete", "namespace", _NAMESPACE, "--wait=false")


def test_a_pod_reaches_a_service_by_name_and_its_log_can_be_read(pods: Kubectl) -> None:
    """Every other test relies on DNS, kube-proxy, exec and logs."""
    fetch = "import urllib.request as r; print(r.urlopen('http://web/hosts', timeout=10).read().decode())"
    eventually(lambda: "localhost" in in_server(pods, fetch), within=60)
    eventually(lambda: "GET /hosts" in pods("logs", "server"), within=60)


def test_nothing_leaves_the_machine(pods: Kubectl, cluster) -> None:
    """Addresses outside are unreachable and names outside do not resolve, while the Service still answers."""
    closed = os.environ.get("DOCKER_HOST") == Engine(paths_of(os.environ)).host
    if cluster.kind != "embedded" and not closed:
        pytest.skip("only the embedded cluster, and an engine of our own, have no way out")
    connect = """
import socket
try: socket.create_connection(("{}", {}), timeout=10); print("open")
except OSError as error: print(type(error).__name__)
"""
    eventually(lambda: in_server(pods, connect.format("web", 80)) == "open", within=60)
    # a network of Docker's drops what has no way out, and the embedded cluster's refuses it
    assert in_server(pods, connect.format("192.0.2.1", 80)) in ("OSError", "TimeoutError")
    assert in_server(pods, connect.format("example.org", 80)) == "gaierror"


def test_a_pod_over_its_memory_limit_is_killed_and_said_to_be(pods: Kubectl, image: str) -> None:
    """The runner's OOM tests rely on kubectl showing OOMKilled."""
    pods.apply(_HUNGRY.replace("IMAGE", image))
    template = "--output=jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    eventually(lambda: pods("get", "pod", "hungry", template) == "OOMKilled", within=60)
