"""Fetches one commit of a refresh's project into a folder, with retries."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refresh_api.project import Git
from refresh_api.values import duration
from refresh_runner.core.backoff import Backoff
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.contents import check_project, extract
from refresh_runner.repository.credentials import Credentials
from refresh_runner.repository.failures import machine_failure
from refresh_runner.repository.git import SETTINGS, GitRepository
from refresh_runner.repository.revision import Revision, refspec

_log = logging.getLogger(__name__)
_RETRY: Final = Backoff(1.0, longest=15.0)
"""Between tries to fetch."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches commits of one repository until its timeout."""

    git: Git
    credentials: Credentials
    clock: Clock
    variables: Mapping[str, str]
    redact: Callable[[str], str]

    def fetch(self, folder: Path, commit: str = "") -> tuple[Revision, Path]:
        """Fetch the ref, or the commit that an earlier attempt used, into a folder. Return its revision and the project's folder.

        Raise RunFailedError if it is unavailable or cannot be used.
        """
        end = self.clock.elapsed() + duration(self.git.timeout).total_seconds()
        failures, previous = 0, None
        while True:
            try:
                return self._fetch(folder, commit, lambda: end - self.clock.elapsed())
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

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Yield environment variables that make git use these credentials for this repository's server, and no other configuration."""
        with tempfile.TemporaryDirectory(prefix="git-") as place:
            yield {**SETTINGS, **self.credentials.environment(self.git.url, Path(place), self.variables.get("SSL_CERT_FILE"))}

    def _fetch(self, folder: Path, commit: str, time_left: Callable[[], float]) -> tuple[Revision, Path]:
        label = f"commit {commit[:12]}" if commit else self.git.ref.label
        try:
            return self._fetch_commit(folder, commit, label, time_left)
        except OSError as error:
            raise RunFailedError(machine_failure(self.git.url, error)) from error

    def _fetch_commit(self, folder: Path, commit: str, label: str, time_left: Callable[[], float]) -> tuple[Revision, Path]:
        with tempfile.TemporaryDirectory(prefix="git-") as place:
            workdir = Path(place)
            variables = self.credentials.environment(self.git.url, workdir, self.variables.get("SSL_CERT_FILE"))
            repository = GitRepository.isolated(self.git.url, workdir / "repository", variables, time_left, self.redact)
            found = repository.fetch(refspec(self.git.ref, commit), label)
            submodules = repository.submodules(found)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with repository.archive(found) as archive:
                extract(archive, folder)
            return Revision.of(self.git.ref, found), check_project(folder, self.git.path, submodules)
