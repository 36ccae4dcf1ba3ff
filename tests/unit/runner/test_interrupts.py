"""Stops arrive in the main thread, and only where they are let in."""

import os
import signal
import threading
from datetime import timedelta

import pytest

from refresh_runner.run.cancellation import Cause, Interrupts, StoppedError

NEVER = threading.Event()


def terminate(then=lambda: None) -> None:
    """End this process as Kubernetes would, and clean up."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        NEVER.wait(0.5)
    finally:
        then()


@pytest.fixture
def interrupts():
    """Interrupts that handle this process' signals during the test."""
    with (found := Interrupts()).installed():
        yield found


def test_sigterm_stops_what_is_open(interrupts: Interrupts):
    """As a KeyboardInterrupt, which is what dbt cancels its queries for."""
    with pytest.raises(KeyboardInterrupt), interrupts.open():
        terminate()
    assert interrupts.cause is Cause.TERMINATED


def test_a_signal_outside_is_raised_at_the_next_opening(interrupts: Interrupts):
    """None is lost, none breaks into a clean-up."""
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StoppedError), interrupts.open():
        pytest.fail("went in")


def test_a_second_signal_does_not_break_into_the_clean_up(interrupts: Interrupts):
    """Somebody presses Ctrl-C twice."""
    cleaned = []

    def clean_up() -> None:
        terminate()
        cleaned.append(True)

    with pytest.raises(StoppedError), interrupts.open():
        terminate(then=clean_up)
    assert cleaned


def test_a_steps_time_out_leaves_the_attempt_going(interrupts: Interrupts):
    """The next step can be stopped again."""
    with interrupts.open():
        for _ in range(2):
            with pytest.raises(StoppedError) as stop, interrupts.within(timedelta(seconds=0.05), Cause.STEP_TIMEOUT):
                NEVER.wait(10)
            assert stop.value.cause is Cause.STEP_TIMEOUT
    assert interrupts.cause is None


def test_a_deadline_lasts(interrupts: Interrupts):
    """Nothing is begun after it."""
    with pytest.raises(StoppedError), interrupts.within(timedelta(seconds=0.05), Cause.DEADLINE), interrupts.open():
        NEVER.wait(10)
    assert interrupts.cause is Cause.DEADLINE


def test_what_is_done_in_time_is_not_stopped(interrupts: Interrupts):
    """The positive control of the two above."""
    with interrupts.within(timedelta(seconds=60), Cause.DEADLINE), interrupts.open():
        NEVER.wait(0.05)
    assert interrupts.cause is None
