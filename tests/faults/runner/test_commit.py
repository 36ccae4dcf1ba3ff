"""A run is interrupted at the moment of its commit: what is live is known and reported, and the previous version is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, Reason, RunPhase
from support.slow_refresh import NO_SLOW_COMMIT, SLOW_COMMIT, SlowRefresh


@pytest.fixture
def slow(slow_refresh: SlowRefresh) -> Iterator[SlowRefresh]:
    """The refresh, whose commit of a publish can be slowed down."""
    slow_refresh.runner.database.run(SLOW_COMMIT)
    slow_refresh.next_generation()
    yield slow_refresh
    slow_refresh.runner.database.run(NO_SLOW_COMMIT)


def assert_the_one_before_is_kept(slow_refresh: SlowRefresh, before: set[object]) -> None:
    """Assert that a rollback restores what was live before the run, however often that published, and that publishing continues."""
    back = slow_refresh.runner.run(slow_refresh.spec(), mode="rollback")
    assert back.code == 0, back.output
    assert slow_refresh.live_generations() == before
    assert slow_refresh.runner.run(slow_refresh.spec(), mode="resume").code == 0


def test_sigterm(slow: SlowRefresh, run: str) -> None:
    """The runner waits for the commit, and then reports the interruption. The next attempt publishes again."""
    before = slow.live_generations()
    process = slow.start_until_in_step("commit", run, 3)
    process.send_signal(signal.SIGTERM)
    ran = slow.runner.wait_for_exit(process)
    assert slow.live_generations() == {slow.generation} != before
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.phase, ran.termination_message.reason) == (
        ExitCode.INTERRUPTED,
        RunPhase.INTERRUPTED,
        Reason.INTERRUPTED,
    ), ran.output
    assert ran.termination_message.message == "interrupted by SIGTERM after 6/7 validation"
    assert "6/7 validation Succeeded" in ran.messages
    slow.speed_up()
    again = slow.run_next_attempt(run, failures=0)
    assert again.code == 0, again.output
    assert_the_one_before_is_kept(slow, before)
    slow.assert_clean_after(run, rows=1)


def test_deadline(slow: SlowRefresh, run: str) -> None:
    """The run fails, because the cache was not called, and reports that its data are live."""
    before = slow.live_generations()
    slow.slow_down("commit", 14)
    ran = slow.runner.run(slow.spec(timeout="12s"), 2, RUN_ID=run)
    assert ran.termination_message is not None
    assert (ran.termination_message.outcome, ran.termination_message.reason) == (Outcome.FAILED, Reason.DEADLINE_EXCEEDED), ran.output
    assert ran.termination_message.message == "timed out after 12s: stopped after 6/7 validation"
    assert slow.live_generations() == {slow.generation} != before
    slow.speed_up()
    assert_the_one_before_is_kept(slow, before)
    slow.assert_clean_after(run, rows=1)


def test_sigkill(slow: SlowRefresh, run: str) -> None:
    """PostgreSQL completes the commit, and the next attempt recognises it as the same run's."""
    before = slow.live_generations()
    process = slow.start_until_in_step("commit", run, 1)
    process.kill()
    process.communicate()
    slow.assert_no_session_is_left()
    committed = slow.live_generations()
    assert committed in (before, {slow.generation})
    slow.speed_up()
    again = slow.run_next_attempt(run)
    assert again.code == 0, again.output
    assert slow.live_generations() == {slow.generation}
    assert_the_one_before_is_kept(slow, before)
    slow.assert_clean_after(run, rows=1)


def test_postgresql_stopped_and_started(slow: SlowRefresh, run: str) -> None:
    """The transaction is rolled back: readers see the previous data, whole."""
    before = slow.live_generations()
    process = slow.start_until_in_step("commit", run, 20)
    server = slow.runner.database.server
    server.stop("immediate")
    server.start_again()
    ran = slow.runner.wait_for_exit(process, within=60)
    assert ran.code == ExitCode.RETRY, ran.output
    assert slow.live_generations() == before
    slow.speed_up()
    assert slow.run_next_attempt(run).code == 0
    assert_the_one_before_is_kept(slow, before)
    slow.assert_clean_after(run, rows=1)
