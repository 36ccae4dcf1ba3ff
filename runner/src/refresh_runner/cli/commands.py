"""`refresh-runner run`: puts the pieces of one attempt together."""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from refresh_api.names import (
    API_BASE_URL_ENV,
    POD_NAME_ENV,
    RUN_FAILURES_ENV,
    RUN_ID_ENV,
    RUN_URL_TEMPLATE_ENV,
    SECRETS_PATH,
    WEBHOOK_ALLOW_HTTP_ENV,
)
from refresh_api.plain import plain
from refresh_api.run_request import ExitCode, RefreshRef, RunRequest
from refresh_api.status import Reason
from refresh_notify import Rules
from refresh_runner.cli.artifacts import ArtifactQuery, serve
from refresh_runner.cli.cleanup import cleanup
from refresh_runner.cli.grants import Grantee, print_grants, print_missing
from refresh_runner.cli.plan import print_plan
from refresh_runner.core.clock import Clock
from refresh_runner.core.errors import Failure
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError, redactor
from refresh_runner.dbt import documents
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file, run_request_from_pod
from refresh_runner.model.plan import Attempt, Plan, plan_for
from refresh_runner.postgres import conninfo as accesses
from refresh_runner.postgres.connection import Warehouse
from refresh_runner.postgres.conninfo import Access
from refresh_runner.report.outcome import report_of
from refresh_runner.report.progress import RunProgress
from refresh_runner.report.reporters import ReporterConfig, RunReporter, report_rejection
from refresh_runner.report.status_writer import ACCOUNT_PATH, ApiServer, StatusWriter
from refresh_runner.run.attempt import run
from refresh_runner.run.cancellation import CancellationScope
from refresh_runner.run.executor import Services
from refresh_runner.runlog import artifacts
from refresh_runner.runlog.artifacts import Artifact
from refresh_runner.runlog.resume import fingerprint_of
from refresh_runner.runlog.writer import RunLogWriter

_log = logging.getLogger(__name__)
_dbt_log = logging.getLogger("dbt")
_USUAL_SECRET = "warehouse"  # noqa: S105 - a name
"""Name of the Secret where no refresh names one, since it is deleted."""
_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class Environment:
    """What a run is given by the process that it is: all of it, so that a test can give something else."""

    variables: Mapping[str, str]
    clock: Clock
    jitter: Callable[[], float]
    output: TextIO
    cancellation: CancellationScope
    """Installed already: as a container's first process, we would not hear a SIGTERM without a handler."""
    termination_log: Path
    account: Path = ACCOUNT_PATH
    """Where a pod finds its service account's token."""


@dataclass(frozen=True)
class RunOptions:
    """Where things are, as the command line says."""

    file: Path | None
    """A refresh as YAML; Defaults to the pod's run request."""
    project: Path
    secrets: Path | None = None
    workdir: Path | None = None
    """Where dbt's files stay; a temporary folder unless given."""
    mode: str | None = None
    """What to do beside a plain refresh; only with a file."""
    variables: tuple[str, ...] = ()
    """dbt variables as NAME=VALUE; only with a file."""


def run_command(options: RunOptions, environment: Environment) -> int:
    """Run the file's refresh, or the pod's run request; return the exit code."""
    Dbt.preload()
    variables, file = environment.variables, options.file
    try:
        run_request = run_request_from_file(file, options.mode, options.variables) if file else run_request_from_pod(variables)
    except InvalidRunRequestError as error:
        printer(environment)(f"{file or 'the run request'} is no valid refresh: {error}")
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
        return _run(RunContext(_plan(run_request, attempt, environment), folder, options, in_pod=not file), environment)
    except Exception as error:
        # Its own words may quote a secret: they are for the log alone, which takes them out.
        name = type(error).__name__
        _log.error("the runner itself failed: %s", name, exc_info=bool(logging.getLogger().handlers))
        if not file:
            report_rejection(
                f"the runner itself failed: {name}", attempt.run_id, attempt.number, environment.termination_log, Reason.RUNNER_ERROR
            )
        return ExitCode.FAILED


