"""Stopping what the main thread is doing: SIGTERM, deadlines and a lost lock all arrive there as one exception.

dbt cancels its queries when KeyboardInterrupt is raised around it, so what is raised is one.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import FrameType

# Any signal that the main thread handles would do; this one is not otherwise used by dbt, psycopg or Kubernetes.
_NUDGE = signal.SIGUSR1


class Cause(StrEnum):
    """Why the main thread was stopped."""

    TERMINATED = "terminated"
    """From outside, by SIGTERM or Ctrl-C."""
    DEADLINE = "deadline"
    """The attempt's time is up."""
    STEP_TIMEOUT = "step timeout"
    """The step's time is up; the attempt has some left."""
    LOCK_LOST = "lock lost"
    """The connection that holds the warehouse's lock is gone."""


class StoppedError(KeyboardInterrupt):
    """Raised in the main thread; the cause says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


@dataclass(frozen=True)
class _Stop:
    cause: Cause
    lasting: bool
    """Ends the attempt, not only what is under way."""


class Interrupts:
    """Raises StoppedError in the main thread, only while it is inside `open()`; what arrives outside is raised at the next opening."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self._pending: _Stop | None = None
        self._is_open = False
        self.ending = threading.Event()
        """Set once the attempt must end, or is about to. (A signal's handler may set an event; it may not start a thread.)"""

    @property
    def cause(self) -> Cause | None:
        """Why the attempt must end, if it must."""
        return self._pending.cause if self._pending and self._pending.lasting else None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT (and our own nudge) while inside; main thread only."""
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self._terminated,
            signal.SIGINT: self._terminated,
            _NUDGE: self._nudged,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let stops in while inside."""
        self._is_open = True
        try:
            self.check()
            yield
        finally:
            self._is_open = False

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Let no stop in while inside; one that arrived meanwhile is raised at the end."""
        before, self._is_open = self._is_open, False
        try:
            yield
        finally:
            self._is_open = before
        if before:
            self._raise_if_open()

    @contextmanager
    def within(self, limit: timedelta, cause: Cause) -> Iterator[None]:
        """Stop what is inside after `limit`; a deadline lasts, a step's time-out is over once it was raised."""
        timer = threading.Timer(max(limit.total_seconds(), 0), self._time_is_up, [cause])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if self._pending and not self._pending.lasting:
                self._pending = None
                self._is_open = True

    def check(self) -> None:
        """Raise StoppedError if a stop is pending."""
        if self._pending:
            raise StoppedError(self._pending.cause)

    def stop(self, cause: Cause) -> None:
        """End the attempt, from any thread; the first cause stands."""
        self._end(cause)
        self._nudge()

    def _time_is_up(self, cause: Cause) -> None:
        if cause is not Cause.STEP_TIMEOUT:
            self.stop(cause)
        elif self._pending is None:
            self._pending = _Stop(cause, lasting=False)
            self._nudge()

    def _nudge(self) -> None:
        if self._main is not None:
            signal.pthread_kill(self._main, _NUDGE)

    def _terminated(self, _number: int, _frame: FrameType | None) -> None:
        self._end(Cause.TERMINATED)
        self._raise_if_open()

    def _end(self, cause: Cause) -> None:
        if self._pending is None or not self._pending.lasting:
            self._pending = _Stop(cause, lasting=True)
            self.ending.set()

    def _nudged(self, _number: int, _frame: FrameType | None) -> None:
        self._raise_if_open()

    def _raise_if_open(self) -> None:
        # Closed before raising: a second signal must not break into the clean-up after the first.
        if self._is_open and self._pending:
            self._is_open = False
            raise StoppedError(self._pending.cause)
