"""`refresh-runner fetch`: fetches the dbt project of a pod's run, in its init container, and hands the result to the run.

The run also handles a failure: it reports it in the status, the run log and notifications, like every other failure.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from refresh_api.names import PROJECT_PATH, PROJECT_URL_ENV, RUN_ID_ENV, SECRETS_PATH
from refresh_api.project import Fallback, Git, Project, SourceRef
from refresh_api.run_request import ExitCode, ModeKind, RunMode, RunRequest
from refresh_api.status import ProjectStatus, Reason
from refresh_api.values import duration
from refresh_runner.cli import last_good
from refresh_runner.cli.environment import Environment, access_of, warehouse_of
from refresh_runner.cli.preparing import Preparation
from refresh_runner.cli.source import get_source
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError, secret_values
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_pod
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.report.api_server import ApiServer
from refresh_runner.report.log_output import JsonLines, Tail, log_to
from refresh_runner.repository import handover
from refresh_runner.repository.credentials import Credentials
from refresh_runner.repository.failures import machine_failure, unavailable
from refresh_runner.repository.fetch import Fetcher
from refresh_runner.repository.flux import SourceFetcher
from refresh_runner.repository.git_fetch import GitFetcher
from refresh_runner.repository.revision import Revision
from refresh_runner.runlog.project_cache import ProjectCache
from refresh_runner.runlog.revisions import KnownRevisions, known_revisions, pin, pinned

_log = logging.getLogger(__name__)
_SECRETS: Final = Path(SECRETS_PATH)


def fetch_command(environment: Environment, folder: Path = Path(PROJECT_PATH), secrets: Path = _SECRETS) -> int:
    """Fetch the project of the pod's run request. Return OK even if it is unavailable, which the run then reports.

    Return RETRY only if `folder` cannot be written to.
    """
    try:
        fetched = _fetched(environment, folder, SecretFolder(secrets))
        handover.write(folder, fetched)
    except OSError as error:
        print(f"cannot write to {folder}: {error.strerror}", file=sys.stderr)
        return ExitCode.RETRY
    return ExitCode.OK


def requested_project(environment: Environment) -> tuple[RunRequest, Project]:
    """Return the pod's run request and its project. Raise RunFailedError if there is none, or the pod may not fetch it."""
    try:
        run_request = run_request_from_pod(environment.variables)
    except InvalidRunRequestError as error:
        raise RunFailedError(Failure(Reason.INVALID_RUN_REQUEST, str(error))) from error
    project = run_request.spec.project
    if project is None:
        raise RunFailedError(Failure(Reason.INVALID_RUN_REQUEST, "the refresh fetches no project"))
    if environment.variables.get(PROJECT_URL_ENV) != project.origin.url:
        # the address that the cluster's policy has checked
        raise RunFailedError(Failure(Reason.INVALID_RUN_REQUEST, f"{PROJECT_URL_ENV} is not the address of the run request"))
    return run_request, project


def _fetched(environment: Environment, folder: Path, secrets: SecretFolder) -> handover.Fetched:
    try:
        run_request, project = requested_project(environment)
    except RunFailedError as error:
        return handover.Fetched.failed(error.failure)
    mode = RunMode.parse(run_request.mode)
    if mode.kind in (ModeKind.ROLLBACK, ModeKind.NOTIFY):
        return handover.Fetched.failed(unavailable(f"a run with mode {mode} does not build the project"))
    redact, run = Redactor(), environment.variables.get(RUN_ID_ENV, "")
    try:
        credentials = repository_credentials(project.origin, secrets)
        if run_request.preview:
            redact = Redactor(credentials.secret_values)
            log_to_pod(environment, run_request, redact)
            fetcher = _fetcher(project.origin, credentials, environment, run_request, redact)
            return _fetched_for_preview(run_request, fetcher, folder)
        login = run_request.spec.warehouse.secret_ref.name
        redact = Redactor([*credentials.secret_values, *secret_values({login: secrets.read_all(login)})])
        log_to_pod(environment, run_request, redact)
        fetcher = _fetcher(project.origin, credentials, environment, run_request, redact)
        with warehouse_of(_access(environment, run_request, secrets), f"{run[:50]} (fetch)", environment) as warehouse:
            refresh, cache = run_request.refresh, ProjectCache(warehouse)
            known, earlier = known_revisions(warehouse, refresh, run), pinned(cache, refresh, run)
            fetched = _Fetch(run_request, project, fetcher, cache, folder, run, known, earlier).result()
            if cache.problem:
                _log.warning("cannot store packages and the parsed project in the warehouse: %s", redact(cache.problem))
            return fetched
    except SecretMissingError as error:
        return handover.Fetched.failed(unavailable(redact(str(error)), "see spec.project.git.secretRef"))
    except OSError as error:
        failure = machine_failure(project.origin.url, error)
        _log.warning(failure.message)
        return handover.Fetched.failed(failure)
    except RunFailedError as error:
        failure = replace(error.failure, message=redact(error.failure.message))
        _log.warning(failure.message)
        return handover.Fetched.failed(failure)


def _fetched_for_preview(run_request: RunRequest, fetcher: Fetcher, folder: Path) -> handover.Fetched:
    """Fetch one of the two commits of a preview. It is not parsed here, where the repository's credentials are, nor kept."""
    elapsed = fetcher.clock.elapsed
    end = elapsed() + duration(fetcher.origin.timeout).total_seconds()
    revision, project = fetcher.fetch(folder / handover.SOURCE)
    _log.info("fetched %s of %s", revision, fetcher.origin.url)
    Preparation(run_request, fetcher, None, folder / handover.SOURCE, project, lambda: end - elapsed()).put_packages()
    status = ProjectStatus(url=fetcher.origin.url, path=fetcher.origin.path, revision=str(revision))
    return handover.Fetched(project=status, folder=str(project.relative_to(folder)))


