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
from refresh_runner.cli.artifacts import Wanted, serve
from refresh_runner.cli.cleanup import cleanup
from refresh_runner.cli.grants import Grantee, print_grants, print_missing
from refresh_runner.cli.plan import preview
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
from refresh_runner.report.progress import Journal
from refresh_runner.report.reporters import Audience, Stage, refused
from refresh_runner.report.status_writer import ACCOUNT_PATH, ApiServer, StatusWriter
from refresh_runner.run.attempt import run
from refresh_runner.run.cancellation import Interrupts
from refresh_runner.run.executor import Tools
from refresh_runner.runlog import artifacts
from refresh_runner.runlog.artifacts import Artifact
from refresh_runner.runlog.resume import origin_of
from refresh_runner.runlog.writer import Ledger

_log = logging.getLogger(__name__)
_dbt_log = logging.getLogger("dbt")
_USUAL_SECRET = "warehouse"  # noqa: S105 - a name
"""Name of the Secret where no refresh names one, since it is deleted."""
_LEVELS = {"warn": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True)
class Surroundings:
    """What a run is given by the process that it is: all of it, so that a test can give something else."""

    variables: Mapping[str, str]
    clock: Clock
    jitter: Callable[[], float]
    output: TextIO
    interrupts: Interrupts
    """Installed already: as a container's first process, we would not hear a SIGTERM without a handler."""
    termination_log: Path
    account: Path = ACCOUNT_PATH
    """Where a pod finds its service account's token."""


@dataclass(frozen=True)
class Places:
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


def run_command(places: Places, around: Surroundings) -> int:
    """Run the file's refresh, or the pod's run request; return the exit code."""
    Dbt.preload()
    variables, file = around.variables, places.file
    try:
        run_request = run_request_from_file(file, places.mode, places.variables) if file else run_request_from_pod(variables)
    except InvalidRunRequestError as error:
        _sayer(around)(f"{file or 'the run request'} is no valid refresh: {error}")
        if file:
            return ExitCode.USAGE
        attempt = _attempt_of_pod(variables, 0)
        refused(str(error), attempt.run_id, attempt.number, around.termination_log)
        return ExitCode.FAILED
    if file:
        attempt = Attempt(f"{run_request.refresh.name}-local-{around.clock.now():%Y%m%d%H%M%S%f}")
    else:
        attempt = _attempt_of_pod(variables, run_request.spec.retries)
    folder = SecretFolder(places.secrets if places.secrets or file else Path(SECRETS_PATH))
    try:
        return _run(_Setting(_plan(run_request, attempt, around), folder, places, in_pod=not file), around)
    except Exception as error:
        # Its own words may quote a secret: they are for the log alone, which takes them out.
        name = type(error).__name__
        _log.error("the runner itself failed: %s", name, exc_info=bool(logging.getLogger().handlers))
        if not file:
            refused(f"the runner itself failed: {name}", attempt.run_id, attempt.number, around.termination_log, Reason.RUNNER_ERROR)
        return ExitCode.FAILED


def plan_command(places: Places, around: Surroundings) -> int:
    """Say what a run of the file's refresh would do; return the exit code."""
    Dbt.preload()
    if places.file is None:
        raise ValueError("a plan needs a file")
    try:
        run_request = run_request_from_file(places.file, places.mode, places.variables)
    except InvalidRunRequestError as error:
        _sayer(around)(f"{places.file} is no valid refresh: {error}")
        return ExitCode.USAGE
    plan = _plan(run_request, Attempt("plan"), around)
    try:
        access = _access(run_request.spec.warehouse.secret_ref.name, SecretFolder(places.secrets), around.variables)
    except (SecretMissingError, ValueError) as error:
        if places.secrets or isinstance(error, ValueError):
            _sayer(around)(f"✗ {error}")
            return ExitCode.USAGE
        access = None
    return preview(plan, places.project, access, around.clock, _sayer(around, access))


def grants_command(places: Places, grantee: Grantee | None, around: Surroundings) -> int:
    """Print what the grantee needs to run the file's refresh; without one, what the warehouse's own user lacks. Return the exit code."""
    Dbt.preload()
    if places.file is None:
        raise ValueError("grants need a file")
    try:
        plan = _plan(run_request_from_file(places.file), Attempt("grants"), around)
        secret = plan.run_request.spec.warehouse.secret_ref.name
        access = _access(secret, SecretFolder(places.secrets), around.variables) if grantee is None else None
    except (InvalidRunRequestError, SecretMissingError, ValueError) as error:
        _sayer(around)(f"✗ {error}")
        return ExitCode.USAGE
    say = _sayer(around, access)
    if access is None:
        return print_grants(plan, places.project, grantee, say) if grantee else ExitCode.USAGE
    warehouse = Warehouse(access, "refresh-grants", around.clock)
    try:
        return print_missing(plan, places.project, warehouse, say)
    finally:
        warehouse.close()


