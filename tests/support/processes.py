"""Processes of tests that must not outlive the tests."""

from __future__ import annotations

import shutil


def with_this_process(*command: str) -> list[str]:
    """Return the command with which the kernel kills a program as soon as the thread that started it ends, for any reason.

    `setpriv` is part of util-linux; without it, the program outlives tests that were killed.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)
