"""Free ports of 127.0.0.1."""

import random
import socket

_OURS = range(18000, 32000)
"""Below those that the kernel gives to outgoing connections (from 32768 on by default): one of these stays free until it is taken."""


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports of 127.0.0.1 that nobody listens on, in random order, so that two callers rarely get the same one."""
    found: list[int] = []
    for port in random.sample(_OURS, len(_OURS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return tuple(found)


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on now."""
    (port,) = free_ports(1)
    return port
