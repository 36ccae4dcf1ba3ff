"""Cancellation interrupts the main thread, and only where it is enabled."""

import os
import signal
import threading
from datetime import timedelta

import pytest

from refresh_runner.run.cancellation import CancellationScope, CancelledError, Cause

NEVER = threading.Event()


def terminate(then=lambda: None) -> None:
    """Send SIGTERM to this process, as Kubernetes does, and then clean up."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        NEVER.wait(0.5)
    finally:
        then()


@pytest.fixture
def cancellation():
    """A scope that handles the signals of this process during the test."""
    with (found := CancellationScope()).installed():
        yield found


def test_sigterm_stops_what_is_open(cancellation: CancellationScope):
    """It is raised as a KeyboardInterrupt, for which dbt cancels its queries."""
    with pytest.raises(KeyboardInterrupt), cancellation.enabled():
        terminate()
    assert cancellation.cause is Cause.TERMINATED


def test_a_signal_outside_is_raised_at_the_next_opening(cancellation: CancellationScope):
    """No signal is lost, and none interrupts a clean-up."""
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(CancelledError), cancellation.enabled():
        pytest.fail("went in")


def test_a_second_signal_does_not_break_into_the_clean_up(cancellation: CancellationScope):
    """For example, if a user presses Ctrl-C twice."""
    cleaned = []

    def clean_up() -> None:
        terminate()
        cleaned.append(True)

    with pytest.raises(CancelledError), cancellation.enabled():
        terminate(then=clean_up)
    assert cleaned


def test_a_steps_time_out_leaves_the_attempt_going(cancellation: CancellationScope):
    """The next step can be interrupted again."""
    with cancellation.enabled():
        for _ in range(2):
            with pytest.raises(CancelledError) as stop, cancellation.timeout(timedelta(seconds=0.05), Cause.STEP_TIMEOUT):
                NEVER.wait(10)
            assert stop.value.cause is Cause.STEP_TIMEOUT
    assert cancellation.cause is None


def test_a_step_without_time_left_is_cancelled_each_time(cancellation: CancellationScope):
    """Its timer fires while the block is entered or left, and must neither be lost nor disable the cancellations after it."""
    with cancellation.enabled():
        for _ in range(100):
            with pytest.raises(CancelledError), cancellation.timeout(timedelta(0), Cause.STEP_TIMEOUT):
                NEVER.wait(5)
        for _ in range(100):
            try:
                with cancellation.timeout(timedelta(seconds=0.0002), Cause.STEP_TIMEOUT):
                    NEVER.wait(0.0002)
            except CancelledError:
                pass
        with pytest.raises(CancelledError):
            terminate()
    assert cancellation.cause is Cause.TERMINATED


def test_a_deadline_lasts(cancellation: CancellationScope):
    """Nothing is started after it."""
    with pytest.raises(CancelledError), cancellation.timeout(timedelta(seconds=0.05), Cause.DEADLINE), cancellation.enabled():
        NEVER.wait(10)
    assert cancellation.cause is Cause.DEADLINE


def test_what_is_done_in_time_is_not_stopped(cancellation: CancellationScope):
    """Control of the two tests above."""
    with cancellation.timeout(timedelta(seconds=60), Cause.DEADLINE), cancellation.enabled():
        NEVER.wait(0.05)
    assert cancellation.cause is None
