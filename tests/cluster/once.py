"""Files that are built once for all checkouts of a machine, and the long commands that build them."""

import fcntl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError
from cluster.waiting import tail


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock of a lock file while the block runs; others wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(place: Path, lock: Path, make: Callable[[], None]) -> Path:
    """Return `place`, after building it if it is missing; a second process waits for the first."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(lock):
            if not place.exists():
                make()
    return place


def run_logged(
    command: Sequence[str],
    log: Path,
    limit: float,
    what: str,
    remedy: str = "",
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command whose output is appended to a log; ClusterError with the log's end if it fails or takes more than `limit` seconds.

    `what` names the command in the message, as in "building kube".
    """
    with log.open("a") as output:
        try:
            done = subprocess.run(
                command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{what} took more than {limit / 60:.0f} minutes\n{tail(log)}") from error
    if done.returncode != 0:
        raise ClusterError(f"{what} failed\n{tail(log)}", remedy)
