"""The runner on a small dbt project and a real PostgreSQL, as in a pod: input in variables and Secrets, its result in a file."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

from refresh_api.names import POD_NAME_ENV, PROJECT_URL_ENV, RUN_FAILURES_ENV, RUN_ID_ENV, RUN_REQUEST_ENV
from refresh_api.run_request import ExitCode, RefreshRef, RunRequest, run_vars
from refresh_api.spec import RefreshSpec
from refresh_api.status import ProjectSeen, TerminationMessage
from refresh_runner.cli.environment import Environment, RunOptions
from refresh_runner.cli.fetch import fetch_command
from refresh_runner.cli.poll import poll_command
from refresh_runner.cli.run import run_command
from refresh_runner.core.clock import Clock
from refresh_runner.postgres.advisory_lock import NAMESPACE, WAREHOUSE_KEY
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.run.cancellation import CancellationScope
from support.postgres import Database

Json = dict[str, Any]
HAS_OPTIONAL_PATCHES = os.environ.get("REFRESH_DBT_PATCHES") != "off"
"""Whether dbt's optional patches are on; `make test-plain-dbt` switches them off."""
SLOWNESS = 1 if HAS_OPTIONAL_PATCHES else 4
"""Factor for limits of dbt commands without the optional patches: a limit of seconds must suffice for a step without a fault."""

_MODELS = {
    "staging/stg_lignes": ("materialized='view', schema='dwh_staging'", "select id, zone, nap, mois from {{ source('src', 'lignes') }}"),
    "facts/fait_lignes": ("schema='dwh_facts'", "select id, zone, mois, pg_sleep(nap)::text as nap from {{ ref('stg_lignes') }}"),
    "facts/fait_jours": ("schema='dwh_facts'", "select id, mois from {{ ref('stg_lignes') }}"),
    "marts/mart_a": ("schema='dwh_marts'", "select id, zone, mois from {{ ref('fait_lignes') }}"),
    "marts/mart_b": ("schema='dwh_marts'", "select id, mois from {{ ref('fait_jours') }}"),
    "other/stg_autres": ("schema='dwh_staging', tags=['P1'], meta={'built_by': 'main'}", "select 1 as id"),
    "other/fait_autres": ("schema='dwh_facts'", "select id from {{ ref('stg_autres') }}"),
}
_PROJECT = """
name: petit
version: "1.0.0"
config-version: 2
profile: petit
macro-paths: [macros]
models: {petit: {+materialized: table, +tags: [P2]}}
"""
_PROPERTIES = """
sources:
  - name: src
    schema: src
    tables: [{name: lignes, loaded_at_field: chargee, config: {freshness: {error_after: {count: 24, period: hour}}}}]
exposures:
  - {name: tableau, type: dashboard, owner: {name: petit}, depends_on: [ref('mart_a')], config: {meta: {endpoint: /exposed}}}
models:
  - name: mart_a
    columns: [{name: id, data_tests: [unique, not_null]}, {name: zone}, {name: mois}]
  - name: mart_b
    columns: [{name: id, data_tests: [{unique: {config: {severity: warn}}}]}, {name: mois}]
"""
_SCHEMA_NAME = "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}"
RESET_SQL = """
drop schema if exists src, dwh_staging, dwh_facts, dwh_marts, dwh_marts__next, dwh_marts__previous cascade;
drop table if exists dbt_refresh_version, dbt_refresh_relation, dbt_refresh_result;
drop table if exists dbt_refresh_log, dbt_refresh_run, dbt_refresh_step, dbt_refresh_node, dbt_refresh_mart, dbt_refresh_artifact;
drop table if exists dbt_refresh_docs, dbt_refresh_project, dbt_refresh_project_cache;
create schema src;
create table src.lignes (id integer, zone integer, mois integer, nap integer default 0);
insert into src.lignes select n, n, n % 12 + 1, 0 from generate_series(1, 100) n;
"""


REF = RefreshRef(name="petit", namespace="essai")
NO_ACCOUNT = Path("/nowhere")


def _origin(spec: Json) -> str:
    """Return what the operator names as the origin of the project."""
    return RefreshSpec.model_validate(spec).project.origin.url  # type: ignore[union-attr]  # only specs with a project are fetched


