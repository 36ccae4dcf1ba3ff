"""The namespaces that hold a node: processes, network and mounts that all end when their process 1 is killed."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from cluster.embedded import cgroups
from cluster.errors import ClusterError
from cluster.processes import Processes, Recorded, environment_of_programs, ticks_of
from cluster.waiting import wait_until

_SCRIPT = Path(__file__).with_name("node-root.sh")
_INIT = "node"  # the name of process 1 in the records
_FORK_LIMIT = 5.0  # seconds


class Node:
    """Namespaces of a node with its files in `home` and its control groups under `cgroup`."""

    def __init__(self, home: Path, cgroup: str, processes: Processes) -> None:
        self.home = home
        self.cgroup = cgroup
        self._processes = processes

    def alive(self) -> bool:
        """Whether the namespaces exist."""
        return self._processes.alive(_INIT)

    def ends(self, within: float) -> bool:
        """Whether the namespaces are gone now or within so many seconds; they outlive the killing of process 1 a little."""
        end = time.monotonic() + within
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def start(self, kube: Path, coredns: Path, node: Path) -> None:
        """Make the control groups and the namespaces; the node's root file system is ready after it."""
        cgroups.create(self.cgroup)
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "slave", "/bin/sh", str(_SCRIPT)]
        self._start_inner(_INIT, [*command, str(self.home), str(kube), str(coredns), str(node)])
        wait_until(self._is_set_up, "the node's namespaces", 15.0, lambda: self._processes.evidence(_INIT))

    def start_component(self, name: str, command: Sequence[str], hand_over: int | None = None) -> None:
        """Start a process of the node; `hand_over` as in `Processes.start`."""
        self._start_inner(name, self.entering(command), hand_over)

    def entering(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` inside the node."""
        init = self._processes.find(_INIT)
        if init is None or init.process() is None:
            raise ClusterError("the node does not run", "bring the cluster up first")
        # --wd: the caller's folder does not exist inside
        return ["nsenter", f"--target={init.pid}", "--mount", "--net", "--pid", "--wd=/", "--", *command]

    def run(self, command: Sequence[str], stdin: int | None = None, limit: float = 60.0) -> str:
        """What a command inside the node prints; raises with its errors when it fails."""
        done = subprocess.run(
            self.entering(command),
            env=environment_of_programs(os.environ),
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed in the node: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def succeeds(self, command: Sequence[str]) -> bool:
        """Whether a command inside the node ends well within ten seconds."""
        try:
            self.run(command, limit=10.0)
        except (ClusterError, subprocess.TimeoutExpired):
            return False
        return True

    def kill(self) -> None:
        """End everything inside at once; nothing of the node is left but its files."""
        self._processes.stop(_INIT, grace=0)  # the kernel ends the whole namespace before it lets go of process 1
        for name in self._processes.names():
            self._processes.stop(name, grace=0)
        cgroups.remove(self.cgroup)

    def _is_set_up(self) -> bool:
        init = self._processes.find(_INIT)
        process = init.process() if init else None
        if process is None:
            raise ClusterError(f"the node's namespaces can't be made\n{self._processes.evidence(_INIT)}")
        try:
            return process.cmdline() == ["/programs/node", "init"]
        except psutil.Error:
            return False

    def _start_inner(self, name: str, command: Sequence[str], hand_over: int | None = None) -> None:
        # unshare and nsenter fork; the one to know is their child
        outer = self._processes.start(name, command, hand_over=hand_over)
        end = time.monotonic() + _FORK_LIMIT
        while time.monotonic() < end:
            process = outer.process()
            if process is None:
                raise ClusterError(f"{name} can't start\n{self._processes.evidence(name)}")
            children = process.children()
            if children:
                self._processes.record(Recorded(name, children[0].pid, children[0].create_time(), ticks_of(children[0].pid)))
                return
            time.sleep(0.01)
        raise ClusterError(f"{name} can't start\n{self._processes.evidence(name)}")
