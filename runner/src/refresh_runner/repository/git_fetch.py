"""Fetches one commit of a Git repository."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from refresh_api.project import Git, GitRef
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.contents import check_project, extract
from refresh_runner.repository.credentials import Credentials
from refresh_runner.repository.failures import machine_failure, no_version
from refresh_runner.repository.fetch import Fetcher
from refresh_runner.repository.git import SETTINGS, GitRepository
from refresh_runner.repository.revision import Revision, refspec
from refresh_runner.repository.versions import newest, newest_first


@dataclass(frozen=True)
class GitFetcher(Fetcher):
    """Fetches commits of one repository."""

    origin: Git
    credentials: Credentials

    def newest(self) -> Revision:
        """Return the revision that a fetch would find now. Raise RunFailedError if there is none."""
        return self._retried(self._newest)

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Yield environment variables that make git use these credentials for this repository's server, and no other configuration."""
        with tempfile.TemporaryDirectory(prefix="git-") as place:
            yield {**SETTINGS, **self.credentials.environment(self.origin.url, Path(place), self.variables.get("SSL_CERT_FILE"))}

    def _fetch(self, folder: Path, pinned: Revision | None, time_left: Callable[[], float]) -> tuple[Revision, Path]:
        with self._repository(time_left) as repository:
            ref = GitRef(commit=pinned.commit) if pinned else resolved(self.origin.ref, repository)
            found = repository.fetch(refspec(ref), f"commit {pinned.commit[:12]}" if pinned else ref.label)
            submodules = repository.submodules(found)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with repository.archive(found) as archive:
                extract(archive, folder)
            return pinned or Revision.of(ref, found), check_project(folder, self.origin, submodules)

    def _newest(self, time_left: Callable[[], float]) -> Revision:
        with self._repository(time_left) as repository:
            ref = resolved(self.origin.ref, repository)
            return Revision.of(ref, ref.commit or repository.remote_commit(refspec(ref), ref.label))

    @contextmanager
    def _repository(self, time_left: Callable[[], float]) -> Iterator[GitRepository]:
        try:
            with tempfile.TemporaryDirectory(prefix="git-") as place:
                workdir = Path(place)
                variables = self.credentials.environment(self.origin.url, workdir, self.variables.get("SSL_CERT_FILE"))
                yield GitRepository.isolated(self.origin.url, workdir / "repository", variables, time_left, self.redact)
        except OSError as error:
            raise RunFailedError(machine_failure(self.origin.url, error)) from error


def resolved(ref: GitRef, repository: GitRepository) -> GitRef:
    """Return the tag of a range of versions, and any other ref unchanged. Raise RunFailedError if no tag is in the range."""
    if ref.semver is None:
        return ref
    tags = repository.tags(ref.label)
    found = newest(tags, ref.semver)
    if found is None:
        raise RunFailedError(no_version(repository.url, ref.label, newest_first(tags)))
    return GitRef(tag=found)
