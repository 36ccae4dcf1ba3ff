"""Processes that outlive the command that started them. They are identified by id and start time, so that no other is killed."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cluster.errors import ClusterError
from cluster.waiting import tail

_SAME_START = 2.0  # seconds; psutil computes the start time from the boot time, which a clock correction moves


@dataclass(frozen=True)
class Recorded:
    """The record of a started process, as written to disk."""

    name: str
    pid: int
    started: float  # seconds since 1970
    ticks: int = 0  # the kernel's count since boot, which clock corrections do not change; 0 on systems without it

    def process(self) -> psutil.Process | None:
        """Return the running process, or None if it has ended, even if another process now has its id."""
        with suppress(ChildProcessError):  # our own child stays a zombie until it is collected
            os.waitpid(self.pid, os.WNOHANG)
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            same = ticks_of(self.pid) == self.ticks if self.ticks else abs(process.create_time() - self.started) < _SAME_START
        except psutil.NoSuchProcess:
            return None
        return process if same else None


class Processes:
    """The processes of one cluster, with records in `folder` and one log per process in `logs`."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs

    def names(self) -> list[str]:
        """Return the names of all processes that were started and not stopped, whether they run or not."""
        return sorted(file.stem for file in self.folder.glob("*.json"))

    def find(self, name: str) -> Recorded | None:
        """Return the record of a process, or None."""
        try:
            return Recorded(**json.loads((self.folder / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # a record that was only partly written when the machine crashed
            return None

    def alive(self, name: str) -> bool:
        """Return whether the process runs."""
        recorded = self.find(name)
        return recorded is not None and recorded.process() is not None

    def start(self, name: str, argv: Sequence[str], hand_over: int | None = None) -> Recorded:
        """Start a process in its own session; `hand_over` is a file descriptor that it gets as number 3."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = os.open(self.logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        files: list[tuple[int, int, int]] = [
            (os.POSIX_SPAWN_DUP2, nothing, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        if hand_over is not None:
            files.append((os.POSIX_SPAWN_DUP2, hand_over, 3))
        try:
            pid = os.posix_spawnp(argv[0], list(argv), environment_of_programs(os.environ), file_actions=files, setsid=True)
        except FileNotFoundError as error:
            raise ClusterError(f"{argv[0]} does not exist, {name} cannot start") from error
        finally:
            os.close(log)
            os.close(nothing)
        recorded = Recorded(name, pid, psutil.Process(pid).create_time(), ticks_of(pid))
        self.record(recorded)
        return recorded

    def record(self, recorded: Recorded) -> None:
        """Write the record of a process atomically."""
        draft = self.folder / f".{recorded.name}"
        draft.write_text(json.dumps(asdict(recorded)))
        draft.replace(self.folder / f"{recorded.name}.json")

    def stop(self, name: str, grace: float = 10.0) -> None:
        """Terminate a process, kill it after `grace` seconds, and delete its record; a missing process is not an error."""
        recorded = self.find(name)
        process = recorded.process() if recorded else None
        if process:
            _end(process, recorded, grace)
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def stop_group(self, name: str) -> None:
        """Kill a process and its whole session, and delete its record."""
        recorded = self.find(name)
        if recorded and recorded.process():
            os.killpg(recorded.pid, signal.SIGKILL)
        self.stop(name, grace=0)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal, for example SIGSTOP to make a component slow."""
        recorded = self.find(name)
        process = recorded.process() if recorded else None
        if process is None:
            raise ClusterError(f"{name} does not run")
        process.send_signal(number)

    def evidence(self, name: str) -> str:
        """Return a text for messages: whether the process runs, and the end of its log."""
        return f"  {name} {'runs' if self.alive(name) else 'HAS ENDED'}\n{tail(self.logs / f'{name}.log')}"


def ticks_of(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot; 0 if it does not exist, or without /proc."""
    try:
        # the second field is the program's name in brackets, which may have blanks and brackets in it
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def environment_of_programs(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a cluster's programs: without proxies, and with the administrator's programs in PATH."""
    kept = {name: value for name, value in ours.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PATH": f"{ours.get('PATH', '/usr/bin:/bin')}:/usr/local/sbin:/usr/sbin:/sbin"}


def _end(process: psutil.Process, recorded: Recorded | None, grace: float) -> None:
    steps = [(signal.SIGTERM, grace), (signal.SIGKILL, 10.0)] if grace > 0 else [(signal.SIGKILL, 10.0)]
    for number, patience in steps:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if recorded is None or recorded.process() is None:
                return
            time.sleep(0.02)
    raise ClusterError(f"process {process.pid} does not end after SIGKILL", "inspect it with `ps`, then run this command again")
