"""A kind cluster, for machines with a Docker engine."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.builders import Docker
from cluster.embedded.binaries import HELM_PROGRAM, KIND, KUBE, build, link_tools, place_of
from cluster.embedded.control_plane import locked
from cluster.errors import ClusterError
from cluster.forwards import Forwards
from cluster.homes import name_in_docker, prefix_in_docker, record_kind
from cluster.images import build_images
from cluster.kubectl import link_suitable_kubectl, own_program
from cluster.once import run_logged
from cluster.paths import Paths

_UP_LIMIT = 600.0  # seconds; the node's image is pulled the first time
_LOAD_LIMIT = 300.0
_LIST_LIMIT = 60.0
_HOST = "docker-host"


class KindCluster:
    """One kind cluster of this checkout."""

    kind = "kind"

    def __init__(self, paths: Paths, name: str, environment: Mapping[str, str] = os.environ) -> None:
        self._paths = paths
        self._environment = environment
        self.home = paths.clusters / name
        self.name = name_in_docker(paths.state, name)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.home / "kubeconfig"

    def up(self) -> None:
        """Create the cluster; do nothing if it runs."""
        with locked(self.home):
            if self.alive():
                link_suitable_kubectl(self._paths, self.kubeconfig)
                return
            arguments = create_arguments(self.name, self.kubeconfig, self._environment)
            record_kind(self.home, self.kind)
            (self.home / _HOST).write_text(self._environment.get("DOCKER_HOST", ""))
            tools(self._paths)
            self._kind("delete", "cluster", f"--name={self.name}")  # a dead one's remains
            print("cluster: creating a kind cluster (a minute; the node's image is pulled the first time)", flush=True)
            self._kind(*arguments)
            link_suitable_kubectl(self._paths, self.kubeconfig)

    def alive(self) -> bool:
        """Return whether the API server answers."""
        return self.kubeconfig.exists() and reachable(str(self._paths.tools / "kubectl"), self.kubeconfig)

    def load(self) -> dict[str, str]:
        """Build the changed images, and load those that the nodes do not have."""
        references = build_images(self._paths, Docker(self._paths))
        present = self._images()
        missing = [reference for reference in references.values() if f"docker.io/library/{reference}" not in present]
        tags = [tag for reference in missing for tag in (reference, f"{reference.partition(':')[0]}:dev")]
        if tags:
            self._kind("load", "docker-image", *tags, f"--name={self.name}", limit=_LOAD_LIMIT)  # at once, since they share layers
        return references

    def _images(self) -> set[str]:
        """Return the images that all nodes have; kind itself asks crictl, which not every node's image has."""
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        nodes = _output(["docker", "ps", "--quiet", f"--filter={label}"]).split()
        listed = [
            set(_output(["docker", "exec", node, "ctr", "--namespace=k8s.io", "images", "list", "--quiet"]).split()) for node in nodes
        ]
        return set.intersection(*listed) if listed else set()

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Forward a port of this machine to a Service."""
        return Forwards(self.home, str(self._paths.tools / "kubectl")).open(self.kubeconfig, service, namespace, port, host_port)

    def down(self) -> None:
        """Delete the cluster."""
        if not self.home.exists():
            return
        with locked(self.home):
            Forwards(self.home, "kubectl").close()
            self._kind("delete", "cluster", f"--name={self.name}")
            shutil.rmtree(self.home)
        self.home.with_suffix(".lock").unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete the cluster's folder, after its engine was removed with all containers."""
        Forwards(self.home, "kubectl").close()
        shutil.rmtree(self.home)
        self.home.with_suffix(".lock").unlink(missing_ok=True)

    def is_on(self, host: str) -> bool:
        """Return whether the cluster was created on the engine at this address."""
        file = self.home / _HOST
        return file.exists() and file.read_text() == host

    def _kind(self, *arguments: str, limit: float = _UP_LIMIT) -> None:
        _run(shutil.which("kind") or str(build(KIND, self._paths.cache)), arguments, self.home / "kind.log", limit)


def create_arguments(name: str, kubeconfig: Path, environment: Mapping[str, str]) -> list[str]:
    """Return kind's arguments that create a cluster: REFRESH_KIND_IMAGE is the node's image, REFRESH_KIND_CONFIG a file of kind's own."""
    arguments = ["create", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}", "--wait=180s"]
    if image := environment.get("REFRESH_KIND_IMAGE"):
        arguments.append(f"--image={image}")
    if config := environment.get("REFRESH_KIND_CONFIG"):
        if not Path(config).is_file():
            raise ClusterError(f"REFRESH_KIND_CONFIG={config} is not a file", "see kind's documentation for its format")
        arguments.append(f"--config={config}")
    return arguments


def kind_clusters(paths: Paths) -> list[str]:
    """Return the names of this checkout's kind clusters, also of those whose folder was lost."""
    program = _present(paths)
    if program is None:  # then it made none either
        return []
    done = subprocess.run([program, "get", "clusters"], capture_output=True, text=True, timeout=_LIST_LIMIT, check=False)
    return [name for name in done.stdout.split() if name.startswith(prefix_in_docker(paths.state))]


def delete_kind_cluster(paths: Paths, name: str) -> None:
    """Delete a kind cluster by its name in Docker."""
    program = _present(paths)
    assert program
    paths.state.mkdir(exist_ok=True)
    _run(program, ["delete", "cluster", f"--name={name}"], paths.state / "kind.log", _UP_LIMIT)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_LIST_LIMIT, check=False).stdout


def _present(paths: Paths) -> str | None:
    built = place_of(KIND, paths.cache)
    return shutil.which("kind") or (str(built) if built.exists() else None)


def _run(program: str, arguments: Sequence[str], log: Path, limit: float) -> None:
    remedy = "see that `docker info` answers and has room; REFRESH_CLUSTER chooses another kind of cluster"
    run_logged([program, *arguments], log, limit, f"kind {arguments[0]}", remedy)


def tools(paths: Paths) -> None:
    """Put `kubectl` and `helm` into the tools' folder: those of the machine, or else built ones."""
    kubectl, helm = own_program("kubectl", paths.tools), own_program("helm", paths.tools)
    link_tools(paths.tools, kubectl or build(KUBE, paths.cache), helm or build(HELM_PROGRAM, paths.cache))


def reachable(kubectl: str, kubeconfig: Path) -> bool:
    """Return whether the API server of a kubeconfig answers within five seconds."""
    command = [kubectl, f"--kubeconfig={kubeconfig}", "--request-timeout=5s", "get", "--raw=/readyz"]
    try:
        return subprocess.run(command, capture_output=True, timeout=15, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
