"""`refresh-runner run`: sets up one attempt, runs it, and reports its end."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from refresh_api.names import (
    COMBINES_ENV,
    POD_NAME_ENV,
    RUN_FAILURES_ENV,
    RUN_ID_ENV,
    RUN_URL_TEMPLATE_ENV,
    SECRETS_PATH,
    WEBHOOK_ALLOW_HTTP_ENV,
)
from refresh_api.run_request import ExitCode
from refresh_api.spec import RefreshSpec
from refresh_api.status import Outcome, ProjectStatus, Reason
from refresh_notify import Rules
from refresh_runner.cli.environment import Environment, RunOptions, access_of, plan_of, printer
from refresh_runner.cli.project_option import project_of
from refresh_runner.core.after_run import Work, do_all
from refresh_runner.core.compression import unpacked
from refresh_runner.core.errors import Failure, RunFailedError
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError, redactor
from refresh_runner.dbt import documents
from refresh_runner.dbt.description import description_text
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file, run_request_from_pod
from refresh_runner.model.plan import Attempt, Plan
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.report.api_server import ApiServer
from refresh_runner.report.outcome import Report, report_of
from refresh_runner.report.progress import RunProgress
from refresh_runner.report.reporters import ReporterConfig, RunReporter, report_rejection
from refresh_runner.report.status_writer import RunStatusWriter
from refresh_runner.repository import handover
from refresh_runner.run.attempt import run
from refresh_runner.run.services import Services
from refresh_runner.runlog import artifacts
from refresh_runner.runlog.artifacts import Artifact
from refresh_runner.runlog.resume import fingerprint_of, programs
from refresh_runner.runlog.writer import RunLogWriter
from refresh_runner.tracing.settings import settings_of

_log = logging.getLogger(__name__)
_dbt_log = logging.getLogger("dbt")
_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR}


def run_command(options: RunOptions, environment: Environment) -> int:
    """Run the refresh of a file, or the pod's run request. Return the exit code."""
    Dbt.preload()
    variables, file = environment.variables, options.file
    try:
        run_request = run_request_from_file(file, options.mode, options.variables) if file else run_request_from_pod(variables)
    except InvalidRunRequestError as error:
        printer(environment)(f"{file or 'the run request'}: invalid DashboardRefresh: {error}")
        if file:
            return ExitCode.USAGE
        attempt = _attempt_of_pod(variables, 0)
        report_rejection(str(error), attempt.run_id, attempt.number, environment.termination_log)
        return ExitCode.FAILED
    if file:
        attempt = Attempt(f"{run_request.refresh.name}-local-{environment.clock.now():%Y%m%d%H%M%S%f}")
    else:
        attempt = _attempt_of_pod(variables, run_request.spec.retries)
    folder = SecretFolder(options.secrets if options.secrets or file else Path(SECRETS_PATH))
    try:
        source = _source(run_request.spec, options)
    except RunFailedError as error:
        printer(environment)(f"{file}: {error.failure.message}")
        return ExitCode.USAGE
    try:
        return _run(RunContext(plan_of(run_request, attempt, environment), folder, options, source, in_pod=not file), environment)
    except Exception as error:
        # The error's message may quote a secret, so it is only written to the log, which redacts it.
        name = type(error).__name__
        _log.error("internal error of the runner: %s", name, exc_info=bool(logging.getLogger().handlers))
        if not file:
            message = f"internal error of the runner: {name}"
            report_rejection(message, attempt.run_id, attempt.number, environment.termination_log, Reason.RUNNER_ERROR)
        return ExitCode.FAILED


def _attempt_of_pod(variables: Mapping[str, str], retries: int) -> Attempt:
    failures = variables.get(RUN_FAILURES_ENV, "")
    number = int(failures) + 1 if failures.isascii() and failures.isdigit() and len(failures) < 10 else 1
    return Attempt(variables.get(RUN_ID_ENV) or "unknown", number, max(retries + 1, number), variables.get(POD_NAME_ENV))


@dataclass(frozen=True)
class ProjectSource:
    """The dbt project of a run."""

    folder: Path
    status: ProjectStatus | None = None
    """The revision, if the project was fetched from a repository."""
    failure: Failure | None = None
    """Why the project could not be fetched."""
    warning: str = ""
    """Why the run ends as Warned even if it succeeds."""


def _source(spec: RefreshSpec, options: RunOptions) -> ProjectSource:
    """Return the project to run. Raise RunFailedError if a file's refresh takes it from a repository and no folder is given."""
    if options.file is not None or spec.project is None:
        return ProjectSource(project_of(spec, options.project))
    fetched = handover.read(options.fetched)
    return ProjectSource(options.fetched / fetched.folder, fetched.project, fetched.failure, fetched.warning)


@dataclass(frozen=True)
class RunContext:
    """The run request and the options of a run."""

    plan: Plan
    folder: SecretFolder
    options: RunOptions
    source: ProjectSource
    in_pod: bool

    def secrets(self) -> tuple[dict[str, dict[str, str]], SecretMissingError | None]:
        """Return the Secrets that exist, and the error of a Secret that cannot be read."""
        found, unreadable = {}, None
        for name in self.plan.run_request.spec.secret_keys:
            try:
                if keys := self.folder.read_all(name):
                    found[name] = keys
            except SecretMissingError as error:
                unreadable = error
        return found, unreadable


