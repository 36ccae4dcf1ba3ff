"""Fetches one revision of a refresh's project into a folder, with retries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from refresh_api.project import Git, SourceRef
from refresh_api.values import duration
from refresh_runner.core.backoff import Backoff
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.git import SETTINGS
from refresh_runner.repository.revision import Revision

_log = logging.getLogger(__name__)
Result = TypeVar("Result")
_RETRY: Final = Backoff(1.0, longest=15.0)
"""Between tries to fetch."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches revisions of one project until its timeout."""

    origin: Git | SourceRef
    clock: Clock
    variables: Mapping[str, str]
    redact: Callable[[str], str]

    def fetch(self, folder: Path, pinned: Revision | None = None) -> tuple[Revision, Path]:
        """Fetch the newest revision, or the one that an earlier attempt used, into a folder. Return it and the project's folder.

        Raise RunFailedError if it is unavailable or cannot be used.
        """
        return self._retried(lambda time_left: self._fetch(folder, pinned, time_left))

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Yield environment variables that make git use the credentials of the project, if it has any, and no other configuration."""
        yield dict(SETTINGS)

    def _fetch(self, folder: Path, pinned: Revision | None, time_left: Callable[[], float]) -> tuple[Revision, Path]:
        raise NotImplementedError

    def _retried(self, action: Callable[[Callable[[], float]], Result]) -> Result:
        """Return what an action returns, which gets the time left. Retry after transient failures, until the timeout."""
        end = self.clock.elapsed() + duration(self.origin.timeout).total_seconds()
        failures, previous = 0, None
        while True:
            try:
                return action(lambda: end - self.clock.elapsed())
            except RunFailedError as error:
                failures += 1
                delay = _RETRY.delay(failures)
                if not error.failure.retryable or self.clock.elapsed() + delay >= end:
                    if previous and self.clock.elapsed() >= end:
                        # The last try had no time left; the error of the one before is more useful.
                        raise previous from error
                    raise
                previous = error
                _log.warning("%s; retrying", self.redact(error.failure.message))
                self.clock.sleep(delay)