def artifacts_command(wanted: Wanted, secrets: Path | None, around: Surroundings) -> int:
    """List what runs left as files, or fetch one; return the exit code."""
    return _asked(secrets, around, "refresh-artifacts", lambda warehouse, say: serve(warehouse, wanted, say))


def cleanup_command(ref: RefreshRef, secrets: Path | None, really: bool, around: Surroundings) -> int:
    """Remove what is left of a refresh in the warehouse, or say what would be; return the exit code."""
    return _asked(secrets, around, "refresh-cleanup", lambda warehouse, say: cleanup(warehouse, ref, really, say))


def _asked(
    secrets: Path | None, around: Surroundings, application_name: str, act: Callable[[Warehouse, Callable[[str], None]], ExitCode]
) -> int:
    """Do something with the warehouse that the command line's surroundings name."""
    try:
        access = _access(_USUAL_SECRET, SecretFolder(secrets), around.variables)
    except (SecretMissingError, ValueError) as error:
        _sayer(around)(f"✗ {error}")
        return ExitCode.USAGE
    warehouse = Warehouse(access, application_name, around.clock)
    try:
        return act(warehouse, _sayer(around, access))
    finally:
        warehouse.close()


def _sayer(around: Surroundings, access: Access | None = None) -> Callable[[str], None]:
    """What writes a line for a person, who may be at a terminal; without the password."""
    redact = Redactor([access.password], [access.user, access.dbname, access.host]) if access else Redactor()
    return lambda line: print(plain(redact(line)), file=around.output)


def _plan(run_request: RunRequest, attempt: Attempt, around: Surroundings) -> Plan:
    today = around.clock.now().astimezone(ZoneInfo(run_request.spec.time_zone)).date()
    return plan_for(run_request, attempt, today, around.variables.get(API_BASE_URL_ENV) or None)


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
class _Setting:
    """What is to be run, with what."""

    plan: Plan
    folder: SecretFolder
    places: Places
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


def _run(setting: _Setting, around: Surroundings) -> int:
    plan = setting.plan
    secrets, unreadable = setting.secrets()
    redact = redactor(plan.run_request.spec, secrets, around.variables, around.account / "token")
    with ExitStack() as stack:
        audience = Audience(_stage(setting, around, redact, secrets), stack)
        journal = Journal(plan, around.clock, [audience.watch], redact)
        try:
            if unreadable:
                raise unreadable
            access = _access(plan.run_request.spec.warehouse.secret_ref.name, setting.folder, around.variables)
        except (SecretMissingError, ValueError) as error:
            report = report_of(plan, {}, Failure(Reason.WAREHOUSE_UNREACHABLE, str(error), hint="see spec.warehouse.secretRef"))
            _log.warning(report.line)
            audience.may_speak()
            journal.concluded(report)
        else:
            workdir = setting.places.workdir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refresh-")))
            warehouse = Warehouse(access, plan.attempt.run_id, around.clock, plan.timeout)
            stack.callback(warehouse.close)
            dbt = Dbt(setting.places.project.absolute(), workdir.absolute(), access, plan.dbt, warehouse.application_name, _log_dbt)
            ledger = Ledger(warehouse, plan, origin_of(plan, setting.places.project), redact, around.clock.elapsed)
            journal.listen(ledger.watch)
            tools = Tools(
                dbt,
                warehouse,
                ledger,
                around.clock,
                around.interrupts,
                around.jitter,
                secrets,
                redact,
                partial(_left, dbt, audience, redact),
            )
            report = run(plan, tools, journal, audience.may_speak)
        audience.told(report, journal)
    return report.exit_code


def _left(dbt: Dbt, audience: Audience, redact: Redactor) -> Iterator[Artifact]:
    """Yield what the run leaves as files; what can't be made is no reason to fail."""
    yield Artifact(artifacts.LOG, "text/plain", audience.tail.text())
    try:
        text = documents.results_text(dbt.results.values(), redact)
    except Exception:
        _log.warning("dbt's results can't be kept", exc_info=True)
        return
    if text:
        yield Artifact(artifacts.RESULTS, "application/json", text)


def _stage(setting: _Setting, around: Surroundings, redact: Redactor, secrets: dict[str, dict[str, str]]) -> Stage:
    server = ApiServer.of_pod(around.variables, around.account) if setting.in_pod else None
    return Stage(
        plan=setting.plan,
        redact=redact,
        output=around.output,
        in_pod=setting.in_pod,
        status=StatusWriter(server, setting.plan.run_request.refresh, redact, around.clock.now) if server else None,
        termination_log=around.termination_log,
        secrets=secrets,
        link_template=around.variables.get(RUN_URL_TEMPLATE_ENV, ""),
        rules=Rules(allow_http=around.variables.get(WEBHOOK_ALLOW_HTTP_ENV) == "true", sleep=around.clock.sleep),
    )


def _log_dbt(level: str, line: str) -> None:
    _dbt_log.log(_LEVELS.get(level, logging.INFO), line)
