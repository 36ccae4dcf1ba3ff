"""The command `refresh-examples` with real processes and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import psycopg.conninfo
import pytest
import yaml

from refresh_examples.embedded import EmbeddedPostgres, remove
from support.eventually import eventually
from support.snapshots import ROOT

COMMAND = [sys.executable, "-m", "refresh_examples"]


@contextmanager
def warehouse(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A warehouse process that listens, and the environment to connect to it."""
    with EmbeddedPostgres.start(folder / "probe") as probe:
        access = probe.env
    remove(folder / "probe")
    environment = {**os.environ, **access, "PGPASSWORD": "p%40:/'\"$", "READER_USER": "dashboards", "READER_PASSWORD": "lecture"}
    process = subprocess.Popen(
        [*COMMAND, "warehouse", "--folder", str(folder / "data")], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        yield process, environment
    finally:
        process.kill()
        process.communicate()
        remove(folder / "data")


def dsn(environment: dict[str, str]) -> str:
    """Return the connection string for an environment."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    return psycopg.conninfo.make_conninfo(**{name: environment[variable] for name, variable in names.items()})


def answers(environment: dict[str, str]) -> bool:
    """Return whether a server accepts the connection."""
    try:
        psycopg.connect(dsn(environment), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_warehouse_is_filled_and_ends_when_told(tmp_path: Path) -> None:
    """`load` fills it using the PG* variables. SIGTERM stops server and process cleanly."""
    with warehouse(tmp_path) as (process, environment):
        load = [*COMMAND, "load", "--rows", "50", "--as-of", "2026-06-30", "--wait", "10"]
        done = subprocess.run(load, env=environment, capture_output=True, text=True, check=True)
        assert "as of 2026-06-30, seed 1" in done.stdout
        with psycopg.connect(dsn(environment)) as connection:
            assert connection.execute("select count(distinct facture_id) from sigeti.factures").fetchone() == (50,)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not answers(environment)


@pytest.mark.slow
def test_the_dashboards_role_reads_what_comes_later_and_writes_nothing(tmp_path: Path) -> None:
    """Even in schemas created later, such as that of a published mart. The control: the writer may do what the reader may not."""
    with warehouse(tmp_path) as (_, environment):
        with psycopg.connect(dsn(environment), autocommit=True) as writer:
            writer.execute(
                "create schema marts__next; create table marts__next.mart as select 1 as n; alter schema marts__next rename to marts"
            )
        reading = {**environment, "PGUSER": "dashboards", "PGPASSWORD": "lecture"}
        for statement in ("insert into marts.mart values (2)", "drop table marts.mart", "create table marts.b ()", "create role x"):
            with psycopg.connect(dsn(reading), autocommit=True) as reader:
                assert reader.execute("select n from marts.mart").fetchone() == (1,)
                reader.execute("set default_transaction_read_only = off")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(statement.encode())
            with psycopg.connect(dsn(environment)) as writer:
                writer.execute(statement.encode())
                writer.rollback()


def test_the_demos_api_has_a_secret_of_its_own() -> None:
    """Only the warehouse itself uses the writer's Secret; the control is the refresh, which uses it as well."""

    def named(value: object) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(named, value))
        if not isinstance(value, dict):
            return set()
        own = {str(ref["name"]) for key, ref in value.items() if key in ("secretKeyRef", "secretRef")}
        return own.union(*map(named, value.values()))

    used = {}
    for path in (*(ROOT / "examples/deploy").glob("*.yaml"), ROOT / "deploy/samples/main.yaml"):
        used[path.stem] = set().union(*(named(each) for each in yaml.safe_load_all(path.read_text())))
    assert used == {
        "dashboard-api": {"warehouse-dashboards"},
        "warehouse": {"warehouse", "warehouse-dashboards"},
        "inbox": set(),
        "git": {"git"},
        "main": {"warehouse"},
    }


def test_a_killed_parent_takes_the_server_with_it(tmp_path: Path) -> None:
    """Not even SIGKILL leaves a PostgreSQL behind."""
    with warehouse(tmp_path) as (process, environment):
        assert answers(environment)
        process.kill()
        eventually(lambda: not answers(environment), within=20)


def test_a_warehouse_without_a_password_is_refused(tmp_path: Path) -> None:
    """The message names the missing variable, and nothing is started."""
    environment = {name: value for name, value in os.environ.items() if name != "PGPASSWORD"}
    command = [*COMMAND, "warehouse", "--folder", str(tmp_path / "data")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "refresh-examples warehouse: set PGPASSWORD or --password-file\n")
    assert not (tmp_path / "data").exists()


def test_loading_into_nothing_says_so_in_a_line(tmp_path: Path) -> None:
    """The error is one line without traceback and password."""
    environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "u", "PGPASSWORD": "secret", "PGDATABASE": "d"}
    done = subprocess.run([*COMMAND, "load"], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("refresh-examples: connection failed")
    assert "secret" not in done.stderr
