"""Bounded waiting: every wait of the launcher has an end, and says what it saw when the end came."""

import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError


def wait_until(check: Callable[[], bool], what: str, within: float, evidence: Callable[[], str], pause: float = 0.1) -> None:
    """Return once `check` is true; after `within` seconds raise with what `evidence` tells."""
    end = time.monotonic() + within
    while not check():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {within:.0f} s\n{evidence()}")
        time.sleep(pause)


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log, for a person who has to find out what happened."""
    if not log.exists():
        return f"  ({log} was never written)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join([f"  last lines of {log}:", *(f"  | {line[:300]}" for line in last)])
