"""`refresh-runner poll`: reports the newest revision of a refresh's project, in a pod of its own.

The pod has the repository's Secret and nothing else: neither the warehouse's, nor a token for the API server. It reports in its termination
message, which the operator reads.
"""

from __future__ import annotations

import logging
from pathlib import Path

from refresh_api.names import SECRETS_PATH
from refresh_api.run_request import ExitCode
from refresh_api.status import ProjectSeen
from refresh_runner.cli.environment import Environment
from refresh_runner.cli.fetch import log_to_pod, repository_credentials, requested_project
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError
from refresh_runner.repository.failures import invalid
from refresh_runner.repository.git_fetch import GitFetcher

_log = logging.getLogger(__name__)
_LONGEST = 1000
"""Maximum number of characters of an error."""


def poll_command(environment: Environment, secrets: Path = Path(SECRETS_PATH)) -> int:
    """Write the newest revision of the pod's project, or why it is not known, to the termination message. Return OK in both cases."""
    redact = Redactor()
    try:
        run_request, project = requested_project(environment)
        if project.git is None:
            raise RunFailedError(invalid("only a repository is polled: a source of Flux shows its revision itself"))
        credentials = repository_credentials(project.git, SecretFolder(secrets))
        redact = Redactor(credentials.secret_values)
        log_to_pod(environment, run_request, redact)
        revision = GitFetcher(project.git, environment.clock, environment.variables, redact, credentials).newest()
        seen = ProjectSeen(revision=str(revision))
        _log.info("%s has %s", project.git.url, revision)
    except RunFailedError as error:
        seen = _failed(redact.clipped(error.failure.text, _LONGEST))
    except SecretMissingError as error:
        seen = _failed(redact.clipped(f"{error} (see spec.project.git.secretRef)", _LONGEST))
    environment.termination_log.write_text(seen.model_dump_json(by_alias=True, exclude_none=True))
    return ExitCode.OK


def _failed(why: str) -> ProjectSeen:
    _log.warning(why)
    return ProjectSeen(error=why)