def write_project(folder: Path) -> Path:
    """Write a small dbt project: a view, two facts, two marts, three tests, and a model of another refresh."""
    for name, text in {
        "dbt_project.yml": _PROJECT,
        "macros/generate_schema_name.sql": _SCHEMA_NAME,
        "models/properties.yml": _PROPERTIES,
        **{f"models/{name}.sql": f"{{{{ config({config}) }}}}\n{query}\n" for name, (config, query) in _MODELS.items()},
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@dataclass(frozen=True)
class RunResult:
    """Exit code, log and termination message of one attempt."""

    code: int
    output: str
    termination_message: TerminationMessage | None

    @property
    def lines(self) -> list[Json]:
        """The log's JSON lines, parsed."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def messages(self) -> str:
        """The messages of the log, one per line."""
        return "\n".join(line["message"] for line in self.lines)


@dataclass
class RunnerHarness:
    """The environment of a runner's pod without the image: folder, project, Secrets, database."""

    folder: Path
    project: Path
    database: Database
    api: str
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    run_count: int = 0
    ref: RefreshRef = field(default_factory=lambda: REF)
    account: Path = NO_ACCOUNT
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def reset(self) -> None:
        """Restore source data, warehouse and Secrets to their initial state; stop attempts that a failed test has left running."""
        while self.started:
            with self.started.pop() as process:
                process.kill()
        self.database.run(RESET_SQL)
        self.ref, self.account = REF, NO_ACCOUNT
        self.secrets = {"warehouse": self.database.secret}

    def spec(self, **changes: object) -> Json:
        """Return a refresh's spec: three layers, tests, validation of two marts, two endpoints."""
        return {
            "displayName": "Petit",
            "schedule": "0 * * * *",
            "warehouse": {"secretRef": {"name": "warehouse"}},
            "layers": [
                {"name": "staging", "select": ["stg_lignes"]},
                {"name": "facts", "select": ["fait_lignes", "fait_jours"]},
                {"name": "marts", "select": ["mart_a", "mart_b"]},
            ],
            "tests": {"select": ["tag:P2"]},
            "validation": {
                "marts": [
                    {"relation": "dwh_marts.mart_a", "keyColumns": ["zone", "mois"]},
                    {"relation": "dwh_marts.mart_b", "keyColumns": ["mois"]},
                ]
            },
            "cache": {"baseURL": self.api, "endpoints": ["/a", "/b"]},
            **changes,
        }

    def pod_environment(self, spec: Json, failures: int = 0, mode: str = "refresh", **further: str) -> dict[str, str]:
        """Return the environment of a pod for the next run."""
        asked = run_vars(further.pop("VARS", "{}"))
        self.run_count += 1
        run_request = RunRequest(refresh=self.ref, generation=3, spec=RefreshSpec.model_validate(spec), mode=mode, vars=asked)
        fixed = {RUN_ID_ENV: f"petit-{self.run_count}", RUN_FAILURES_ENV: str(failures), POD_NAME_ENV: f"petit-{self.run_count}-0"}
        return {RUN_REQUEST_ENV: run_request.model_dump_json(by_alias=True), **fixed, **further}

    def run(self, spec: Json | None = None, failures: int = 0, mode: str = "refresh", **further: str) -> RunResult:
        """Run one attempt in this process."""
        output, started, cancellation = io.StringIO(), time.monotonic(), CancellationScope()
        environment = Environment(
            variables=self.pod_environment(spec or self.spec(), failures, mode, **further),
            clock=Clock(lambda: datetime.now(UTC), lambda: time.monotonic() - started, time.sleep),
            jitter=lambda: 0.1,
            output=output,
            cancellation=cancellation,
            termination_log=self._words(),
            account=self.account,
        )
        forget_repeated_flags()
        with cancellation.installed():
            code = run_command(RunOptions(None, self.project, self._mounted(), self.folder / "workdir", fetched=self.fetched), environment)
        return self._ran(code, output.getvalue())

    def fetch(self, spec: Json, run: str = "", mode: str = "refresh", **further: str) -> str:
        """Fetch the project of a run of its own, or of one by name, as its init container does; return the log.

        Two fetches for one run are two attempts, and take the same commit.
        """
        output = io.StringIO()
        run_id = {RUN_ID_ENV: run} if run else {}
        environment = self._project_environment(spec, output, mode, {**further, **run_id})
        self.fetched.mkdir(exist_ok=True)
        assert fetch_command(environment, self.fetched, self._mounted()) == ExitCode.OK, output.getvalue()
        return output.getvalue()

    def poll(self, spec: Json) -> tuple[ProjectSeen, str]:
        """Report the newest revision of the project, as the pod of a check does; return the report and the log."""
        output = io.StringIO()
        environment = self._project_environment(spec, output, "refresh", {})
        assert poll_command(environment, self._mounted()) == ExitCode.OK, output.getvalue()
        return ProjectSeen.model_validate_json((self.folder / "termination-log").read_text()), output.getvalue()

    def _project_environment(self, spec: Json, output: io.StringIO, mode: str, further: Mapping[str, str]) -> Environment:
        started = time.monotonic()
        return Environment(
            variables={**self.pod_environment(spec, mode=mode), PROJECT_URL_ENV: _origin(spec), **further},
            clock=Clock(lambda: datetime.now(UTC), lambda: time.monotonic() - started, time.sleep),
            jitter=lambda: 0.1,
            output=output,
            cancellation=CancellationScope(),
            termination_log=self._words(),
            account=self.account,
        )

    @property
    def fetched(self) -> Path:
        """The folder that the init container shares with the run."""
        return self.folder / "fetched"

    def start_process(self, spec: Json, failures: int = 0, **further: str) -> subprocess.Popen[str]:
        """Start one attempt as a process, for tests that kill it."""
        words = self._words()
        places = ["--project", str(self.project), "--secrets", str(self._mounted()), "--workdir", str(self.folder / "workdir")]
        command = [sys.executable, "-m", "refresh_runner", "run", *places, "--termination-log", str(words)]
        env = {**os.environ, **self.pod_environment(spec, failures, **further)}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        return process

    def wait_for_exit(self, process: subprocess.Popen[str], within: float = 30) -> RunResult:
        """Wait for a started attempt; it is killed after `within` seconds, or longer without the optional patches of dbt."""
        try:
            output, _ = process.communicate(timeout=within * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode < 0 or "resource_tracker" not in output, output[-500:]
        return self._ran(process.returncode, output)

    def log_rows(self) -> list[tuple[object, ...]]:
        """Return the rows of dbt_refresh_log: success, models updated, notes, refresh, run."""
        query = "select success, models_updated, notes, refresh, run_id from dbt_refresh_log order by refresh_id"
        return self.database.rows(query)

    def held(self) -> list[tuple[object, ...]]:
        """Return what a run holds: locks of the warehouse, and entries of the run log without an end."""
        locks = self.database.rows("select 'lock', objid from pg_locks where locktype = 'advisory' and granted")
        return locks + self.database.rows("select 'run', run_id from dbt_refresh_run where ended_at is null")

    def running_queries(self, text: str) -> list[tuple[object, ...]]:
        """Return process id and application name of sessions whose running query contains a text."""
        query = (
            "select pid, application_name from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()"
            f" and query like '%{text}%' and query not like '%pg_stat_activity%'"
        )
        return self.database.rows(query)

    def _mounted(self) -> Path:
        root = self.folder / "secrets"
        for name, keys in self.secrets.items():
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
            for key, value in keys.items():
                (root / name / key).write_text(value)
        return root

    def _words(self) -> Path:
        path = self.folder / "termination-log"
        path.write_bytes(b"")
        return path

    def _ran(self, code: int, output: str) -> RunResult:
        text = (self.folder / "termination-log").read_text()
        return RunResult(code, output, TerminationMessage.model_validate_json(text) if text else None)


def forget_repeated_flags() -> None:
    """Have dbt start with the behavior flags of a new process.

    Each adapter appends its own flags to the list of all adapters, and without the optional patches dbt walks the stack for each flag.
    After a hundred runs in one process, a run took a minute.
    """
    flags = DEFAULT_BASE_BEHAVIOR_FLAGS
    flags[:] = {flag["name"]: flag for flag in flags}.values()


@contextmanager
def in_background(act: Callable[[], object]) -> Iterator[None]:
    """Run `act` in a thread while the block runs; raise its error afterwards."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(30)
    if errors:
        raise errors[0]


@contextmanager
def hold_advisory_lock(runner: RunnerHarness, name: str = "other-run") -> Iterator[psycopg.Connection]:
    """Hold the warehouse's advisory lock, as another run does."""
    with psycopg.connect(runner.database.dsn, autocommit=True, application_name=name) as connection:
        connection.execute("select pg_advisory_lock(%s, %s)", (NAMESPACE, WAREHOUSE_KEY))
        yield connection


@contextmanager
def warehouse_connection(env: Mapping[str, str], name: str = "tests") -> Iterator[WarehouseConnection]:
    """Open the runner's connection to a database given by libpq's variables; `name` is the application name."""
    access = ConnectionInfo(env["PGHOST"], int(env["PGPORT"]), env["PGDATABASE"], env["PGUSER"], env["PGPASSWORD"])
    with closing(WarehouseConnection(access, name, Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep))) as ours:
        yield ours
