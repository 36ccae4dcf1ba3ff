"""The components of a cluster: they are started in order, and can be stopped and started one by one."""

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.processes import Processes
from cluster.waiting import wait_until

_START_LIMIT = 60.0  # seconds, for each component; the whole takes 3 to 8 s


@dataclass(frozen=True)
class Component:
    """A program of the cluster; `start` starts it, and `ready` returns whether it is ready."""

    name: str
    start: Callable[[], None]
    ready: Callable[[], bool]


class Components:
    """The components by name, in the order in which they are started."""

    def __init__(self, processes: Processes, members: Iterable[Component]) -> None:
        self._processes = processes
        self._members = {each.name: each for each in members}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all components."""
        return tuple(self._members)

    def alive(self) -> bool:
        """Return whether the processes of all components run."""
        return all(self._processes.alive(name) for name in self._members)

    def ensure(self) -> None:
        """Start the components that do not run, and wait until all are ready."""
        for name, member in self._members.items():
            if not self._processes.alive(name):
                member.start()
            if name == "kube-apiserver":  # what follows would only fail and try again without it
                self.await_ready(name)
        for name in self._members:
            self.await_ready(name)

    def start(self, name: str) -> None:
        """Start a stopped component or continue a frozen one, and wait until it is ready."""
        if self._processes.alive(name):
            self._processes.signal(name, signal.SIGCONT)
        else:
            self._member(name).start()
        self.await_ready(name)

    def stop(self, name: str) -> None:
        """Kill a component, as in a crash; its data are kept."""
        self._member(name)
        self._processes.stop(name, grace=0)

    def pause(self, name: str) -> None:
        """Freeze a component: its sockets accept connections, but nothing answers."""
        self._member(name)
        self._processes.signal(name, signal.SIGSTOP)

    def await_ready(self, name: str) -> None:
        """Wait until a component is ready; raise ClusterError with the end of its log if it ends before, or takes too long."""
        member = self._member(name)

        def ready() -> bool:
            if not self._processes.alive(name):
                raise ClusterError(f"{name} exited immediately\n{self._processes.evidence(name)}")
            return member.ready()

        wait_until(ready, f"{name} ready", _START_LIMIT, lambda: self._processes.evidence(name), pause=0.05)

    def _member(self, name: str) -> Component:
        if name not in self._members:
            raise ClusterError(f"no component is named {name!r}", f"the components are {', '.join(self._members)}")
        return self._members[name]
