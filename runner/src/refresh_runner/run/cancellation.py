"""Cancellation of the main thread: SIGTERM, deadlines and a lost lock all raise one exception there.

The exception is a KeyboardInterrupt, because dbt then cancels its queries.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import FrameType

# Any signal that the main thread handles would work; dbt, psycopg and Kubernetes do not use this one.
_WAKE = signal.SIGUSR1


class Cause(StrEnum):
    """Why the main thread was cancelled."""

    TERMINATED = "terminated"
    """By SIGTERM or Ctrl-C."""
    DEADLINE = "deadline"
    """The attempt has exceeded its timeout."""
    STEP_TIMEOUT = "step timeout"
    """The step has exceeded its timeout, but the attempt has not."""
    LOCK_LOST = "lock lost"
    """The connection that held the warehouse lock is lost."""


class CancelledError(KeyboardInterrupt):
    """Raised in the main thread when it is cancelled."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


@dataclass(frozen=True)
class _Cancellation:
    cause: Cause
    ends_attempt: bool
    """Whether it ends the attempt, not only the step in progress."""


class CancellationScope:
    """Raises CancelledError in the main thread, but only inside `enabled()`.

    A cancellation outside of it is raised by the next `enabled()`.
    """

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self._pending: _Cancellation | None = None
        self._is_enabled = False
        self.ending = threading.Event()
        """Set once the attempt is ending. (A signal handler may set an event, but must not start a thread.)"""

    @property
    def cause(self) -> Cause | None:
        """The cause of the attempt's cancellation; None if it was not cancelled."""
        return self._pending.cause if self._pending and self._pending.ends_attempt else None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM, SIGINT and the wake-up signal inside the block. Only for the main thread."""
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
        """Allow CancelledError to be raised inside the block."""
        self._is_enabled = True
        try:
            self.raise_if_cancelled()
            yield
        finally:
            self._is_enabled = False

    @contextmanager
    def masked(self) -> Iterator[None]:
        """Defer cancellation inside the block. A pending cancellation is raised at its end."""
        before, self._is_enabled = self._is_enabled, False
        try:
            yield
        finally:
            self._is_enabled = before
        if before:
            self._raise_if_enabled()

    @contextmanager
    def timeout(self, limit: timedelta, cause: Cause) -> Iterator[None]:
        """Cancel the block after `limit`. A deadline ends the attempt; a step's timeout is cleared once it has been raised."""
        timer = threading.Timer(max(limit.total_seconds(), 0), self._timed_out, [cause])
        timer.daemon = True
        before, is_open = self._is_enabled, False
        try:
            try:
                # Inside the block: a limit that has passed cancels at once.
                timer.start()
                yield
            finally:
                # If a cancellation is raised right here, the outer block still cleans up.
                is_open, self._is_enabled = self._is_enabled, False
        finally:
            timer.cancel()
            if timer.ident is not None:
                timer.join()
            if self._pending and not self._pending.ends_attempt:
                self._pending, is_open = None, before
            self._is_enabled = is_open
            self._raise_if_enabled()

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError if a cancellation is pending."""
        if self._pending:
            raise CancelledError(self._pending.cause)

    def cancel(self, cause: Cause) -> None:
        """End the attempt. Callable from any thread. Later causes are ignored."""
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
        # Disabled before raising: a second signal must not interrupt the clean-up after the first.
        if self._is_enabled and self._pending:
            self._is_enabled = False
            raise CancelledError(self._pending.cause)
