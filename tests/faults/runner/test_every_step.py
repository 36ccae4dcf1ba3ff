"""SIGTERM, SIGKILL, deadline, timeouts and lost connections in each step: the attempt reports it and the next one resumes."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason, RunPhase
from refresh_runner.postgres.advisory_lock import NAMESPACE
from support.slow_refresh import LABELS, STEPS, SlowRefresh

KEPT = "kept from an earlier attempt"


def assert_it_goes_on(slow_refresh: SlowRefresh, run: str, step: str, failures: int) -> None:
    """Assert that the next attempt keeps the steps before the one that was hit, and publishes."""
    again = slow_refresh.assert_next_attempt_succeeds(run, failures)
    assert (KEPT in again.output) is (step not in {"sources", "staging"})


@pytest.mark.parametrize("step", STEPS)
def test_sigterm(slow_refresh: SlowRefresh, run: str, step: str):
    """A drained node sends SIGTERM: the attempt ends within seconds, is not counted, publishes nothing; the next pod resumes."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step(step, run)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    ran = slow_refresh.runner.wait_for_exit(process)
    assert time.monotonic() - started < 10
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.phase, ran.termination_message.reason) == (
        ExitCode.INTERRUPTED,
        RunPhase.INTERRUPTED,
        Reason.INTERRUPTED,
    )
    assert ran.termination_message.message == f"interrupted by SIGTERM during {LABELS[step]}"
    assert slow_refresh.outcome(run) == ("Interrupted", None, "Interrupted")
    noted = slow_refresh.runner.database.rows(
        f"select success, notes like '%(interrupted by SIGTERM during %)' from dbt_refresh_log where run_id = '{run}'"
    )
    assert noted == [(False, True)]
    slow_refresh.assert_no_session_is_left()
    assert slow_refresh.live_generations() == ({slow_refresh.generation} if step == "cache" else before)
    assert_it_goes_on(slow_refresh, run, step, failures=0)


@pytest.mark.parametrize("step", STEPS)
def test_sigkill(slow_refresh: SlowRefresh, run: str, step: str):
    """A killed runner reports nothing; PostgreSQL ends its query, and the next attempt resumes from the run log."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step(step, run)
    process.kill()
    process.communicate()
    slow_refresh.assert_no_session_is_left()
    assert slow_refresh.outcome(run) == ("Running", None, None)
    assert slow_refresh.live_generations() == ({slow_refresh.generation} if step == "cache" else before)
    assert_it_goes_on(slow_refresh, run, step, failures=1)


@pytest.mark.parametrize("step", STEPS)
def test_postgresql_stopped_and_started(slow_refresh: SlowRefresh, run: str, step: str):
    """During a query or an API call: the attempt fails as transient, and nothing is half published."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step(step, run)
    server = slow_refresh.runner.database.server
    server.stop("immediate")
    assert server.pid is None
    server.start_again()
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.phase) == (ExitCode.RETRY, RunPhase.RETRYING), ran.output
    lost = {Reason.LOCK_LOST, Reason.WAREHOUSE_UNREACHABLE}
    assert ran.termination_message.reason in lost | {Reason.SOURCES_STALE, Reason.LAYER_FAILED, Reason.TESTS_FAILED}
    assert slow_refresh.live_generations() == ({slow_refresh.generation} if step == "cache" else before)
    slow_refresh.assert_next_attempt_succeeds(run)


@pytest.mark.parametrize("step", STEPS)
def test_deadline(slow_refresh: SlowRefresh, run: str, step: str):
    """The deadline names the step, leaves no query, and the last attempt writes its log row."""
    before = slow_refresh.live_generations()
    slow_refresh.slow_down(step, 60)
    spec = slow_refresh.spec(timeout="12s")
    ran = slow_refresh.runner.run({**spec, "cache": {**spec["cache"], "timeout": "60s"}}, 2, RUN_ID=run)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.DEADLINE_EXCEEDED), ran.output
    assert ran.termination_message.message == f"timed out after 12s: stopped during {LABELS[step]}"
    assert slow_refresh.live_generations() == ({slow_refresh.generation} if step == "cache" else before)
    assert slow_refresh.outcome(run) == ("Finished", "Failed", "DeadlineExceeded")
    slow_refresh.assert_clean_after(run, rows=1)


class LateTimer(threading.Timer):
    """A timer that fires two seconds late."""

    def __init__(self, interval: float, *arguments: Any) -> None:
        super().__init__(interval + 2, *arguments)


def test_deadline_whose_timer_is_late(slow_refresh: SlowRefresh, run: str, monkeypatch: pytest.MonkeyPatch):
    """On a busy machine the last call of the API ends before the timer of the deadline fires. The outcome must be the same."""
    slow_refresh.slow_down("cache", 60)
    monkeypatch.setattr("refresh_runner.run.cancellation.threading.Timer", LateTimer)
    spec = slow_refresh.spec(timeout="12s")
    ran = slow_refresh.runner.run({**spec, "cache": {**spec["cache"], "timeout": "60s"}}, 2, RUN_ID=run)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.DEADLINE_EXCEEDED), ran.output
    assert ran.termination_message.message == f"timed out after 12s: stopped during {LABELS['cache']}"


