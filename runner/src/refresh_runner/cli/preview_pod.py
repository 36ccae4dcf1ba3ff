"""`refresh-runner preview` in a pod: previews what the init containers have fetched, and reports to the RefreshPreview.

The changed project is not reviewed. This container has neither the Secret of the repository nor the login of production, and only
compares: it keeps nothing, calls no API and notifies nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from refresh_api.names import BASE_PATH, PROJECT_PATH, RUN_ID_ENV, SECRETS_PATH, preview_id
from refresh_api.preview import PreviewEnd, PreviewReason, PreviewState, PreviewStatus
from refresh_api.preview_report import PreviewReport
from refresh_api.project import short_revision
from refresh_api.run_request import ExitCode, PreviewRequest, RunRequest
from refresh_api.status import Condition, ConditionStatus, Reason
from refresh_runner.cli.environment import Environment, access_of, plan_of
from refresh_runner.cli.preview import Projects, previewed
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError, redactor
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_pod
from refresh_runner.model.plan import Attempt
from refresh_runner.preview.preview import InvalidSelectionError, Scope
from refresh_runner.preview.report import report_of
from refresh_runner.report.api_server import ApiServer
from refresh_runner.report.log_output import JsonLines, Tail, log_to
from refresh_runner.report.reporters import write_termination_message
from refresh_runner.report.status_writer import PreviewStatusWriter
from refresh_runner.repository import handover
from refresh_runner.run.cancellation import CancelledError, Cause

_log = logging.getLogger(__name__)
_STATUS_TIMEOUT: Final = 8.0
"""Seconds for the last write of the status; after SIGTERM, a pod also needs time to drop what it has built."""


@dataclass(frozen=True)
class PodFolders:
    """Where a preview's pod has its projects and Secrets."""

    new: Path = Path(PROJECT_PATH)
    base: Path = Path(BASE_PATH)
    secrets: Path = Path(SECRETS_PATH)


def preview_in_pod(environment: Environment, folders: PodFolders = PodFolders()) -> int:
    """Preview what was fetched, and report it; return the exit code: OK also if marts differ, since that is a result."""
    Dbt.preload()
    try:
        run_request = run_request_from_pod(environment.variables)
        if run_request.preview is None:
            raise ValueError("the run request asks for no preview")
    except (InvalidRunRequestError, ValueError) as error:
        end = PreviewEnd(state=PreviewState.FAILED, reason=Reason.INVALID_RUN_REQUEST, message=Redactor().clipped(str(error), 1000))
        write_termination_message(end, environment.termination_log)
        return ExitCode.FAILED
    return _Preview(run_request, run_request.preview, environment, folders).run()


