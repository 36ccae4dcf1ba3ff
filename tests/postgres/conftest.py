"""A managed PostgreSQL per session, and a new database, administrator and role for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from refresh_examples.embedded import Access, EmbeddedPostgres, remove
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support import locales
from support.managed import HOST, PASSWORD, ROLE, Authority, Warehouse, full_build, prepare, require_tls, set_up
from support.postgres import Database, create_database, drop_database, start_server
from support.runner_harness import RunnerHarness, write_project
from support.webserver import WebServer

_numbers = itertools.count(1)
STORES = "{{ config(store_failures=true, severity='warn', tags=['P2']) }} select * from {{ ref('mart_a') }} where id < 4"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that issued the server's certificate."""
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def managed(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The server, with the locale fr_FR if the machine has it; its superuser belongs to the provider."""
    folder = tmp_path_factory.mktemp("managed")
    with locales.french() as compiled, pytest.MonkeyPatch.context() as patch:
        if compiled:
            patch.setenv("LOCPATH", str(compiled))
        with start_server(folder, Access("provider", "not-the-customers"), build=full_build()) as server:
            require_tls(server, authority)
            yield server
    remove(folder)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parsed project of which one test stores the rows that it finds."""
    project = write_project(tmp_path_factory.mktemp("project"))
    with (project / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\n")
    (project / "tests").mkdir()
    (project / "tests" / "stores.sql").write_text(STORES)
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return project


@pytest.fixture
def database(managed: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database, the administrator and later also the role, which are gone after the test.

    Its parameter, if a test gives one, is a locale; the test is skipped if the server does not have it.
    """
    locale = getattr(request, "param", "")
    database = Database(managed, f"entrepot_{next(_numbers)}")
    if locale:
        try:
            with psycopg.connect(managed.dsn, autocommit=True) as connection:
                connection.execute(f"create database {database.name} template template0 {locale}".encode())
        except (psycopg.errors.SyntaxError, psycopg.errors.WrongObjectType, psycopg.errors.FeatureNotSupported) as error:
            pytest.skip(f"this PostgreSQL lacks the locale: {str(error).splitlines()[0]}")
    else:
        create_database(managed, database.name)
    yield database
    drop_database(database)
    with psycopg.connect(managed.dsn, autocommit=True) as connection:
        roles = connection.execute("select quote_ident(rolname) from pg_roles where rolname !~ '^pg_' and not rolsuper").fetchall()
        for (role,) in roles:
            connection.execute(f"drop owned by {role}; drop role {role}".encode())


@pytest.fixture
def warehouse(database: Database, authority: Authority, project: Path, tmp_path: Path) -> Iterator[Warehouse]:
    """The administrator's database, and a runner that connects to it as a role without privileges, verifying the certificate."""
    set_up(database)
    with WebServer() as web:
        runner = RunnerHarness(tmp_path, project, database, web.url)
        runner.secrets["warehouse"] = {
            "host": HOST,
            "port": str(database.server.port),
            "dbname": database.name,
            "user": ROLE,
            "password": PASSWORD,
            "sslmode": "verify-full",
            "sslrootcert": authority.root.read_text(),
        }
        found = Warehouse(database, runner, tmp_path)
        prepare(found)
        yield found