TIMED = {
    "sources": Reason.SOURCES_STALE,
    "staging": Reason.LAYER_FAILED,
    "facts": Reason.LAYER_FAILED,
    "marts": Reason.LAYER_FAILED,
    "tests": Reason.TESTS_FAILED,
}
"""Steps with a timeout of their own, and the reason with which a run fails in each."""


@pytest.mark.parametrize("step", TIMED)
def test_statement_time_out(slow_refresh: SlowRefresh, run: str, step: str):
    """PostgreSQL or the runner cancels the statement; the last attempt fails with the step that took too long."""
    before = slow_refresh.live_generations()
    slow_refresh.slow_down(step, 60)
    spec = slow_refresh.spec()
    for part in (spec["sources"], *spec["layers"], spec["tests"]):
        part["timeout"] = "6s"
    ran = slow_refresh.runner.run(spec, 2, RUN_ID=run)
    assert ran.termination_message is not None
    assert ran.code == ExitCode.FAILED, ran.output
    assert ran.termination_message.reason is TIMED[step]
    # On a busy machine PostgreSQL may begin too late; the runner's own timeout follows three seconds later.
    said = ran.termination_message.message or ""
    assert "canceling statement due to statement timeout" in said or "timed out after 6s" in said
    assert slow_refresh.live_generations() == before
    slow_refresh.assert_clean_after(run, rows=1)


@pytest.mark.parametrize("step", ["staging", "facts", "marts", "tests"])
def test_connection_cut(slow_refresh: SlowRefresh, run: str, step: str):
    """One of dbt's connections is terminated: only its node is tried again, within the same attempt."""
    spec = slow_refresh.spec()
    for part in (*spec["layers"], spec["tests"]):
        part["retries"] = 1
    process = slow_refresh.start_until_in_step(step, run, layers=spec["layers"], tests=spec["tests"])
    ((pid, _), *_) = slow_refresh.runner.running_queries(f"in {step} ")
    slow_refresh.speed_up()
    assert slow_refresh.runner.database.rows(f"select pg_terminate_backend({pid})") == [(True,)]
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert ran.code == 0, ran.output
    assert "retrying " in ran.messages
    assert slow_refresh.live_generations() == {slow_refresh.generation}
    slow_refresh.assert_clean_after(run, rows=1)


@pytest.mark.parametrize("stale_policy", ["Fail", "Skip"])
def test_connection_cut_while_sources_are_asked(slow_refresh: SlowRefresh, run: str, stale_policy: str):
    """The age of the sources is unknown then, which must neither skip the run nor fail it for good."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step("sources", run, sources={"stalePolicy": stale_policy})
    ((pid, _), *_) = slow_refresh.runner.running_queries('"arrivees"')
    assert slow_refresh.runner.database.rows(f"select pg_terminate_backend({pid})") == [(True,)]
    ran = slow_refresh.runner.wait_for_exit(process, within=60)
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.phase, ran.termination_message.reason) == (
        ExitCode.RETRY,
        RunPhase.RETRYING,
        Reason.SOURCES_STALE,
    ), ran.output
    assert slow_refresh.live_generations() == before
    assert_it_goes_on(slow_refresh, run, "sources", failures=1)


@pytest.mark.parametrize("step", STEPS)
def test_lock_lost(slow_refresh: SlowRefresh, run: str, step: str):
    """Another run could start once the lock's session is gone: the run must stop and publish nothing."""
    before = slow_refresh.live_generations()
    process = slow_refresh.start_until_in_step(step, run)
    holder = f"select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = {NAMESPACE}"
    assert slow_refresh.runner.database.rows(holder) == [(True,)]
    ran = slow_refresh.runner.wait_for_exit(process, within=40)
    assert ran.termination_message is not None
    assert ran.code == ExitCode.RETRY, ran.output
    assert ran.termination_message.reason in {Reason.LOCK_LOST, Reason.WAREHOUSE_UNREACHABLE}
    assert slow_refresh.live_generations() == ({slow_refresh.generation} if step == "cache" else before)
    slow_refresh.assert_next_attempt_succeeds(run)


def test_a_killed_run_that_nobody_resumes_is_closed_by_the_next_one(slow_refresh: SlowRefresh, run: str):
    """Its row would stay Running forever. The next run closes it as lost, and names the step."""
    process = slow_refresh.start_until_in_step("facts", run)
    process.kill()
    process.communicate()
    slow_refresh.speed_up()
    slow_refresh.assert_no_session_is_left()
    assert slow_refresh.runner.run(slow_refresh.spec()).code == 0
    assert slow_refresh.outcome(run) == ("Finished", "Failed", "RunnerLost")
    slow_refresh.assert_clean_after(run, rows=0)
