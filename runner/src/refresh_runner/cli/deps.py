"""`refresh-runner deps`: installs the packages of a dbt project from its lock file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from refresh_api.run_request import ExitCode
from refresh_runner.core.errors import RunFailedError
from refresh_runner.dbt import packages


def deps(project: Path, say: Callable[[str], None]) -> ExitCode:
    """Install the packages in package-lock.yml.

    Return FAILED if the lock file is missing or outdated, RETRY if a package cannot be installed.
    """
    try:
        if packages.names_packages(project):
            with tempfile.TemporaryDirectory(prefix="deps-") as workdir:
                packages.install(project.absolute(), Path(workdir))
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
        return ExitCode.RETRY if error.failure.retryable else ExitCode.FAILED
    return ExitCode.OK
