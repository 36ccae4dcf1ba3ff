"""The components of one cluster as a set: started in order, awaited, stopped and started one by one."""

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.processes import Processes
from cluster.waiting import wait_until

_START_LIMIT = 60.0  # seconds, for each component; the whole takes 3 to 8 s


@dataclass(frozen=True)
class Component:
    """One program of the cluster; `start` starts it, `ready` tells whether it does its work."""

    name: str
    start: Callable[[], None]
    ready: Callable[[], bool]


class Components:
    """What runs, by name, in the order of starting."""

    def __init__(self, processes: Processes, members: Iterable[Component]) -> None:
        self._processes = processes
        self._members = {each.name: each for each in members}

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._members)

    def alive(self) -> bool:
        """Whether every component's process runs."""
        return all(self._processes.alive(name) for name in self._members)

    def ensure(self) -> None:
        """Start what does not run; everything is ready after it."""
        for name, member in self._members.items():
            if not self._processes.alive(name):
                member.start()
            if name == "kube-apiserver":  # what follows would only fail and try again without it
                self.await_ready(name)
        for name in self._members:
            self.await_ready(name)

    def start(self, name: str) -> None:
        """Make a stopped or frozen component run again, and wait until it is ready."""
        if self._processes.alive(name):
            self._processes.signal(name, signal.SIGCONT)
        else:
            self._member(name).start()
        self.await_ready(name)

    def stop(self, name: str) -> None:
        """End a component as a crash would; its data stay."""
        self._member(name)
        self._processes.stop(name, grace=0)

    def pause(self, name: str) -> None:
        """Freeze a component: connections are taken and nothing answers."""
        self._member(name)
        self._processes.signal(name, signal.SIGSTOP)

    def await_ready(self, name: str) -> None:
        """Wait until a component does its work; raise with its last words when it ends before, or takes too long."""
        member = self._member(name)

        def ready() -> bool:
            if not self._processes.alive(name):
                raise ClusterError(f"{name} ended at once\n{self._processes.evidence(name)}")
            return member.ready()

        wait_until(ready, f"{name} ready", _START_LIMIT, lambda: self._processes.evidence(name), pause=0.05)

    def _member(self, name: str) -> Component:
        if name not in self._members:
            raise ClusterError(f"no component {name!r}", f"there are {', '.join(self._members)}")
        return self._members[name]