def plan_command(options: RunOptions, environment: Environment) -> int:
    """Say what a run of the file's refresh would do; return the exit code."""
    Dbt.preload()
    if options.file is None:
        raise ValueError("a plan needs a file")
    try:
        run_request = run_request_from_file(options.file, options.mode, options.variables)
    except InvalidRunRequestError as error:
        printer(environment)(f"{options.file} is no valid refresh: {error}")
        return ExitCode.USAGE
    plan = _plan(run_request, Attempt("plan"), environment)
    try:
        access = _access(run_request.spec.warehouse.secret_ref.name, SecretFolder(options.secrets), environment.variables)
    except (SecretMissingError, ValueError) as error:
        if options.secrets or isinstance(error, ValueError):
            printer(environment)(f"✗ {error}")
            return ExitCode.USAGE
        access = None
    return print_plan(plan, options.project, access, environment.clock, printer(environment, access))


def grants_command(options: RunOptions, grantee: Grantee | None, environment: Environment) -> int:
    """Print what the grantee needs to run the file's refresh; without one, what the warehouse's own user lacks. Return the exit code."""
    Dbt.preload()
    if options.file is None:
        raise ValueError("grants need a file")
    try:
        plan = _plan(run_request_from_file(options.file), Attempt("grants"), environment)
        secret = plan.run_request.spec.warehouse.secret_ref.name
        access = _access(secret, SecretFolder(options.secrets), environment.variables) if grantee is None else None
    except (InvalidRunRequestError, SecretMissingError, ValueError) as error:
        printer(environment)(f"✗ {error}")
        return ExitCode.USAGE
    say = printer(environment, access)
    if access is None:
        return print_grants(plan, options.project, grantee, say) if grantee else ExitCode.USAGE
    warehouse = Warehouse(access, "refresh-grants", environment.clock)
    try:
        return print_missing(plan, options.project, warehouse, say)
    finally:
        warehouse.close()


def artifacts_command(wanted: ArtifactQuery, secrets: Path | None, environment: Environment) -> int:
    """List what runs left as files, or fetch one; return the exit code."""
    return _asked(secrets, environment, "refresh-artifacts", lambda warehouse, say: serve(warehouse, wanted, say))


def cleanup_command(ref: RefreshRef, secrets: Path | None, apply: bool, environment: Environment) -> int:
    """Remove what is left of a refresh in the warehouse, or say what would be; return the exit code."""
    return _asked(secrets, environment, "refresh-cleanup", lambda warehouse, say: cleanup(warehouse, ref, apply, say))


def _asked(
    secrets: Path | None, environment: Environment, application_name: str, act: Callable[[Warehouse, Callable[[str], None]], ExitCode]
) -> int:
    """Do something with the warehouse that the command line's surroundings name."""
    try:
        access = _access(_USUAL_SECRET, SecretFolder(secrets), environment.variables)
    except (SecretMissingError, ValueError) as error:
        printer(environment)(f"✗ {error}")
        return ExitCode.USAGE
    warehouse = Warehouse(access, application_name, environment.clock)
    try:
        return act(warehouse, printer(environment, access))
    finally:
        warehouse.close()


def printer(environment: Environment, access: Access | None = None) -> Callable[[str], None]:
    """What writes a line for a person, who may be at a terminal; without the password."""
    redact = Redactor([access.password], [access.user, access.dbname, access.host]) if access else Redactor()
    return lambda line: print(plain(redact(line)), file=environment.output)


def _plan(run_request: RunRequest, attempt: Attempt, environment: Environment) -> Plan:
    today = environment.clock.now().astimezone(ZoneInfo(run_request.spec.time_zone)).date()
    return plan_for(run_request, attempt, today, environment.variables.get(API_BASE_URL_ENV) or None)


def _access(secret: str, folder: SecretFolder, variables: Mapping[str, str]) -> Access:
    access = _stated(secret, folder, variables)
    if access.sslrootcert == accesses.SYSTEM and not variables.get("SSL_CERT_DIR"):
        import certifi

        # The OpenSSL that the drivers of PostgreSQL bring along looks for the system's certificates where its makers had theirs.
        os.environ.setdefault("SSL_CERT_FILE", ssl.get_default_verify_paths().cafile or certifi.where())
    return access


def _stated(secret: str, folder: SecretFolder, variables: Mapping[str, str]) -> Access:
    if folder.root is None:
        return accesses.from_variables(variables)
    if not folder.root.is_dir():
        raise SecretMissingError(f"there is no folder {folder.root}, where the Secrets should be")
    return accesses.from_secret(secret, folder)


