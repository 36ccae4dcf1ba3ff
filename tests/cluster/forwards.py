"""Ports of this machine that `kubectl port-forward` forwards to a cluster of another kind."""

import socket
from pathlib import Path

from cluster.ports import free_ports
from cluster.processes import Processes
from cluster.waiting import wait_until


class Forwards:
    """The forwarded ports of one cluster."""

    def __init__(self, home: Path, kubectl: str) -> None:
        self._processes = Processes(home / "processes", home / "logs")
        self._kubectl = kubectl

    def open(self, kubeconfig: Path, service: str, namespace: str, port: int, host_port: int) -> int:
        """Forward a port; a second call returns the same port while kubectl runs."""
        prefix = f"forward-{namespace}-{service}-{port}-"
        for name in self._processes.names():
            known = int(name.removeprefix(prefix)) if name.startswith(prefix) else 0
            if known and host_port in (0, known):
                if self._processes.alive(name):
                    return known
                host_port = known
        chosen = host_port or free_ports(1)[0]
        name = f"{prefix}{chosen}"
        command = [
            self._kubectl,
            f"--kubeconfig={kubeconfig}",
            f"--namespace={namespace}",
            "port-forward",
            f"service/{service}",
            f"{chosen}:{port}",
        ]
        # kubectl ends with the pod that it forwards to, so it is restarted whenever it ends
        self._processes.start(name, ["/bin/sh", "-c", 'while :; do "$@"; sleep 1; done', "sh", *command])
        wait_until(lambda: _takes(chosen), f"port {chosen} leads to {service}", 30.0, lambda: self._processes.evidence(name))
        return chosen

    def close(self) -> None:
        """Stop all forwarding."""
        for name in self._processes.names():
            if name.startswith("forward-"):
                self._processes.stop_group(name)


def _takes(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1.0)
        return connection.connect_ex(("127.0.0.1", port)) == 0
