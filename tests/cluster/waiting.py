"""Waiting with a timeout; on a timeout the error reports the last state."""

import time
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError


def wait_until(check: Callable[[], bool], what: str, within: float, evidence: Callable[[], str], pause: float = 0.1) -> None:
    """Return when `check` is true; after `within` seconds raise ClusterError with the text of `evidence`."""
    end = time.monotonic() + within
    while not check():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: timed out after {within:.0f} s\n{evidence()}")
        time.sleep(pause)


def tail(log: Path, lines: int = 25) -> str:
    """Return the last lines of a log."""
    if not log.exists():
        return f"  ({log} was never written)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join([f"  last lines of {log}:", *(f"  | {line[:300]}" for line in last)])
