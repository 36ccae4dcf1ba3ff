"""What `refresh-runner grants` prints for a refresh."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from refresh_runner.cli.environment import Environment, RunOptions
from refresh_runner.cli.grants import grants_command
from refresh_runner.core.clock import Clock
from refresh_runner.postgres.privileges import Grantee
from refresh_runner.run.cancellation import CancellationScope
from support.runner_harness import RunnerHarness


def printed_grants(
    runner: RunnerHarness, place: Path, grantee: Grantee | None, access: dict[str, str], **changes: object
) -> tuple[int, list[str]]:
    """Return the exit code and the statements; `access` has libpq's variables of the role, which matter without a grantee."""
    code, lines = printed_lines(runner, place, grantee, access, **changes)
    return code, [line for line in lines if not line.startswith("--")]


def printed_lines(
    runner: RunnerHarness, place: Path, grantee: Grantee | None, access: dict[str, str], **changes: object
) -> tuple[int, list[str]]:
    """Return the exit code and all lines, comments included."""
    file = place / "petit.yaml"
    body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "petit"}}
    file.write_text(yaml.safe_dump({**body, "spec": runner.spec(**changes)}))
    output = io.StringIO()
    clock = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
    environment = Environment({**runner.database.env, **access}, clock, lambda: 0.1, output, CancellationScope(), Path(os.devnull))
    code = grants_command(RunOptions(file, runner.project), grantee, environment)
    return code, output.getvalue().splitlines()
