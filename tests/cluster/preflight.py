"""Checks before a long build: what is missing, how to install it, and what works without it. They take two seconds."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.docker import DockerCommand, docker_command, remedy_for_buildkit
from cluster.embedded.cgroups import is_v2
from cluster.embedded.toolchain import NEEDED, installed_go
from cluster.errors import ClusterError
from cluster.paths import Paths
from cluster.ports import is_free
from cluster.processes import Processes

# program → Debian package
PACKAGES = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "debootstrap": "debootstrap",
    "git": "git",
    "ip": "iproute2",
    "ipset": "ipset",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "ptp": "containernetworking-plugins",
    "runc": "runc",
    "unshare": "util-linux",
}
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
_DISK_GB = 12.0  # new: Go's build cache 3, modules 1, programs 0.5, image store 2, archives 1, a cluster 2
_MEMORY_GB = 3.0
_PORTS = {"API_PORT": 8000, "PAGE_PORT": 4200, "GIT_PORT": 8443}
_CNI_FOLDERS = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")


@dataclass(frozen=True)
class Machine:
    """Facts about this machine."""

    system: str
    root: bool
    capabilities: int
    cgroup: str  # "v1", "v2", or "" when none can be written
    disk_gb: float
    memory_gb: float
    go: tuple[int, int] | None
    missing: tuple[str, ...]  # Debian packages
    apt: bool
    docker: bool
    docker_command: DockerCommand
    taken_ports: tuple[str, ...]  # of those on 127.0.0.1 where the demo shows API, page and Git server, unless they are ours


@dataclass(frozen=True)
class Check:
    """The result of one check: whether it passed, and otherwise what to do."""

    name: str
    fine: bool
    found: str
    remedy: str = ""
    needed: bool = True


def checks(machine: Machine, kind: str) -> list[Check]:
    """Return the checks for a kind of cluster (embedded, control-plane, kind, existing)."""
    disk = Check(
        "disk",
        machine.disk_gb >= _DISK_GB,
        f"{machine.disk_gb:.0f} GB free",
        f"a new machine needs {_DISK_GB:.0f} GB, later runs less",
        needed=False,
    )
    memory = Check(
        "memory", machine.memory_gb >= _MEMORY_GB, f"{machine.memory_gb:.1f} GB available", f"{_MEMORY_GB:.0f} GB are needed", needed=False
    )
    go = Check(
        "Go",
        bool(machine.go and machine.go >= NEEDED),
        _go_text(machine),
        f"{NEEDED[0]}.{NEEDED[1]} or newer; fetched from PyPI",
        needed=False,
    )
    port = Check(
        "ports",
        not machine.taken_ports,
        f"taken: {', '.join(machine.taken_ports)}" if machine.taken_ports else "free",
        "API_PORT, PAGE_PORT and GIT_PORT name others",
        needed=False,
    )
    if kind == "kind":
        answer = "answers" if machine.docker else "does not answer"
        remedy = remedy_for_buildkit(machine.docker_command)
        buildkit = Check("BuildKit", not remedy, machine.docker_command.text, remedy)
        return [Check("Docker", machine.docker, answer, "start it, or REFRESH_CLUSTER=embedded"), buildkit, disk, memory, port]
    if kind == "existing":
        return [port]
    linux = Check("Linux", machine.system == "Linux", machine.system, "on other systems use Docker (kind) or a cluster of your own")
    if kind == "control-plane":
        return [linux, disk, memory, go]
    return [linux, *_privileges(machine), disk, memory, port, go, _packages(machine)]


def _privileges(machine: Machine) -> list[Check]:
    lacking = [name for name, bit in _CAPABILITIES.items() if not machine.capabilities >> bit & 1]
    return [
        Check("root", machine.root, "yes" if machine.root else "no", "run as root, or use Docker (kind)"),
        Check(
            "capabilities",
            not lacking,
            "all" if not lacking else f"without {', '.join(lacking)}",
            "run on the machine itself, or in a privileged container",
        ),
        Check("cgroups", bool(machine.cgroup), machine.cgroup or "not writable", "/sys/fs/cgroup must be writable"),
    ]


def _packages(machine: Machine) -> Check:
    if not machine.missing:
        return Check("packages", True, "all there")
    command = f"apt-get install {' '.join(machine.missing)}"
    by_itself = machine.apt and machine.root
    remedy = f"installed when needed: {command}" if by_itself else f"install them, on Debian: {command}"
    return Check("packages", False, f"missing: {', '.join(machine.missing)}", remedy, needed=not by_itself)


def _go_text(machine: Machine) -> str:
    return f"{machine.go[0]}.{machine.go[1]}" if machine.go else "not installed"


def look(paths: Paths, *, docker: bool) -> Machine:
    """Collect the facts about this machine."""
    status = Path("/proc/self/status")
    effective = (
        next((line.split()[1] for line in status.read_text().splitlines() if line.startswith("CapEff")), "0") if status.exists() else "0"
    )
    own_go = installed_go()
    return Machine(
        system=platform.system(),
        root=os.geteuid() == 0,
        capabilities=int(effective, 16),
        cgroup=_cgroup(),
        disk_gb=min(shutil.disk_usage(_existing(place)).free for place in (paths.state, paths.cache)) / 1e9,
        memory_gb=psutil.virtual_memory().available / 1e9,
        go=own_go[1] if own_go else None,
        missing=missing_packages(),
        apt=shutil.which("apt-get") is not None,
        docker=docker,
        docker_command=docker_command(),
        taken_ports=tuple(
            str(port)
            for name, usual in _PORTS.items()
            if not (is_free(port := int(os.environ.get(name) or usual)) or is_ours(port, paths.clusters))
        ),
    )


def missing_packages() -> tuple[str, ...]:
    """Return the Debian packages whose programs are missing on this machine."""
    found = {name for name in PACKAGES if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")}
    if any((Path(folder) / "ptp").exists() for folder in _CNI_FOLDERS):
        found.add("ptp")
    return tuple(sorted({package for name, package in PACKAGES.items() if name not in found}))


def ensure(paths: Paths, kind: str, what: str = "the embedded cluster") -> None:
    """Install missing packages; raise ClusterError with everything else that is missing for `what`."""
    found = checks(look(paths, docker=False), kind)
    lacking = [check for check in found if check.needed and not check.fine]
    if lacking:
        raise ClusterError("\n".join([f"this machine cannot run {what}:", *lines(lacking)]), without())
    if kind == "embedded" and (packages := missing_packages()):
        _install(packages)


def lines(found: Iterable[Check]) -> list[str]:
    """Return the checks as text, one line each."""
    return [
        f"  {_sign(check)} {check.name}: {check.found}{'' if check.fine or not check.remedy else f' – {check.remedy}'}" for check in found
    ]


def without() -> str:
    """Return what works on machines that cannot run the complete cluster."""
    alone = "`make run` (one refresh, no Kubernetes) and `python -m cluster up --control-plane`"
    return f"without it: {alone} need no privileges"


def _sign(check: Check) -> str:
    return "✓" if check.fine else ("✗" if check.needed else "!")


def _install(packages: tuple[str, ...]) -> None:
    print(f"cluster: installing Debian packages: {', '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}", "install the packages by hand")


def _cgroup() -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists() or not os.access("/sys/fs/cgroup", os.W_OK):
        return ""
    return "v2" if is_v2(mounts.read_text()) else "v1"


def is_ours(port: int, clusters: Path) -> bool:
    """Return whether a live process of one of these clusters leads the port to a Service: the node's relay, or kubectl's forwarding."""
    records = [*clusters.glob(f"*/processes/relay-{port}.json"), *clusters.glob(f"*/processes/forward-*-{port}.json")]
    return any(Processes(record.parent, record.parent).alive(record.stem) for record in records)


def _existing(place: Path) -> Path:
    while not place.exists():
        place = place.parent
    return place
