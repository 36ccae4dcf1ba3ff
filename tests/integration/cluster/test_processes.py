"""Recorded processes: our own are stopped, and another process with the same id is not."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.processes import Processes, Recorded, ticks_of
from support.eventually import eventually


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """An empty set of processes."""
    processes = Processes(tmp_path / "processes", tmp_path / "logs")
    yield processes
    for name in processes.names():
        processes.stop(name, grace=0)


def test_a_started_process_is_found_by_another_command_and_stopped(processes: Processes) -> None:
    """The record on disk is enough to find and stop it."""
    processes.start("sleeper", ["sleep", "1000"])
    found = Processes(processes.folder, processes.logs)
    assert found.alive("sleeper")
    found.stop("sleeper")
    assert not found.alive("sleeper")
    assert found.names() == []


def test_a_process_that_only_has_the_recorded_number_is_left_alone(processes: Processes) -> None:
    """Process ids are reused: the recorded process counts as ended, and `stop` does not end the other one."""
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        processes.folder.mkdir()
        ticks = ticks_of(stranger.pid)
        processes.record(Recorded("sleeper", stranger.pid, 0.0, ticks - 100))
        assert not processes.alive("sleeper")
        processes.stop("sleeper")
        assert stranger.poll() is None
        processes.record(Recorded("sleeper", stranger.pid, 0.0, ticks))
        assert processes.alive("sleeper")
    finally:
        stranger.kill()
        stranger.wait()


def test_a_corrected_clock_does_not_make_a_process_a_stranger(processes: Processes) -> None:
    """The wall clock was corrected by an hour; the start time in the kernel did not change."""
    recorded = processes.start("sleeper", ["sleep", "1000"])
    processes.record(replace(recorded, started=recorded.started + 3600))
    assert processes.alive("sleeper")


def test_a_process_that_ignores_the_request_to_end_is_ended_by_force(processes: Processes) -> None:
    """SIGTERM first, SIGKILL after the grace period."""
    processes.start("stubborn", ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    eventually(lambda: "ready" in (processes.logs / "stubborn.log").read_text(), within=5)
    processes.stop("stubborn", grace=0.2)
    assert not processes.alive("stubborn")


def test_a_half_written_record_is_no_record(processes: Processes) -> None:
    """A record that is incomplete after a crash must not stop the clean-up."""
    processes.folder.mkdir()
    (processes.folder / "broken.json").write_text(json.dumps(asdict(Recorded("broken", os.getpid(), 0.0)))[:20])
    assert not processes.alive("broken")
    processes.stop("broken")
    assert processes.names() == []


def test_a_program_that_is_not_there_is_named(processes: Processes) -> None:
    """The message names the missing program."""
    with pytest.raises(ClusterError, match="no-such-program does not exist, thing cannot start"):
        processes.start("thing", ["no-such-program"])


def test_a_frozen_process_can_still_be_stopped(processes: Processes) -> None:
    """Tests freeze components to make them slow."""
    processes.start("sleeper", ["sleep", "1000"])
    processes.signal("sleeper", signal.SIGSTOP)
    processes.stop("sleeper")
    assert not processes.alive("sleeper")