def _attempt_of_pod(variables: Mapping[str, str], retries: int) -> Attempt:
    failures = variables.get(RUN_FAILURES_ENV, "")
    number = int(failures) + 1 if failures.isascii() and failures.isdigit() and len(failures) < 10 else 1
    return Attempt(variables.get(RUN_ID_ENV) or "unknown", number, max(retries + 1, number), variables.get(POD_NAME_ENV))


@dataclass(frozen=True)
class RunContext:
    """What is to be run, with what."""

    plan: Plan
    folder: SecretFolder
    options: RunOptions
    in_pod: bool

    def secrets(self) -> tuple[dict[str, dict[str, str]], SecretMissingError | None]:
        """Return the Secrets that are there; and why one of them can't be read."""
        found, unreadable = {}, None
        for name in self.plan.run_request.spec.secret_keys:
            try:
                if keys := self.folder.all_of(name):
                    found[name] = keys
            except SecretMissingError as error:
                unreadable = error
        return found, unreadable


def _run(context: RunContext, environment: Environment) -> int:
    plan = context.plan
    secrets, unreadable = context.secrets()
    redact = redactor(plan.run_request.spec, secrets, environment.variables, environment.account / "token")
    with ExitStack() as stack:
        reporter = RunReporter(_reporter_config(context, environment, redact, secrets), stack)
        progress = RunProgress(plan, environment.clock, [reporter.update], redact)
        try:
            if unreadable:
                raise unreadable
            access = _access(plan.run_request.spec.warehouse.secret_ref.name, context.folder, environment.variables)
        except (SecretMissingError, ValueError) as error:
            report = report_of(plan, {}, Failure(Reason.WAREHOUSE_UNREACHABLE, str(error), hint="see spec.warehouse.secretRef"))
            _log.warning(report.line)
            reporter.enable_status()
            progress.concluded(report)
        else:
            workdir = context.options.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refresh-")))
            warehouse = Warehouse(access, plan.attempt.run_id, environment.clock, plan.timeout)
            stack.callback(warehouse.close)
            dbt = Dbt(context.options.project.absolute(), workdir.absolute(), access, plan.dbt, warehouse.application_name, _log_dbt)
            run_log = RunLogWriter(warehouse, plan, fingerprint_of(plan, context.options.project), redact, environment.clock.elapsed)
            progress.subscribe(run_log.update)
            services = Services(
                dbt,
                warehouse,
                run_log,
                environment.clock,
                environment.cancellation,
                environment.jitter,
                secrets,
                redact,
                partial(_left, dbt, reporter, redact),
            )
            report = run(plan, services, progress, reporter.enable_status)
        reporter.finish(report, progress)
    return report.exit_code


def _left(dbt: Dbt, reporter: RunReporter, redact: Redactor) -> Iterator[Artifact]:
    """Yield what the run leaves as files; what can't be made is no reason to fail."""
    yield Artifact(artifacts.LOG, "text/plain", reporter.tail.text())
    try:
        text = documents.results_text(dbt.results.values(), redact)
    except Exception:
        _log.warning("dbt's results can't be kept", exc_info=True)
        return
    if text:
        yield Artifact(artifacts.RESULTS, "application/json", text)


def _reporter_config(context: RunContext, environment: Environment, redact: Redactor, secrets: dict[str, dict[str, str]]) -> ReporterConfig:
    server = ApiServer.of_pod(environment.variables, environment.account) if context.in_pod else None
    return ReporterConfig(
        plan=context.plan,
        redact=redact,
        output=environment.output,
        in_pod=context.in_pod,
        status=StatusWriter(server, context.plan.run_request.refresh, redact, environment.clock.now) if server else None,
        termination_log=environment.termination_log,
        secrets=secrets,
        link_template=environment.variables.get(RUN_URL_TEMPLATE_ENV, ""),
        rules=Rules(allow_http=environment.variables.get(WEBHOOK_ALLOW_HTTP_ENV) == "true", sleep=environment.clock.sleep),
    )


def _log_dbt(level: str, line: str) -> None:
    _dbt_log.log(_LEVELS.get(level, logging.INFO), line)
