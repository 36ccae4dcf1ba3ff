"""Programs that tests start end with the tests, even if the tests are killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil

from support.eventually import eventually
from support.processes import with_this_process

PARENT = """
import subprocess, sys
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
sys.stdin.read()
"""


def child_after_the_kill(command: list[str]) -> psutil.Process:
    """Return the child of a process that was killed."""
    with subprocess.Popen([sys.executable, "-c", PARENT, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        # Until then, it is Python or setpriv.
        eventually(lambda: child.cmdline()[:1] == command[-2:-1], within=5)
        parent.send_signal(signal.SIGKILL)
    return child


def test_a_program_ends_with_the_tests_that_started_it() -> None:
    """An operator that outlives killed tests would write to the API server of later ones. Control: one that outlives its parent."""
    control = child_after_the_kill(["sleep", "60"])
    ended = child_after_the_kill(with_this_process("sleep", "60"))
    eventually(lambda: not ended.is_running() or ended.status() == psutil.STATUS_ZOMBIE, within=5)
    assert control.is_running()
    control.kill()
