"""A Docker engine with its state in a checkout. For clusters it has its own network; for builds it uses the machine's."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cluster.base_image import base_archive, base_key
from cluster.embedded.binaries import NODE, build
from cluster.embedded.control_plane import locked
from cluster.embedded.full import cgroup_of
from cluster.embedded.namespaces import Namespaces
from cluster.engine import sysctls
from cluster.engine.docker_package import docker_programs
from cluster.engine.node_image import CHANGES, node_archive, node_reference
from cluster.errors import ClusterError
from cluster.overlay import can_overlay
from cluster.paths import Paths
from cluster.processes import Processes
from cluster.waiting import wait_until

_HERE = Path(__file__).parent
_MODULES = Path("/lib/modules")
_START_LIMIT = 60.0  # seconds
_STOP_LIMIT = 60.0
_COMMAND_LIMIT = 300.0
# the engine opens no bridge and changes no rule in the machine's network; builds use it as it is
_OPEN = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")


class Engine:
    """The engine of one checkout. `closed`: containers are in an isolated network; `open`: for builds, without containers."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.home = paths.state / "engine"
        self._name = cgroup_of(self.home)
        self._run = Path("/run") / self._name  # sockets' paths are short
        self._processes = Processes(self.home / "processes", self.home / "logs")
        self._namespaces = Namespaces(self._name, self._processes)

    @property
    def host(self) -> str:
        """Return the address that clients use as DOCKER_HOST."""
        return f"unix://{self._run}/docker.sock"

    def environment(self) -> dict[str, str]:
        """Return the environment for commands that use this engine: docker, kind, and this launcher."""
        programs = docker_programs(self._paths.cache)
        return {
            **os.environ,
            "DOCKER_CONFIG": str(programs / "config"),
            "DOCKER_HOST": self.host,
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            "REFRESH_BASE_IMAGE": _base_reference(),
            "REFRESH_CLUSTER": "kind",
            "REFRESH_KIND_IMAGE": node_reference(),
        }

    def alive(self) -> bool:
        """Return whether the engine answers."""
        return self._namespaces.alive() and self._processes.alive("dockerd") and self._docker("info") is not None

    def up(self, *, closed: bool) -> None:
        """Start the engine in this kind of network; do nothing if it already runs in it."""
        with locked(self.home):
            if self.alive() and self._is_closed() == closed:
                return
            self._end()
            self._start(closed)

    def load_archives(self) -> None:
        """Import the base of our images and the image of kind's nodes, which are in no registry."""
        for reference, archive, changes in (
            (_base_reference(), base_archive, ('CMD ["python3"]',)),
            (node_reference(), node_archive, CHANGES),
        ):
            if self._docker("image", "inspect", reference) is None:
                options = [f"--change={change}" for change in changes]
                outdated = (self._docker("image", "ls", "--quiet", reference.partition(":")[0]) or "").split()
                if self._docker("import", *options, str(archive(self._paths.cache)), reference) is None:
                    raise ClusterError(f"docker import of {reference} failed", "check the free disk space")
                for each in outdated:
                    self._docker("image", "rm", each)

    def in_network(self, command: Iterable[str]) -> list[str]:
        """Return the command line that runs a command in the network of this engine's clusters."""
        return self._namespaces.in_network(list(command))

    def down(self) -> None:
        """Stop the engine with its containers, and restore the machine's settings; images are kept."""
        with locked(self.home):
            self._end()

    def remove(self) -> None:
        """Stop the engine and delete its images."""
        self.down()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.with_suffix(".lock").unlink(missing_ok=True)

    def _start(self, closed: bool) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        programs, node = docker_programs(self._paths.cache), build(NODE, self._paths.cache)
        # Containers and networks of an engine that crashed would be restored, in the machine's network by one for builds.
        for left in ("containers", "network", "volumes"):
            shutil.rmtree(self.home / "data" / left, ignore_errors=True)
        sysctls.note(self.home / "sysctls.json")
        if not _MODULES.exists():
            (self.home / "no-modules").touch()  # docker makes the folder when a node is bound to it
        (self.home / "network").write_text("closed" if closed else "open")
        script = ["/bin/sh", str(_HERE / "engine-root.sh"), str(self._run), "closed" if closed else "open", str(node)]
        self._namespaces.begin(script, [str(node), "init"], network=closed)
        command = [
            str(programs / "dockerd"),
            f"--host={self.host}",
            f"--data-root={self.home / 'data'}",
            f"--exec-root={self._run / 'exec'}",
            f"--pidfile={self._run / 'docker.pid'}",
            f"--storage-driver={'overlay2' if can_overlay(self.home) else 'vfs'}",
            f"--add-runtime=reduced={_HERE / 'runc.py'}",
            "--default-runtime=reduced",
            f"--userland-proxy-path={programs / 'docker-proxy'}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent=/{self._name}",
            *(() if closed else _OPEN),
        ]
        self._namespaces.start_component("dockerd", command)
        wait_until(self._answers, "the Docker engine", _START_LIMIT, lambda: self._processes.evidence("dockerd"), pause=0.2)

    def _answers(self) -> bool:
        if not self._processes.alive("dockerd"):
            raise ClusterError(f"the Docker engine exited immediately\n{self._processes.evidence('dockerd')}")
        return self._docker("info") is not None

    def _is_closed(self) -> bool:
        return (self.home / "network").read_text() == "closed"

    def _end(self) -> None:
        if self._processes.alive("dockerd"):
            containers = (self._docker("ps", "--all", "--quiet") or "").split()
            if containers:
                self._docker("rm", "--force", "--volumes", *containers)
            self._processes.stop("dockerd", grace=_STOP_LIMIT)
        if self.home.exists():
            self._namespaces.kill()
        sysctls.put_back(self.home / "sysctls.json")
        if (self.home / "no-modules").exists():
            with suppress(OSError):  # absent, or filled by somebody in between
                _MODULES.rmdir()
            (self.home / "no-modules").unlink()
        shutil.rmtree(self._run, ignore_errors=True)

    def _docker(self, *arguments: str) -> str | None:
        program = self._paths.cache / "docker" / "docker"
        command = [str(program), f"--host={self.host}", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_LIMIT, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def _base_reference() -> str:
    return f"refresh-base:{base_key()}"
