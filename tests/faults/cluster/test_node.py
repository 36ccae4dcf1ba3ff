"""The embedded cluster after crashes: killed components are restarted, and a crashed cluster leaves no trace."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.builders import Buildah
from cluster.docker import docker_answers
from cluster.embedded.full import EmbeddedCluster, cgroup_of
from cluster.images import EXAMPLES, build_images
from cluster.local import build_programs
from cluster.paths import paths_of
from cluster.preflight import ensure
from cluster.seam import chosen_kind
from support.eventually import eventually
from support.kubectl import Kubectl
from support.pods import serve

if chosen_kind(os.environ.get("REFRESH_CLUSTER", ""), docker=docker_answers()) != "embedded":
    pytest.skip("these tests are about the embedded cluster, and this machine uses another kind", allow_module_level=True)

PATHS = paths_of(os.environ)


class Node:
    """A running embedded cluster with kubectl."""

    def __init__(self, name: str) -> None:
        ensure(PATHS, "embedded")
        self.programs = build_programs(PATHS)
        self.cluster = EmbeddedCluster(PATHS.clusters / name)
        self.kubectl = Kubectl(self.cluster.kubeconfig, "default", str(PATHS.tools / "kubectl"))

    def up(self) -> None:
        """Start the cluster, or repair it."""
        self.cluster.up(self.programs)

    def inhabitants(self) -> list[psutil.Process]:
        """Return all processes in the node's PID namespace, including process 1 and those of pods."""
        init = self.cluster.processes.find("node")
        assert init
        inside = below(init.pid)
        assert len(inside) >= 10
        return inside


def below(init: int) -> list[psutil.Process]:
    """Return the processes of a PID namespace and of nested ones, by namespace or descent."""
    family = {init} | {child.pid for child in psutil.Process(init).children(recursive=True)}
    ours = namespace(init)
    return [psutil.Process(pid) for pid in psutil.pids() if pid in family or namespace(pid) == ours]


def namespace(pid: int) -> str:
    """Return the kernel's name of a process's PID namespace; empty where the process has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def traces(home: Path, inhabitants: list[psutil.Process]) -> list[str]:
    """Return what a cluster in `home` left on the machine; namespaces and mounts end with their last process."""
    left = [str(process) for process in inhabitants if process.is_running()]
    left += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line]
    left += [str(place) for place in Path("/sys/fs/cgroup").glob(f"**/{cgroup_of(home)}")]
    left += [str(home)] if home.exists() else []
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True, timeout=10).stdout
    return left + [line for line in links.splitlines() if "nowhere" in line]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A separate cluster for these tests, with a server pod."""
    node = Node("smoke")
    try:
        node.up()
        reference = build_images(PATHS, Buildah(PATHS))[EXAMPLES.name]
        node.cluster.load_image(Buildah(PATHS).archive(EXAMPLES, reference.partition(":")[2]))
        serve(node.kubectl, reference)
        yield node
    finally:
        node.cluster.down()


def test_an_exposed_service_answers_on_loopback_also_after_the_relay_died(node: Node) -> None:
    """The exposed port leads to the Service again after `up` has restarted the relay."""
    port = node.cluster.expose("web", "default", 80)
    assert node.cluster.expose("web", "default", 80) == port
    # a pod is Ready some moments before its Service routes to it
    assert eventually(lambda: answers(port), within=20)
    node.cluster.stop_component(f"relay-{port}")
    assert not answers(port)  # the relay is dead
    node.up()
    assert eventually(lambda: answers(port), within=5)


def answers(port: int) -> bool:
    """Return whether the server's files are served at a port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hosts", timeout=10) as answer:
            return b"localhost" in answer.read()
    except OSError:
        return False


def test_a_killed_component_is_started_again_and_nothing_is_lost(node: Node) -> None:
    """After kubelet and API server were killed, `up` makes the node Ready again with the same pod."""
    before = node.kubectl("get", "pod", "server", "--output=jsonpath={.metadata.uid}")
    for name in ("kubelet", "kube-apiserver"):
        node.cluster.stop_component(name)
    node.up()
    node.kubectl("wait", "node/node", "--for=condition=Ready", "--timeout=60s", timeout=90)
    assert node.kubectl("get", "pod", "server", "--output=jsonpath={.metadata.uid}") == before


def test_a_crashed_cluster_starts_anew_and_ends_without_a_trace_beside_a_live_one(node: Node) -> None:
    """Process 1 killed and half of the state gone: `up` works, `down` leaves nothing, and a neighbour is not affected."""
    other = Node("smoke-2")
    try:
        other.up()
        crashed = other.inhabitants()
        init = other.cluster.processes.find("node")
        assert init
        psutil.Process(init.pid).kill()
        (other.cluster.home / "exposed.json").unlink()
        other.up()
        assert not [process for process in crashed if process.is_running()]
        lived = other.inhabitants()
    finally:
        other.cluster.down()
    assert traces(other.cluster.home, lived) == []
    assert traces(node.cluster.home, node.inhabitants()) != []
    assert "server" in node.kubectl("get", "pods", "--field-selector=status.phase=Running", "--output=name")
