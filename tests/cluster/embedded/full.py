"""A complete Kubernetes with one node: control plane, kubelet, containerd, kube-proxy and DNS, in their own namespaces. Needs root."""

import json
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cluster.embedded import components, node_files
from cluster.embedded.components import Plane
from cluster.embedded.control_plane import READY, SERVICE_NAMES, answers, locked, write_credentials, write_kubeconfig
from cluster.embedded.node import Node
from cluster.embedded.node_files import ADDRESS, CONTAINERD_SOCKET, NodeSettings
from cluster.embedded.supervised import Component, Components
from cluster.errors import ClusterError
from cluster.homes import record_kind
from cluster.overlay import can_overlay
from cluster.ports import free_ports
from cluster.processes import Processes

_NODE_READY = "/api/v1/nodes/node"


@dataclass(frozen=True)
class Programs:
    """The programs that a node needs."""

    kube: Path
    coredns: Path
    node: Path


@dataclass(frozen=True)
class Exposed:
    """A port on 127.0.0.1 of the host that is forwarded to a Service."""

    port: int
    target: str


class EmbeddedCluster:
    """A cluster with its state in `home`. Several clusters can run at the same time, also of several checkouts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes = Processes(home / "processes", home / "logs")
        self.node = Node(home, cgroup_of(home), self.processes)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; after `up` it works from any shell of the host."""
        return self.home / "kubeconfig"

    def up(self, programs: Programs) -> None:
        """Start it and wait until it answers. Running parts are left unchanged; if the node has ended, its remains are removed first."""
        with locked(self.home):
            if self.node.alive() and self._heal():
                return
            self._end()
            self._prepare(programs)
            self.node.start(programs.kube, programs.coredns, programs.node)
            self._components().ensure()

    def alive(self) -> bool:
        """Return whether all components run and the API server answers."""
        return self.node.alive() and self._components().alive() and answers(self.kubeconfig, "/readyz")

    def down(self) -> None:
        """Stop everything and remove the state; missing parts are not an error."""
        with locked(self.home):
            self._end()
        self.home.with_suffix(".lock").unlink(missing_ok=True)

    def load_image(self, archive: Path) -> None:
        """Import the images of an archive (docker or OCI) into the node."""
        with archive.open("rb") as file:
            self.node.run([*_CTR, "images", "import", "--snapshotter", self._settings().snapshotter, "-"], stdin=file.fileno(), limit=300.0)

    def images(self) -> set[str]:
        """Return the names of all images of the node."""
        return set(self.node.run([*_CTR, "images", "list", "--quiet"]).split())

    def tag_image(self, name: str, alias: str) -> None:
        """Give an image a second name; if another image has that name, it loses it."""
        self.node.run([*_CTR, "images", "tag", "--force", name, alias])

    def expose(self, service: str, namespace: str, port: int, host_port: int = 0) -> int:
        """Forward a port on 127.0.0.1 of the host to a Service until `down`; return the port. A second call returns the same port."""
        target = f"{service}.{namespace}.svc.cluster.local:{port}"
        with locked(self.home):
            known = self._exposed()
            for name, each in known.items():
                if each.target == target and host_port in (0, each.port):
                    if not self.processes.alive(name):
                        self._start_relay(name, each)
                    return each.port
            chosen = Exposed(host_port or free_ports(1)[0], target)
            name = f"relay-{chosen.port}"
            self._start_relay(name, chosen)
            self._remember({**known, name: chosen})
        return chosen.port

    def enforce_network_policies(self, kube_router: Path) -> None:
        """Act on NetworkPolicies until `down`. Without this they are stored, and nothing acts on them, as in many networks."""
        if not self.processes.alive(_KUBE_ROUTER):
            shutil.copy(kube_router, self.home / _KUBE_ROUTER)
            self.node.start_component(_KUBE_ROUTER, [f"/node/{_KUBE_ROUTER}", *node_files.kube_router()])

    def stop_component(self, name: str) -> None:
        """Kill a component, as in a crash; its data are kept."""
        self._components().stop(name)

    def pause_component(self, name: str) -> None:
        """Freeze a component: its sockets accept connections, but nothing answers."""
        self._components().pause(name)

    def start_component(self, name: str) -> None:
        """Start a stopped component or continue a frozen one, and wait until it answers."""
        self._components().start(name)

    def _heal(self) -> bool:
        """Start the components that do not run; return False if the node is ending."""
        try:
            self._components().ensure()
        except ClusterError:
            if self.node.ends(within=2.0):
                return False
            raise
        return True

    def _prepare(self, programs: Programs) -> None:
        self.home.mkdir(parents=True, mode=0o700)
        record_kind(self.home, "embedded")
        settings = NodeSettings(cgroup_of(self.home), "overlayfs" if can_overlay(self.home) else "native", cni_plugins())
        api = Exposed(free_ports(1)[0], f"{ADDRESS}:6443")
        self._remember({_API_RELAY: api})
        files = {
            "settings.json": json.dumps(vars(settings)),
            "address": ADDRESS,
            "resolv.conf": f"nameserver {ADDRESS}\nsearch cluster.local\n",
            "kubelet.json": node_files.kubelet_config(settings),
            "containerd.toml": node_files.containerd_config(settings),
            "Corefile": node_files.dns_config(),
            "cni/10-pods.conflist": node_files.network_config(),
        }
        for path, content in files.items():
            (self.home / path).parent.mkdir(exist_ok=True)
            (self.home / path).write_text(content)
        (self.home / "pause.tar").write_bytes(node_files.image_archive(node_files.PAUSE_IMAGE, programs.node.read_bytes()))
        plane = _plane(self.home / "pki")
        authority = write_credentials(plane, ("127.0.0.1", "localhost", ADDRESS, plane.first_service_address, *SERVICE_NAMES))
        authority.issue("kubelet", "system:node:node", group="system:nodes", hosts=("node", ADDRESS))
        write_kubeconfig(self.kubeconfig, plane.pki, f"https://127.0.0.1:{api.port}", self.home.name)
        write_kubeconfig(plane.pki / "internal.kubeconfig", plane.pki, f"https://{ADDRESS}:6443", self.home.name)
        write_kubeconfig(plane.pki / "kubelet.kubeconfig", plane.pki, f"https://{ADDRESS}:6443", self.home.name, user="kubelet")

    def _components(self) -> Components:
        plane = _plane(Path("/node/pki"))
        commands: dict[str, tuple[list[str], Callable[[], bool]]] = {
            "etcd": (components.etcd(plane), lambda: True),
            "kube-apiserver": (components.apiserver(plane), lambda: self._answers(READY["kube-apiserver"])),
            "kube-controller-manager": (components.controller_manager(plane), lambda: self._answers(READY["kube-controller-manager"])),
            "kube-scheduler": (components.scheduler(plane), lambda: True),
            "kube-proxy": (node_files.kube_proxy(), lambda: True),
            "kubelet": (node_files.kubelet(), self._node_is_ready),
        }
        members = [self._program(name, ["/programs/kube", name, *argv], ready) for name, (argv, ready) in commands.items()]
        relays = [self._relay(name, exposed) for name, exposed in self._exposed().items()]
        containerd = self._program("containerd", ["containerd", "--config", "/node/containerd.toml"], self._images_are_loaded)
        dns = self._program("coredns", ["/programs/coredns", "-conf", "/node/Corefile"], self._dns_answers)
        # kubelet last: it wants all the others
        etcd, *others, kubelet = members
        return Components(self.processes, [containerd, *relays, etcd, *others, dns, kubelet])

    def _program(self, name: str, command: list[str], ready: Callable[[], bool]) -> Component:
        return Component(name, lambda: self.node.start_component(name, command), ready)

    def _relay(self, name: str, exposed: Exposed) -> Component:
        return Component(name, lambda: self._start_relay(name, exposed), lambda: True)

    def _start_relay(self, name: str, exposed: Exposed) -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", exposed.port))
            except OSError as error:
                raise ClusterError(
                    f"port {exposed.port} on 127.0.0.1 is in use: {error}", "stop the process that listens on it, or choose another port"
                ) from error
            listener.listen(128)
            self.node.start_component(name, ["/programs/node", "relay", exposed.target], hand_over=listener.fileno())

    def _answers(self, path: str) -> bool:
        return answers(self.kubeconfig, path)

    def _node_is_ready(self) -> bool:
        template = '{{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}'
        kubectl = [
            "/programs/kube",
            "kubectl",
            "--kubeconfig=/node/pki/internal.kubeconfig",
            "get",
            "node",
            "node",
            f"--template={template}",
        ]
        return self._answers(_NODE_READY) and self.node.run(kubectl, limit=10.0).strip() == "True"

    def _images_are_loaded(self) -> bool:
        if not self.node.succeeds([*_CTR, "version"]):
            return False
        if node_files.PAUSE_IMAGE not in self.images():
            self.load_image(self.home / "pause.tar")
        return True

    def _dns_answers(self) -> bool:
        return self.node.succeeds(
            ["/bin/bash", "-c", f"exec 3<>/dev/tcp/{ADDRESS}/8181; printf 'GET /ready HTTP/1.0\\r\\n\\r\\n' >&3; grep -q '200 OK' <&3"]
        )

    def _settings(self) -> NodeSettings:
        return NodeSettings(**json.loads((self.home / "settings.json").read_text()))

    def _exposed(self) -> dict[str, Exposed]:
        try:
            return {name: Exposed(**each) for name, each in json.loads((self.home / "exposed.json").read_text()).items()}
        except FileNotFoundError as error:
            raise ClusterError(f"no cluster in {self.home}", "start it first") from error

    def _remember(self, exposed: Mapping[str, Exposed]) -> None:
        (self.home / "exposed.json").write_text(json.dumps({name: vars(each) for name, each in exposed.items()}))

    def _end(self) -> None:
        self.node.kill()
        shutil.rmtree(self.home, ignore_errors=True)


_API_RELAY = "relay-api"
_KUBE_ROUTER = "kube-router"
_CTR = ("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io")


def cgroup_of(home: Path) -> str:
    """Return the name of a cluster's control groups, derived from its folder, which is unique."""
    return f"refresh-{sha256(str(home).encode()).hexdigest()[:10]}"


def cni_plugins() -> str:
    """Return the folder of the CNI plugins, which depends on the distribution."""
    for folder in ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"):
        if (Path(folder) / "ptp").exists():
            return folder
    raise ClusterError("the CNI plugins are missing", "apt-get install containernetworking-plugins")


def _plane(pki: Path) -> Plane:
    return Plane(
        address=ADDRESS,
        bind="0.0.0.0",
        api_port=6443,
        etcd_port=2379,
        etcd_peer_port=2380,
        pki=pki,
        data=Path("/var/lib"),
        service_cidr=node_files.SERVICE_CIDR,
        has_nodes=True,
    )
