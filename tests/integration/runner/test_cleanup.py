"""`refresh-runner cleanup`: removes what a deleted refresh left in the warehouse, and keeps what others need."""

from __future__ import annotations

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from refresh_api.run_request import ExitCode
from refresh_runner.cli.cleanup import cleanup_command
from refresh_runner.cli.environment import Environment
from refresh_runner.core.clock import Clock
from refresh_runner.run.cancellation import CancellationScope
from support.runner_harness import REF, RunnerHarness, hold_advisory_lock


def cleaned(runner: RunnerHarness, *, really: bool) -> tuple[int, str]:
    """Return the exit code and the output."""
    output = io.StringIO()
    clock = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
    environment = Environment(runner.database.env, clock, lambda: 0.1, output, CancellationScope(), Path(os.devnull))
    return cleanup_command(REF, None, really, environment), output.getvalue()


def test_what_is_left_is_said_first_and_removed_on_demand(runner: RunnerHarness) -> None:
    """The previous relations, the version and the runs are removed; the live marts and the log are kept.

    A second call has nothing to do.
    """
    runner.run()
    runner.run()
    code, said = cleaned(runner, really=False)
    assert code is ExitCode.OK
    assert "would remove the table dwh_marts__previous.mart_a" in said
    assert "the table dwh_marts.mart_a" not in said
    assert "nothing was removed: add --yes to remove it" in said
    assert runner.database.rows("select count(*) from dwh_marts__previous.mart_a") == [(100,)]

    code, said = cleaned(runner, really=True)
    assert (code, "removed 2 runs in dbt_refresh_run" in said) == (ExitCode.OK, True)
    assert runner.database.rows("select to_regnamespace('dwh_marts__previous')") == [(None,)]
    for table in ("dbt_refresh_version", "dbt_refresh_run", "dbt_refresh_step", "dbt_refresh_node", "dbt_refresh_mart"):
        assert runner.database.rows(f"select count(*) from {table}") == [(0,)]
    assert runner.database.rows("select count(*) from dwh_marts.mart_a") == [(100,)]
    assert len(runner.log_rows()) == 2
    assert cleaned(runner, really=True) == (ExitCode.OK, "nothing is left of petit\n")


def test_a_run_at_work_is_not_disturbed(runner: RunnerHarness) -> None:
    """The holder of the lock is named, and nothing is changed."""
    runner.run()
    runner.run()
    with hold_advisory_lock(runner, "autre-run"):
        code, said = cleaned(runner, really=True)
    assert (code, "autre-run holds the warehouse" in said) == (ExitCode.FAILED, True)
    assert runner.database.rows("select count(*) from dwh_marts__previous.mart_a") == [(100,)]