@dataclass
class _Preview:
    """One preview in a pod, and what is known of it so far."""

    run_request: RunRequest
    request: PreviewRequest
    environment: Environment
    folders: PodFolders
    status: PreviewStatus = field(default_factory=lambda: PreviewStatus(state=PreviewState.RUNNING))

    def run(self) -> int:
        environment, secret = self.environment, self.run_request.spec.warehouse.secret_ref.name
        secrets = SecretFolder(self.folders.secrets)
        held = {secret: secrets.read_all(secret)}
        redact = redactor(self.run_request.spec, held, environment.variables, environment.account / "token")
        refresh = f"{self.run_request.refresh.namespace}/{self.run_request.refresh.name}"
        lines = JsonLines(redact, refresh, environment.variables.get(RUN_ID_ENV, ""), lambda: "preview")
        log_to(environment.output, lines, Tail(lines))
        server = ApiServer.of_pod(environment.variables, environment.account)
        writer = PreviewStatusWriter(server, self.run_request.refresh.namespace, self.request, redact) if server else None
        if writer:
            writer.enable()

        def report(**changes: object) -> None:
            self.status = self.status.model_copy(update=changes)
            if writer:
                writer.update(self.status)

        code = self._previewed(secrets, redact, report)
        reason = self.status.conditions[0].reason if self.status.conditions else ""
        message = redact.clipped(self.status.message or "", 1000)
        state = self.status.state or PreviewState.FAILED
        write_termination_message(PreviewEnd(state=state, reason=reason, message=message), environment.termination_log)
        if writer:
            writer.finish(_STATUS_TIMEOUT)
        return code

    def _previewed(self, secrets: SecretFolder, redact: Redactor, report: Callable[..., None]) -> int:
        environment = self.environment

        def failed(reason: str, message: str) -> int:
            _log.error(message)
            now = environment.clock.now()
            report(
                state=PreviewState.FAILED,
                message=message,
                completion_time=now,
                conditions=[_condition("Failed", reason, message, now)],
            )
            return ExitCode.FAILED

        def say(message: str) -> None:
            _log.info(message)
            report(message=message)

        scope = Scope(tuple(self.request.select), all_models=self.request.all_models, sample_rows=self.request.sample_rows)
        plan = plan_of(self.run_request, Attempt(environment.variables.get(RUN_ID_ENV) or "preview"), environment)
        try:
            projects, revision = self._projects()
            report(revision=revision, short_revision=short_revision(revision))
            access = access_of(self.run_request.spec.warehouse.secret_ref.name, secrets, environment.variables)
            with environment.cancellation.timeout(plan.timeout, Cause.DEADLINE), environment.cancellation.enabled():
                found = previewed(plan, projects, access, environment, preview_id(self.request.uid), scope, say)
        except CancelledError as cancelled:
            if cancelled.cause is Cause.DEADLINE:
                return failed(Reason.DEADLINE_EXCEEDED, "the preview exceeded its timeout (raise spec.preview.timeout)")
            failed(Reason.INTERRUPTED, "the preview's pod was interrupted by SIGTERM; what it has built is dropped")
            return ExitCode.INTERRUPTED
        except InvalidSelectionError as error:
            return failed(PreviewReason.INVALID_PREVIEW, f"spec.select: {error}")
        except RunFailedError as error:
            return failed(error.failure.reason, error.failure.text)
        except (SecretMissingError, ValueError) as error:
            return failed(Reason.WAREHOUSE_UNREACHABLE, f"{error} (see spec.preview.warehouse.secretRef)")
        except Exception as error:
            # its message may quote a secret, so only the log has it, which is redacted
            _log.error("internal error of the runner: %s", type(error).__name__, exc_info=True)
            return failed(Reason.RUNNER_ERROR, f"internal error of the runner: {type(error).__name__}")
        self._report(report_of(found, texts=False), redact, report)
        return ExitCode.OK

    def _projects(self) -> tuple[Projects, str]:
        """Return the folders of both projects, and the revision of the changed one; RunFailedError if one was not fetched."""
        found = {}
        for what, folder in (("the changed project", self.folders.new), ("the live project", self.folders.base)):
            fetched = handover.read(folder)
            if fetched.failure or fetched.project is None:
                failure = fetched.failure or Failure(Reason.PROJECT_UNAVAILABLE, "not fetched")
                raise RunFailedError(Failure(failure.reason, f"{what}: {failure.message}", hint=failure.hint))
            found[folder] = folder / fetched.folder, fetched.project.revision
        (new, revision), (base, _) = found[self.folders.new], found[self.folders.base]
        return Projects(new, base), revision

    def _report(self, found: PreviewReport, redact: Redactor, report: Callable[..., None]) -> None:
        bounded, now = found.in_a_status(redact), self.environment.clock.now()
        unexpected = [kind for kind in found.differences if kind not in self.request.allow]
        state = PreviewState.DIFFERS if found.differences else PreviewState.SAME
        _log.info("%s: %s", state, found.summary)
        report(
            state=state,
            message=found.summary,
            summary=found.summary,
            completion_time=now,
            conditions=[_condition("Complete", PreviewReason.COMPARED, found.summary, now)],
            differences=found.differences,
            unexpected=unexpected,
            report=bounded,
        )


def _condition(kind: str, reason: str, message: str, now: datetime) -> Condition:
    return Condition(
        type=kind, status=ConditionStatus.TRUE, reason=reason, message=message, last_transition_time=now, observed_generation=1
    )
