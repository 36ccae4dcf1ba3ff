"""The dbt profile of a run: the connection to the warehouse, under the profile's name in the project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from refresh_runner.dbt.errors import invalid_project
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import ConnectionInfo

PASSWORD_VARIABLE: Final = "DBT_ENV_SECRET_WAREHOUSE_PASSWORD"  # noqa: S105 - a name
"""Environment variable with the password. Its prefix makes dbt redact the value in its logs."""

_CONNECT_TIMEOUT: Final = 5
_KEEPALIVES_IDLE: Final = 60
_CONNECT_RETRIES: Final = 1
"""Few, because a step retries the nodes whose connection failed, and a stopped run must not wait for more."""


def write_profile(project: Path, workdir: Path, access: ConnectionInfo, settings: DbtSettings) -> None:
    """Write profiles.yml to `workdir`; the password stays in the environment. Raise RunFailedError if the project does not exist."""
    output = {
        "type": "postgres",
        "host": access.host,
        "port": access.port,
        "dbname": access.dbname,
        "user": access.user,
        "password": f"{{{{ env_var('{PASSWORD_VARIABLE}') }}}}",
        "sslmode": access.sslmode,
        "schema": settings.schema,
        "threads": settings.threads,
        "connect_timeout": _CONNECT_TIMEOUT,
        "keepalives_idle": _KEEPALIVES_IDLE,
        "retries": _CONNECT_RETRIES,
        # Empty, so that PGAPPNAME applies: the name differs in every run, and a changed profile would make dbt parse again.
        "application_name": "",
    }
    if access.sslrootcert:
        output["sslrootcert"] = str(access.sslrootcert)
    profile = {profile_name(project): {"target": settings.target, "outputs": {settings.target: output}}}
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "profiles.yml").write_text(yaml.safe_dump(profile))


def profile_name(project: Path) -> str:
    """Return the name of a dbt project's profile. Raise RunFailedError if the project does not exist."""
    file = project / "dbt_project.yml"
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise invalid_project(f"there is no dbt project in {project}: {error.strerror}", "use --project for another folder") from error
    except yaml.YAMLError as error:
        raise invalid_project(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("profile"), str):
        raise invalid_project(f"{file} names no profile", "add `profile: any_name` to it; the profile itself is generated for each run")
    return str(content["profile"])


@contextmanager
def environment(access: ConnectionInfo, application_name: str) -> Iterator[None]:
    """Set the environment variables that dbt and libpq read, and restore them afterwards."""
    ours = {PASSWORD_VARIABLE: access.password, "PGAPPNAME": application_name, "PGCLIENTENCODING": "UTF8"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
