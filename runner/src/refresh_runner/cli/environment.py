"""What every subcommand gets from the command line and its process, and how it prints and connects to the warehouse."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

from refresh_api.names import API_BASE_URL_ENV, PROJECT_PATH
from refresh_api.plain import plain
from refresh_api.run_request import ExitCode, RunRequest
from refresh_runner.core.clock import Clock
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError
from refresh_runner.model.plan import Attempt, Plan, plan_for
from refresh_runner.postgres import conninfo
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.report.api_server import ACCOUNT_PATH
from refresh_runner.run.cancellation import CancellationScope

Print = Callable[[str], None]
"""Prints one line for the user."""

_DEFAULT_SECRET = "warehouse"  # noqa: S105 - a name
"""Default name of the warehouse's Secret, for subcommands that read no refresh."""


@dataclass(frozen=True)
class Environment:
    """What a subcommand gets from its process. Tests pass their own values."""

    variables: Mapping[str, str]
    clock: Clock
    jitter: Callable[[], float]
    output: TextIO
    cancellation: CancellationScope
    """Its signal handlers are already installed: without a handler, the first process of a container ignores SIGTERM."""
    termination_log: Path
    account: Path = ACCOUNT_PATH
    """Where Kubernetes mounts the service account's token."""


@dataclass(frozen=True)
class RunOptions:
    """Options of the subcommands `run`, `plan` and `grants`."""

    file: Path | None
    """A DashboardRefresh as YAML. Defaults to the pod's run request."""
    project: Path | None
    """Folder of the dbt project. Defaults to the project that the pod's init container has fetched, ./dbt_project or the image's
    project."""
    secrets: Path | None = None
    workdir: Path | None = None
    """Where dbt keeps its files. Defaults to a temporary folder."""
    mode: str | None = None
    """Mode of the run. Only valid with a file."""
    variables: tuple[str, ...] = ()
    """dbt variables as NAME=VALUE. Only valid with a file."""
    fetched: Path = Path(PROJECT_PATH)
    """Folder in which the init container leaves a project from a repository."""


def redactor_of(access: ConnectionInfo) -> Redactor:
    """Return what masks the password of a connection."""
    return Redactor([access.password], [access.user, access.dbname, access.host])


def printer(environment: Environment, access: ConnectionInfo | None = None) -> Print:
    """Return a function that prints a line safely on a terminal, with the password of `access` redacted."""
    redact = redactor_of(access) if access else Redactor()
    return lambda line: print(plain(redact(line)), file=environment.output)


def plan_of(run_request: RunRequest, attempt: Attempt, environment: Environment) -> Plan:
    """Return the plan of a run request for today, in the time zone of its schedule."""
    today = environment.clock.now().astimezone(ZoneInfo(run_request.spec.time_zone)).date()
    return plan_for(run_request, attempt, today, environment.variables.get(API_BASE_URL_ENV) or None)


def access_of(secret: str, folder: SecretFolder, variables: Mapping[str, str]) -> ConnectionInfo:
    """Return the warehouse's connection parameters: from the Secret if a folder is given, else from PGHOST, PGUSER and so on.

    Raise SecretMissingError or ValueError if they are incomplete.
    """
    access = _access(secret, folder, variables)
    if access.sslrootcert == conninfo.SYSTEM_CERTIFICATES and not variables.get("SSL_CERT_DIR"):
        import certifi

        # The OpenSSL bundled with psycopg searches for the system's certificates in the paths of its build machine.
        os.environ.setdefault("SSL_CERT_FILE", ssl.get_default_verify_paths().cafile or certifi.where())
    return access


def _access(secret: str, folder: SecretFolder, variables: Mapping[str, str]) -> ConnectionInfo:
    if folder.root is None:
        return conninfo.from_variables(variables)
    if not folder.root.is_dir():
        raise SecretMissingError(f"folder of Secrets {folder.root} does not exist")
    return conninfo.from_secret(secret, folder)


@contextmanager
def warehouse_of(access: ConnectionInfo, application_name: str, environment: Environment) -> Iterator[WarehouseConnection]:
    """Yield the warehouse. Close its connections afterwards."""
    warehouse = WarehouseConnection(access, application_name, environment.clock)
    try:
        yield warehouse
    finally:
        warehouse.close()


def with_warehouse(
    secrets: Path | None, environment: Environment, application_name: str, action: Callable[[WarehouseConnection, Print], ExitCode]
) -> ExitCode:
    """Call `action` with the warehouse, for a subcommand that reads no refresh. Return its exit code, or USAGE without credentials."""
    try:
        access = access_of(_DEFAULT_SECRET, SecretFolder(secrets), environment.variables)
    except (SecretMissingError, ValueError) as error:
        printer(environment)(f"✗ {error}")
        return ExitCode.USAGE
    with warehouse_of(access, application_name, environment) as warehouse:
        return action(warehouse, printer(environment, access))
