"""Fixtures: a page on a real API server and a real PostgreSQL, shared by all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.apiserver import ApiServer
from support.kubectl import Kubectl
from support.page import PageProcess, grant_page_permissions, mount_secret, run_page, write_refresh
from support.page_refreshes import build_history, build_refresh
from support.postgres import Database, create_database, drop_database
from support.run_log import create_run_log_tables, fill_run_log

NAMESPACE = "pages"
READER = "lecteur_du_journal"
LOG = '{"level":"error","message":"stg_indemnisations: column \\"montant_du\\" does not exist"}\n'


@dataclass(frozen=True)
class Ground:
    """Everything a page needs."""

    api: ApiServer
    account: Path
    home: Path
    database: Database
    secret: Path
    now: datetime

    def running(self, **settings: str):
        """Run a page until the block ends."""
        return run_page(self.api.server, NAMESPACE, self.account, self.home, settings)


@pytest.fixture(scope="session")
def ground(
    contract: Kubectl, api: ApiServer, helm: Path, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """A namespace with one refresh that has a history, in its status and in the run log, and a role that can only read the run log."""
    home = tmp_path_factory.mktemp("page")
    api.create("", "namespaces", {"metadata": {"name": NAMESPACE}})
    account = grant_page_permissions(contract.within(NAMESPACE), api, helm, home / "account")
    now = datetime.now(UTC).replace(microsecond=0)
    runs = build_history("phase2", now, "FSS")
    write_refresh(api, build_refresh("phase2", now, runs, NAMESPACE))
    database = create_database(postgres, "pages")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        fill_run_log(connection, NAMESPACE, "phase2", runs, LOG)
        connection.execute(f"create role {READER} login password 'lire'")
        connection.execute(f"grant select on all tables in schema public to {READER}")
    keys = {"host": postgres.host, "port": str(postgres.env["PGPORT"]), "dbname": "pages", "user": READER, "password": "lire"}
    yield Ground(api, account, home, database, mount_secret(home / "secret", **keys, sslmode="disable"), now)
    drop_database(database)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"drop role {READER}")
    contract("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def page(ground: Ground) -> Iterator[PageProcess]:
    """A page that reads the run log."""
    with ground.running(WAREHOUSE_PATH=str(ground.secret)) as found:
        yield found