def _run(context: RunContext, environment: Environment) -> int:
    plan = context.plan
    secrets, unreadable = context.secrets()
    redact = redactor(plan.run_request.spec, secrets, environment.variables, environment.account / "token")
    services: Services | None = None
    afterwards: list[Callable[[], Work | None]] = []
    with ExitStack() as stack:
        reporter = RunReporter(_reporter_config(context, environment, redact, secrets), stack)
        progress = RunProgress(plan, environment.clock, [reporter.update], redact, context.source.status)
        if plan.policy.only_notifies:
            return reporter.test_channels(progress).exit_code
        if traces := settings_of(environment.variables):
            # here, so that runs without it do not import it
            from refresh_runner.tracing.send import Tracer

            tracer = Tracer(plan, traces, reporter.secrets, redact)
            progress.subscribe(tracer.update)
            afterwards.append(lambda: tracer.work(services))
        try:
            if unreadable:
                raise unreadable
            access = access_of(plan.run_request.spec.warehouse.secret_ref.name, context.folder, environment.variables)
        except (SecretMissingError, ValueError) as error:
            report = _without_warehouse(plan, error, reporter, progress)
        else:
            services = _services(context, environment, access, reporter, stack)
            progress.subscribe(services.run_log.update)
            if plan.run_request.spec.lineage:
                # here, so that runs without it do not import it
                from refresh_runner.lineage.send import Describer

                describer = Describer(plan, services, access)
                progress.subscribe(describer.update)
                afterwards.append(describer.work)
            report = run(plan, services, progress, reporter.enable_status)
        reporter.finish(report, progress)
        kept = plan.run_request.spec.artifacts
        if kept and report.outcome is not Outcome.SKIPPED:
            # here, so that runs without it do not import it
            from refresh_runner.object_store.upload import upload

            afterwards.append(lambda: upload(plan, kept, reporter.secrets, lambda: _files(reporter, services)))
        do_all([work for each in afterwards if (work := each())])
    return report.exit_code


def _files(reporter: RunReporter, services: Services | None) -> Iterator[Artifact]:
    """Yield the files to keep beside the warehouse; without a warehouse only the log."""
    if services is None:
        yield _log_of(reporter)
        return
    yield from services.artifacts()
    if (manifest := services.dbt.manifest()) is not None:
        yield Artifact(artifacts.MANIFEST, "application/json", documents.manifest_text(manifest, reporter.redact))
    if services.docs and services.docs.is_file():
        yield Artifact(artifacts.DOCS, "text/html", unpacked(services.docs.read_bytes()))


def _without_warehouse(plan: Plan, error: Exception, reporter: RunReporter, progress: RunProgress) -> Report:
    report = report_of(plan, {}, Failure(Reason.WAREHOUSE_UNREACHABLE, str(error), hint="see spec.warehouse.secretRef"))
    _log.warning(report.line)
    reporter.enable_status()
    progress.concluded(report)
    return report


def _services(context: RunContext, environment: Environment, access: ConnectionInfo, reporter: RunReporter, stack: ExitStack) -> Services:
    plan, project, redact = context.plan, context.source.folder, reporter.redact
    workdir = context.options.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refresh-")))
    warehouse = WarehouseConnection(access, plan.attempt.run_id, environment.clock, plan.timeout)
    stack.callback(warehouse.close)
    dbt = Dbt(project.absolute(), workdir.absolute(), access, plan.dbt, warehouse.application_name, _log_dbt)
    revision = context.source.status.revision if context.source.status else None
    fingerprint = replace(fingerprint_of(plan, project), revision=revision)
    return Services(
        dbt=dbt,
        programs=programs(),
        unavailable=context.source.failure,
        warning=context.source.warning,
        warehouse=warehouse,
        run_log=RunLogWriter(warehouse, plan, fingerprint, redact, environment.clock.elapsed),
        clock=environment.clock,
        cancellation=environment.cancellation,
        jitter=environment.jitter,
        secrets=reporter.secrets,
        redact=redact,
        # created once, so that the files in the warehouse and in a bucket are the same
        artifacts=cache(lambda: tuple(_artifacts(dbt, reporter))),
        description=lambda: _description(dbt, redact),
        docs=fingerprint.docs,
    )


def _artifacts(dbt: Dbt, reporter: RunReporter) -> Iterator[Artifact]:
    """Yield the files to store with the run. Only log an error if one cannot be created."""
    yield _log_of(reporter)
    try:
        text = documents.results_text(dbt.run_results(), reporter.redact)
    except Exception:
        _log.warning("cannot store dbt's results", exc_info=True)
        return
    if text:
        yield Artifact(artifacts.RESULTS, "application/json", text)


def _description(dbt: Dbt, redact: Redactor) -> str | None:
    """Return what the project says about its nodes. Only log an error if that cannot be created."""
    try:
        found = dbt.description()
        return description_text(found, redact) if found is not None else None
    except Exception:
        _log.warning("cannot store the description of the dbt project", exc_info=True)
        return None


def _log_of(reporter: RunReporter) -> Artifact:
    return Artifact(artifacts.LOG, "text/plain", reporter.tail.text())


def _reporter_config(context: RunContext, environment: Environment, redact: Redactor, secrets: dict[str, dict[str, str]]) -> ReporterConfig:
    server = ApiServer.of_pod(environment.variables, environment.account) if context.in_pod else None
    return ReporterConfig(
        plan=context.plan,
        redact=redact,
        output=environment.output,
        in_pod=context.in_pod,
        status=RunStatusWriter(server, context.plan.run_request.refresh, redact, environment.clock.now) if server else None,
        termination_log=environment.termination_log,
        secrets=secrets,
        link_template=environment.variables.get(RUN_URL_TEMPLATE_ENV, ""),
        now=environment.clock.now,
        combines=environment.variables.get(COMBINES_ENV) == "true",
        rules=Rules(allow_http=environment.variables.get(WEBHOOK_ALLOW_HTTP_ENV) == "true", sleep=environment.clock.sleep),
    )


def _log_dbt(level: str, line: str) -> None:
    _dbt_log.log(_LEVELS.get(level, logging.INFO), line)
