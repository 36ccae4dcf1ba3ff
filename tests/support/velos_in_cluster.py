"""The second dbt project of demo and tests in a cluster, with a repository, a database, a role and a Secret of its own."""

from __future__ import annotations

import secrets
from typing import Any, Final

import yaml

from cluster.seam import Cluster
from support.git_in_cluster import project, push_folder
from support.installation import ROOT, Installation

FOLDER: Final = ROOT / "examples" / "velos"
NAME: Final = "velos"
"""Name of the refresh, of its database, and of the role that owns it."""
REPOSITORY: Final = "velos.git"
SECRET: Final = "warehouse-velos"
MART: Final = "velos_rapport.trajets_par_jour"


def deploy_velos(installation: Installation, cluster: Cluster, port: int = 0) -> str | None:
    """Create the database with its sources, and push the project; return the commit, or None if nothing has changed."""
    _create_database(installation)
    return push_folder(installation, cluster, FOLDER, "Take the dbt project of the checkout", port, repository=REPOSITORY, path=".")


def refresh() -> dict[str, Any]:
    """Return the refresh of the project, which takes it from the Git server."""
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / "refresh.yaml").read_text())
    manifest["spec"]["project"] = project(repository=REPOSITORY)
    return manifest


def query(installation: Installation, statement: str, *options: str) -> str:
    """Run a statement with psql in the project's database; return its output."""
    return installation.psql(statement, "-d", NAME, *options)


def _create_database(installation: Installation) -> None:
    """Create role, database, sources and Secret, unless the database exists. Other roles may not connect to it."""
    if installation.psql(f"select 1 from pg_database where datname = '{NAME}'", "-At").strip():
        return
    password = secrets.token_urlsafe()
    login = {"host": "warehouse", "port": "5432", "dbname": NAME, "user": NAME, "password": password}
    installation.create_secret(SECRET, login)
    installation.psql(f"drop role if exists {NAME}; create role {NAME} login password '{password}'")
    installation.psql(f"create database {NAME} owner {NAME}")
    query(installation, f"revoke connect on database {NAME} from public; set role {NAME}; {(FOLDER / 'source.sql').read_text()}")
