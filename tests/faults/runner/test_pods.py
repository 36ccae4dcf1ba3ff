"""A run's pod or Job is deleted, its node does not respond, its memory is exhausted, or it hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.embedded.cgroups import is_v2
from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, RunPhase
from support.eventually import eventually
from support.runner_harness import RunResult
from support.slow_refresh import SlowRefresh

CGROUPS = Path("/sys/fs/cgroup")


def log(slow_refresh: SlowRefresh, run: str) -> list[tuple[object, ...]]:
    """Return success and notes of the run's rows in the log."""
    return slow_refresh.runner.database.rows(f"select success, notes from dbt_refresh_log where run_id = '{run}'")


def next_run(slow_refresh: SlowRefresh) -> RunResult:
    """Assert that another run succeeds."""
    slow_refresh.speed_up()
    ran = slow_refresh.runner.run(slow_refresh.spec(lock={"policy": "Fail"}))
    assert ran.code == 0, ran.output
    assert slow_refresh.live_generations() == {slow_refresh.generation}
    return ran


def test_a_job_that_is_deleted_leaves_a_row_and_nothing_else(slow_refresh: SlowRefresh):
    """No later pod can report: the log names the step, and after a day the row in dbt_refresh_run is closed."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step("marts", "fault-deleted")
    process.send_signal(signal.SIGTERM)
    ran = slow_refresh.runner.wait_for_exit(process)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.phase) == (ExitCode.INTERRUPTED, RunPhase.INTERRUPTED)
    slow_refresh.assert_no_session_is_left()
    assert slow_refresh.live_generations() == before
    assert log(slow_refresh, "fault-deleted") == [(False, "Petit refresh - 0/3 marts validated (interrupted by SIGTERM during 4/7 marts)")]
    slow_refresh.runner.database.run(
        "update dbt_refresh_run set heartbeat_at = heartbeat_at - interval '2 days' where run_id = 'fault-deleted'"
    )
    assert "kept from an earlier attempt" not in next_run(slow_refresh).output
    assert slow_refresh.outcome("fault-deleted") == ("Finished", "Failed", "Interrupted")
    slow_refresh.assert_clean_after("fault-deleted", rows=1)


@pytest.mark.parametrize("step", ["facts", "validation"])
def test_a_pod_that_was_deleted_by_force_and_still_runs_gives_way_to_the_next(slow_refresh: SlowRefresh, step: str):
    """Kubernetes starts another pod while the node still runs the old one: the old one loses the lock and reports nothing."""
    run = f"fault-forced-{step}"
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step(step, run)
    assert slow_refresh.live_generations() == before
    slow_refresh.speed_up()
    again = slow_refresh.runner.run(slow_refresh.spec(), RUN_ID=run, POD_NAME="the-next-pod")
    assert again.code == 0, again.output
    assert "kept from an earlier attempt" in again.output
    old = slow_refresh.runner.wait_for_exit(process, within=60)
    assert old.code == ExitCode.RETRY, old.output
    assert "Retrying (" in old.output
    assert slow_refresh.live_generations() == {slow_refresh.generation}
    assert slow_refresh.outcome(run) == ("Finished", "Succeeded", "Succeeded")
    assert [row[0] for row in log(slow_refresh, run)] == [True]
    slow_refresh.assert_clean_after(run, rows=1)


def test_a_runner_that_hangs_shows_no_life_and_is_closed_once_it_is_gone(slow_refresh: SlowRefresh):
    """It holds the lock while it lives, and others name it. Once it is killed, the next run records it as lost."""
    process = slow_refresh.start_until_in_step("facts", "fault-hung")
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", within=5)
    # The heartbeat is every fifteen seconds.
    silent = "select heartbeat_at < clock_timestamp() - interval '18 seconds' from dbt_refresh_run where run_id = 'fault-hung'"
    eventually(lambda: slow_refresh.runner.database.rows(silent) == [(True,)], within=60, every=1)
    slow_refresh.speed_up()
    other = slow_refresh.runner.run(slow_refresh.spec(lock={"policy": "Skip"}))
    assert other.termination_message is not None
    assert (other.termination_message.outcome, other.termination_message.message) == (
        Outcome.SKIPPED,
        "fault-hung holds the warehouse lock",
    )
    process.kill()
    process.communicate()
    slow_refresh.assert_no_session_is_left()
    next_run(slow_refresh)
    assert slow_refresh.outcome("fault-hung") == ("Finished", "Failed", "RunnerLost")
    slow_refresh.assert_clean_after("fault-hung", rows=0)


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group with almost no memory."""
    v2 = is_v2(Path("/proc/mounts").read_text())
    place = (CGROUPS if v2 else CGROUPS / "memory") / f"refresh-faults-{os.getpid()}"
    try:
        place.mkdir()
        (place / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text("65536")
    except OSError:
        pytest.skip("control groups are made by root alone")
    yield place
    eventually(lambda: not (place / "cgroup.procs").read_text(), within=10)
    place.rmdir()


def killed(place: Path) -> int:
    """Return how many processes of a control group the kernel has killed for lack of memory."""
    events = next(file for name in ("memory.events", "memory.oom_control") if (file := place / name).exists())
    (line,) = [line for line in events.read_text().splitlines() if line.startswith("oom_kill ")]
    return int(line.split()[1])


def test_a_runner_out_of_memory_leaves_the_live_marts_and_the_next_attempt_goes_on(slow_refresh: SlowRefresh, little_memory: Path):
    """The kernel kills the runner while it builds facts, as its control group confirms; readers must not notice."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step("facts", "fault-memory")
    (little_memory / "cgroup.procs").write_text(str(process.pid))
    slow_refresh.runner.database.run(
        "select pg_cancel_backend(pid) from pg_stat_activity where query like '%in facts %' and pid <> pg_backend_pid()"
    )
    process.communicate(timeout=60)
    assert (process.returncode, killed(little_memory) > 0) == (-signal.SIGKILL, True)
    slow_refresh.assert_no_session_is_left()
    assert slow_refresh.live_generations() == before
    assert slow_refresh.outcome("fault-memory")[0] == "Running"
    slow_refresh.speed_up()
    assert slow_refresh.run_next_attempt("fault-memory").code == 0
    slow_refresh.assert_clean_after("fault-memory", rows=1)
