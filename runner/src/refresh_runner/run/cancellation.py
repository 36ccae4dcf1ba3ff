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
_WAKE = signal.SIGUSR1


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


class CancelledError(KeyboardInterrupt):
    """Raised in the main thread; the cause says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


@dataclass(frozen=True)
class _Cancellation:
    cause: Cause
    ends_attempt: bool
    """Ends the attempt, not only what is under way."""


class CancellationScope:
    """Raises StoppedError in the main thread, only while it is inside `open()`; what arrives outside is raised at the next opening."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self._pending: _Cancellation | None = None
        self._is_enabled = False
        self.ending = threading.Event()
        """Set once the attempt must end, or is about to. (A signal's handler may set an event; it may not start a thread.)"""

    @property
    def cause(self) -> Cause | None:
        """Why the attempt must end, if it must."""
        return self._pending.cause if self._pending and self._pending.ends_attempt else None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT (and our own nudge) while inside; main thread only."""
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self._terminated,
            signal.SIGINT: self._terminated,
            _WAKE: self._woken,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def enabled(self) -> Iterator[None]:
        """Let stops in while inside."""
        self._is_enabled = True
        try:
            self.raise_if_cancelled()
            yield
        finally:
            self._is_enabled = False

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Let no stop in while inside; one that arrived meanwhile is raised at the end."""
        before, self._is_enabled = self._is_enabled, False
        try:
            yield
        finally:
            self._is_enabled = before
        if before:
            self._raise_if_enabled()

    @contextmanager
    def timeout(self, limit: timedelta, cause: Cause) -> Iterator[None]:
        """Stop what is inside after `limit`; a deadline lasts, a step's time-out is over once it was raised."""
        timer = threading.Timer(max(limit.total_seconds(), 0), self._timed_out, [cause])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if self._pending and not self._pending.ends_attempt:
                self._pending = None
                self._is_enabled = True

    def raise_if_cancelled(self) -> None:
        """Raise StoppedError if a stop is pending."""
        if self._pending:
            raise CancelledError(self._pending.cause)

    def cancel(self, cause: Cause) -> None:
        """End the attempt, from any thread; the first cause stands."""
        self._cancel(cause)
        self._wake()

    def _timed_out(self, cause: Cause) -> None:
        if cause is not Cause.STEP_TIMEOUT:
            self.cancel(cause)
        elif self._pending is None:
            self._pending = _Cancellation(cause, ends_attempt=False)
            self._wake()

    def _wake(self) -> None:
        if self._main is not None:
            signal.pthread_kill(self._main, _WAKE)

    def _terminated(self, _number: int, _frame: FrameType | None) -> None:
        self._cancel(Cause.TERMINATED)
        self._raise_if_enabled()

    def _cancel(self, cause: Cause) -> None:
        if self._pending is None or not self._pending.ends_attempt:
            self._pending = _Cancellation(cause, ends_attempt=True)
            self.ending.set()

    def _woken(self, _number: int, _frame: FrameType | None) -> None:
        self._raise_if_enabled()

    def _raise_if_enabled(self) -> None:
        # Closed before raising: a second signal must not break into the clean-up after the first.
        if self._is_enabled and self._pending:
            self._is_enabled = False
            raise CancelledError(self._pending.cause)