def _fetcher(
    origin: Git | SourceRef, credentials: Credentials, environment: Environment, run_request: RunRequest, redact: Redactor
) -> Fetcher:
    if isinstance(origin, Git):
        return GitFetcher(origin, environment.clock, environment.variables, redact, credentials)
    namespace = run_request.refresh.namespace
    api = ApiServer.of_pod(environment.variables, environment.account)
    return SourceFetcher(origin, environment.clock, environment.variables, redact, lambda source: get_source(api, namespace, source))


def repository_credentials(origin: Git | SourceRef, secrets: SecretFolder) -> Credentials:
    """Return the credentials of a repository. Raise SecretMissingError if its Secret does not exist."""
    if origin.secret_ref is None:
        return Credentials()
    keys = secrets.read_all(origin.secret_ref.name)
    if not keys:
        raise SecretMissingError(f"the Secret {origin.secret_ref.name!r} does not exist")
    return Credentials(keys)


def _access(environment: Environment, run_request: RunRequest, secrets: SecretFolder) -> ConnectionInfo:
    try:
        return access_of(run_request.spec.warehouse.secret_ref.name, secrets, environment.variables)
    except (SecretMissingError, ValueError) as error:
        raise RunFailedError(Failure(Reason.WAREHOUSE_UNREACHABLE, str(error), hint="see spec.warehouse.secretRef")) from error


@dataclass(frozen=True)
class _Fetch:
    """The fetch of one run's project, with all its parameters."""

    run_request: RunRequest
    project: Project
    fetcher: Fetcher
    cache: ProjectCache
    folder: Path
    run: str
    known: KnownRevisions
    pinned: Revision | None
    """The revision that an earlier attempt of the run used."""

    @property
    def source(self) -> Path:
        return self.folder / handover.SOURCE

    def result(self) -> handover.Fetched:
        """Fetch and prepare the project, or use the last good one. Raise RunFailedError if neither is possible."""
        elapsed = self.fetcher.clock.elapsed
        end = elapsed() + duration(self.project.origin.timeout).total_seconds()
        try:
            return self._fetched(lambda: end - elapsed())
        except RunFailedError as error:
            if self.project.fallback is Fallback.FAIL or error.failure.reason is not Reason.PROJECT_UNAVAILABLE:
                raise
            kept = self._last_good(error.failure)
            if kept is None:
                raise
            return kept

    def _fetched(self, time_left: Callable[[], float]) -> handover.Fetched:
        origin, started = self.project.origin, self.fetcher.clock.elapsed()
        revision, project = self.fetcher.fetch(self.source, self.pinned)
        _log.info("fetched %s of %s in %.1f s", revision, origin.url, self.fetcher.clock.elapsed() - started)
        pin(self.cache, self.run_request.refresh, self.run, revision)
        preparation = Preparation(self.run_request, self.fetcher, self.cache, self.source, project, time_left)
        preparation.put_packages()
        preparation.put_parsed()
        if self.project.fallback is Fallback.LAST_GOOD:
            last_good.keep(origin, revision, self.source, self.cache)
            if self.known.of_last_success:
                last_good.renew(origin, self.known.of_last_success, self.cache)
        message = _moved(origin, self.known.of_previous_run, revision)
        if message:
            _log.warning(message)
        return self._of(revision, project, message)

    def _last_good(self, failure: Failure) -> handover.Fetched | None:
        """Return the stored project of an earlier attempt, or else of the last successful run; None if there is none."""
        revision = self.pinned or self.known.of_last_success
        project = last_good.restore(self.project.origin, revision, self.source, self.cache) if revision else None
        if revision is None or project is None:
            return None
        of = "an earlier attempt" if self.pinned else "the last successful run"
        warning = f"{failure.message}; used {revision.short}, the revision of {of}"
        _log.warning(warning)
        pin(self.cache, self.run_request.refresh, self.run, revision)
        return self._of(revision, project, warning, warning)

    def _of(self, revision: Revision, project: Path, message: str | None, warning: str = "") -> handover.Fetched:
        origin = self.project.origin
        shown = self.fetcher.redact(message) if message else None
        status = ProjectStatus(url=origin.url, path=origin.path, revision=str(revision), message=shown)
        return handover.Fetched(project=status, folder=str(project.relative_to(self.folder)), warning=self.fetcher.redact(warning))


def _moved(origin: Git | SourceRef, before: Revision | None, now: Revision) -> str | None:
    """Return a warning if a tag names another commit than in the previous run; None if it does not. A tag should never be moved."""
    is_tag = isinstance(origin, Git) and (origin.ref.tag or origin.ref.semver)
    if not is_tag or before is None or before.name != now.name or before.commit == now.commit:
        return None
    return f"tag {now.name} was moved from commit {before.commit[:12]}, used by the previous run, to {now.commit[:12]}"


def log_to_pod(environment: Environment, run_request: RunRequest, redact: Redactor) -> None:
    """Make the log a redacted one of JSON lines, as the logs of all containers of runs are."""
    refresh = f"{run_request.refresh.namespace}/{run_request.refresh.name}"
    lines = JsonLines(redact, refresh, environment.variables.get(RUN_ID_ENV, ""), lambda: "project")
    log_to(environment.output, lines, Tail(lines))
