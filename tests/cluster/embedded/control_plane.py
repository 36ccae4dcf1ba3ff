"""A real API server with its controllers and without nodes. It needs no privileges, listens on loopback only, and starts in seconds."""

import datetime
import json
import shutil
import ssl
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cluster.embedded import components
from cluster.embedded.binaries import kube_command
from cluster.embedded.components import Plane
from cluster.embedded.pki import Authority, write_token_keys
from cluster.embedded.supervised import Component, Components
from cluster.errors import ClusterError
from cluster.homes import record_kind
from cluster.once import exclusive
from cluster.ports import free_ports
from cluster.processes import Processes

_ARGUMENTS: dict[str, Callable[[Plane], list[str]]] = {
    "etcd": components.etcd,
    "kube-apiserver": components.apiserver,
    "kube-controller-manager": components.controller_manager,
}
COMPONENTS = tuple(_ARGUMENTS)  # what `stop_component` and its like take, in the order of starting
READY = {
    "kube-apiserver": "/readyz",
    # the controllers are ready when they have made the first thing that a pod needs
    "kube-controller-manager": "/api/v1/namespaces/default/serviceaccounts/default",
}


@dataclass(frozen=True)
class Ports:
    """The ports of a control plane on 127.0.0.1, and the process that owns it (0: no process, it is never an orphan)."""

    api: int
    etcd: int
    etcd_peer: int
    owner: int = 0


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager with their state in `home`."""

    def __init__(self, home: Path, kube: Path) -> None:
        self.home = home
        self.kube = kube
        self.processes = Processes(home / "processes", home / "logs")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; it exists after `up`."""
        return self.home / "kubeconfig"

    def up(self, *, owner: int = 0) -> None:
        """Start it and wait until it answers. A running one is left unchanged; the remains of a dead one are removed first.

        `owner` is the process whose end makes this control plane an orphan; see `remove_orphans`.
        """
        with locked(self.home):
            if self.alive():
                return
            self._end()
            for attempt in (1, 2, 3):
                try:
                    self._start(owner)
                except ClusterError as error:
                    self._end()
                    # a port that was free when it was looked for may be taken when it is needed
                    if attempt == 3 or "address already in use" not in str(error):
                        raise
                else:
                    return

    def alive(self) -> bool:
        """Return whether all components run and the API server answers."""
        return all(self.processes.alive(name) for name in COMPONENTS) and answers(self.kubeconfig, "/readyz")

    def down(self) -> None:
        """Stop all processes and remove the state; missing parts are not an error."""
        with locked(self.home):
            self._end()
        self.home.with_suffix(".lock").unlink(missing_ok=True)

    def stop_component(self, name: str) -> None:
        """Kill a component, as in a crash; its data are kept."""
        self._components().stop(name)

    def pause_component(self, name: str) -> None:
        """Freeze a component: its sockets accept connections, but nothing answers."""
        self._components().pause(name)

    def start_component(self, name: str) -> None:
        """Start a stopped component or continue a frozen one, and wait until it answers."""
        self._components().start(name)

    def upgrade(self, kube: Path) -> None:
        """Replace all components by those of another version, which keep ports, certificates and data, and wait until they answer."""
        for name in reversed(COMPONENTS):
            self.stop_component(name)
        self.kube = kube
        for name in COMPONENTS:
            self.start_component(name)

    def _start(self, owner: int) -> None:
        api, etcd, etcd_peer = free_ports(3)
        ports = Ports(api, etcd, etcd_peer, owner)
        plane = self._plane(ports)
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        record_kind(self.home, "control-plane")
        (self.home / "ports.json").write_text(json.dumps(asdict(ports)))
        write_credentials(plane, ("127.0.0.1", "localhost", plane.first_service_address, *SERVICE_NAMES))
        write_kubeconfig(self.kubeconfig, plane.pki, f"https://127.0.0.1:{ports.api}", self.home.name)
        write_kubeconfig(plane.pki / "internal.kubeconfig", plane.pki, f"https://127.0.0.1:{ports.api}", self.home.name)
        self._components().ensure()

    def _components(self) -> Components:
        return Components(self.processes, [self._component(name) for name in COMPONENTS])

    def _component(self, name: str) -> Component:
        def start() -> None:
            self.processes.start(name, kube_command(self.kube, name, _ARGUMENTS[name](self._plane(self._ports()))))

        def ready() -> bool:
            # etcd is ready when the API server is that needs it
            return name == "etcd" or answers(self.kubeconfig, READY[name])

        return Component(name, start, ready)

    def _plane(self, ports: Ports) -> Plane:
        return Plane(
            address="127.0.0.1",
            bind="127.0.0.1",
            api_port=ports.api,
            etcd_port=ports.etcd,
            etcd_peer_port=ports.etcd_peer,
            pki=self.home / "pki",
            data=self.home / "data",
            service_cidr="10.96.0.0/24",
            has_nodes=False,
        )

    def _ports(self) -> Ports:
        try:
            return Ports(**json.loads((self.home / "ports.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise ClusterError(f"no control plane in {self.home}") from error

    def _end(self) -> None:
        for name in self.processes.names():
            self.processes.stop(name, grace=0)
        shutil.rmtree(self.home, ignore_errors=True)


SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


def write_credentials(plane: Plane, hosts: Sequence[str]) -> Authority:
    """Write all certificates and keys of a control plane whose API server is reached by `hosts`; return the authority that signed them."""
    authority = Authority(plane.pki, datetime.datetime.now(datetime.UTC))
    authority.issue("apiserver", "kube-apiserver", hosts=hosts)
    authority.issue("admin", "admin", group="system:masters")
    write_token_keys(plane.pki)
    return authority


def write_kubeconfig(file: Path, pki: Path, server: str, context: str, user: str = "admin") -> None:
    """Write a kubeconfig for `user`, whose certificate is in `pki`; only its owner can read it."""
    content = components.kubeconfig(
        server, user, (pki / "ca.crt").read_bytes(), (pki / f"{user}.crt").read_bytes(), (pki / f"{user}.key").read_bytes(), context
    )
    file.touch(mode=0o600)
    file.write_text(content)


def answers(kubeconfig: Path, path: str) -> bool:
    """Return whether the API server answers a GET of `path` with success within two seconds."""
    try:
        cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
        pki = kubeconfig.parent / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(cluster["server"] + path, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, ValueError, LookupError):
        return False


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the lock of a cluster, so that one command at a time works on it; others wait."""
    with exclusive(home.with_suffix(".lock")):
        yield


def remove_orphans(clusters: Path, kube: Path) -> None:
    """Stop and remove the control planes below `clusters` whose owner has ended, for example a test run that was killed."""
    for file in clusters.glob("*/ports.json"):
        plane = ControlPlane(file.parent, kube)
        owner = plane._ports().owner
        if owner and not psutil.pid_exists(owner):
            plane.down()
