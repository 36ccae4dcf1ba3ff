"""Namespaces for processes, network and mounts that all end when their process 1 is killed."""

import os
import subprocess
import time
from collections.abc import Sequence

import psutil

from cluster.embedded import cgroups
from cluster.errors import ClusterError
from cluster.processes import Processes, Recorded, environment_of_programs, ticks_of
from cluster.waiting import wait_until

_INIT = "node"  # the name of process 1 in the records
_FORK_LIMIT = 5.0  # seconds


class Namespaces:
    """Namespaces whose processes are recorded, with control groups under `cgroup`."""

    def __init__(self, cgroup: str, processes: Processes) -> None:
        self.cgroup = cgroup
        self._processes = processes

    def alive(self) -> bool:
        """Return whether the namespaces exist."""
        return self._processes.alive(_INIT)

    def ends(self, within: float) -> bool:
        """Return whether the namespaces end within these seconds; after process 1 is killed, this takes a moment."""
        end = time.monotonic() + within
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def begin(self, script: Sequence[str], init: Sequence[str], *, network: bool = True) -> None:
        """Create the control groups and the namespaces. `script` sets them up, then executes `init`, the command line of their process 1.

        Without `network`, the processes share the machine's network.
        """
        cgroups.create(self.cgroup)
        kinds = ["--mount", "--pid", *(["--net"] if network else [])]
        self._start_inner(_INIT, ["unshare", *kinds, "--fork", "--propagation", "slave", *script])
        wait_until(lambda: self._is_set_up(init), "the namespaces", 15.0, lambda: self._processes.evidence(_INIT))

    def start_component(self, name: str, command: Sequence[str], hand_over: int | None = None) -> None:
        """Start a process inside; `hand_over` as in `Processes.start`."""
        self._start_inner(name, self.entering(command), hand_over)

    def entering(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` inside."""
        # --wd: the caller's folder may not exist inside
        return ["nsenter", f"--target={self._init().pid}", "--mount", "--net", "--pid", "--wd=/", "--", *command]

    def in_network(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` in this network, with the machine's files and processes."""
        return ["nsenter", f"--target={self._init().pid}", "--net", "--", *command]

    def run(self, command: Sequence[str], stdin: int | None = None, limit: float = 60.0) -> str:
        """Run a command inside and return its output; raise ClusterError with its error output if it fails."""
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
            raise ClusterError(f"{' '.join(command)} failed in the namespaces: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def succeeds(self, command: Sequence[str]) -> bool:
        """Return whether a command inside succeeds within ten seconds."""
        try:
            self.run(command, limit=10.0)
        except (ClusterError, subprocess.TimeoutExpired):
            return False
        return True

    def kill(self) -> None:
        """Kill all processes inside; only the node's files remain."""
        self._processes.stop(_INIT, grace=0)  # the kernel ends the whole namespace before it lets go of process 1
        for name in self._processes.names():
            self._processes.stop(name, grace=0)
        cgroups.remove(self.cgroup)

    def _init(self) -> Recorded:
        init = self._processes.find(_INIT)
        if init is None or init.process() is None:
            raise ClusterError("the namespaces do not exist", "start the cluster first")
        return init

    def _is_set_up(self, init: Sequence[str]) -> bool:
        recorded = self._processes.find(_INIT)
        process = recorded.process() if recorded else None
        if process is None:
            raise ClusterError(f"the namespaces cannot be created\n{self._processes.evidence(_INIT)}")
        try:
            return process.cmdline() == list(init)
        except psutil.Error:
            return False

    def _start_inner(self, name: str, command: Sequence[str], hand_over: int | None = None) -> None:
        # unshare and nsenter fork; the process to record is their child
        outer = self._processes.start(name, command, hand_over=hand_over)
        end = time.monotonic() + _FORK_LIMIT
        while time.monotonic() < end:
            process = outer.process()
            if process is None:
                raise ClusterError(f"{name} cannot start\n{self._processes.evidence(name)}")
            children = process.children()
            if children:
                self._processes.record(Recorded(name, children[0].pid, children[0].create_time(), ticks_of(children[0].pid)))
                return
            time.sleep(0.01)
        raise ClusterError(f"{name} cannot start\n{self._processes.evidence(name)}")
