"""The role by which previews of a refresh in the cluster read and build, as the guide says to create it."""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.installation import Installation
from support.kubectl import KubectlError
from support.laptop import runner


@dataclass(frozen=True)
class PreviewRole:
    """A role that may only read and create schemas in one database, and its Secret."""

    name: str
    secret: str
    database: str
    builder: str
    """The role of the runs, which owns what previews read."""


def allow_previews(installation: Installation, refresh: str, role: PreviewRole, file: Path, project: Path) -> None:
    """Create the role with what `refresh-runner grants` prints, its Secret, and `spec.preview` of the refresh, which has run before."""
    password = secrets.token_urlsafe()
    exists = "1" in installation.psql(f"select 1 from pg_roles where rolname = '{role.name}'", "-At")
    installation.psql(f"{'alter' if exists else 'create'} role {role.name} login password '{password}'")
    command = runner("grants", str(file), "--project", str(project), "--preview", role.name)
    command += ["--role", role.builder, "--database", role.database]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubectlError(f"refresh-runner grants: {done.stdout}{done.stderr}")
    installation.psql(done.stdout, "-d", role.database)
    login = {"host": "warehouse", "port": "5432", "dbname": role.database, "user": role.name, "password": password}
    installation.create_secret(role.secret, login)
    wanted = {"spec": {"preview": {"warehouse": {"secretRef": {"name": role.secret}}}}}
    installation.kubectl("patch", "dashboardrefresh", refresh, "--type=merge", f"--patch={json.dumps(wanted)}")
