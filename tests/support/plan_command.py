"""`refresh-runner plan` for a spec."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from refresh_runner.cli.environment import Environment, RunOptions
from refresh_runner.cli.plan import plan_command
from refresh_runner.core.clock import Clock
from refresh_runner.run.cancellation import CancellationScope
from support.runner_harness import Json, RunnerHarness


def plan_of(
    runner: RunnerHarness,
    spec: Json,
    place: Path,
    mode: str | None = None,
    *,
    asked: bool = True,
    variables: tuple[str, ...] = (),
    secrets: Path | None = None,
) -> tuple[int, str]:
    """Return the exit code and the lines of a plan. Its file is written into `place`. The warehouse is queried if `asked`."""
    file = place / "petit.yaml"
    body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "petit"}}
    file.write_text(yaml.safe_dump({**body, "spec": spec}))
    output = io.StringIO()
    environment = Environment(
        variables=runner.database.env if asked else {},
        clock=Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep),
        jitter=lambda: 0.1,
        output=output,
        cancellation=CancellationScope(),
        termination_log=Path(os.devnull),
    )
    code = plan_command(RunOptions(file, runner.project, secrets, mode=mode, variables=variables), environment)
    return code, output.getvalue()
