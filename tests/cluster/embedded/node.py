"""The node of an embedded cluster: namespaces with their own root file system."""

from pathlib import Path

from cluster.embedded.namespaces import Namespaces
from cluster.processes import Processes

_SCRIPT = Path(__file__).with_name("node-root.sh")


class Node(Namespaces):
    """A node with its files in `home`."""

    def __init__(self, home: Path, cgroup: str, processes: Processes) -> None:
        super().__init__(cgroup, processes)
        self.home = home

    def start(self, kube: Path, coredns: Path, node: Path) -> None:
        """Create the node with its root file system."""
        self.begin(["/bin/sh", str(_SCRIPT), *map(str, (self.home, kube, coredns, node))], ["/programs/node", "init"])
