"""`make compare`: run the old Prefect flow and a refresh on the same data, compare their marts row by row, and print their times.

The old way executes what the flow's tasks did, without Prefect: four dbt commands in sequence, a query per check, a call per endpoint,
one insert. Both use compiled bytecode, the same number of threads, and dbt's partial parsing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import httpx
import psycopg
import yaml
from psycopg import sql

from refresh_api.names import API_BASE_URL_ENV, RUN_ID_ENV, RUN_REQUEST_ENV
from refresh_api.run_request import Manifest, RunRequest
from refresh_examples.embedded import EmbeddedPostgres
from support.laptop import ROOT, SAMPLES, dashboard_api, fill, runner, say, warehouse
from support.old_way import Side, checked, dbt, differing_rows, mount_secrets, write_profile

ROWS = int(os.environ.get("ROWS", "10000"))
RUNS = int(os.environ.get("RUNS", "3"))
STATE = ROOT / ".state" / "compare"
PROJECT = ROOT / "dbt_project"

LOG_TABLE = """
    create table if not exists dbt_refresh_log (
        refresh_id serial primary key, run_date timestamptz default now(), success boolean, models_updated integer, notes text
    )"""


@dataclass
class Timing:
    """Seconds of one run, by step."""

    steps: dict[str, float] = field(default_factory=dict)
    total: float = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the time of the block."""
        began = time.monotonic()
        yield
        self.steps[name] = time.monotonic() - began


def old_way(side: Side, run_request: RunRequest) -> Timing:
    """Refresh as the old flow did; return its times."""
    timing, began = Timing(), time.monotonic()
    for layer in run_request.spec.layers:
        with timing.step(layer.name):
            dbt(side, PROJECT, STATE, "run", "--select", *layer.select)
    with timing.step("tests"):
        dbt(side, PROJECT, STATE, "test", "--select", "tag:P2")
    with timing.step("validation"):
        valid = (
            sum(old_check(side.dsn, mart.relation, mart.key_columns) for mart in run_request.spec.validation.marts)
            if run_request.spec.validation
            else 0
        )
    with timing.step("cache"):
        for endpoint in run_request.spec.cache.endpoints if run_request.spec.cache else []:
            httpx.get(side.api + endpoint, timeout=30, trust_env=False).raise_for_status()
    with timing.step("log"), psycopg.connect(side.dsn) as connection:
        connection.execute(LOG_TABLE)
        notes = f"Phase 2 refresh - {valid}/4 marts validated"
        connection.execute("insert into dbt_refresh_log (success, models_updated, notes) values (true, 4, %s)", [notes])
    timing.total = time.monotonic() - began
    return timing


def old_check(dsn: str, relation: str, keys: list[str]) -> bool:
    """Count the rows of a mart and the NULLs of its keys, with one query each; return whether it is valid."""
    table = sql.Identifier(*relation.split("."))
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
        count = rows[0] if rows else 0
        nulls = []
        for key in keys:
            query = sql.SQL("select count(*) from {} where {} is null").format(table, sql.Identifier(key))
            row = connection.execute(query).fetchone()
            nulls.append(row[0] if row else 0)
    return count > 0 and all(null * 10 < count for null in nulls)


def our_way(side: Side, run_request: RunRequest, number: int) -> Timing:
    """Refresh with the runner, as a pod does; return its times, those of steps from its log."""
    secrets = mount_secrets(side, STATE / "secrets")
    env = {RUN_REQUEST_ENV: run_request.model_dump_json(by_alias=True), RUN_ID_ENV: f"compare-{number}", API_BASE_URL_ENV: side.api}
    places = [
        "--project",
        str(PROJECT),
        "--secrets",
        str(secrets),
        "--workdir",
        str(STATE / "ours"),
        "--termination-log",
        os.devnull,
    ]
    began = time.monotonic()
    output = checked(runner("run", *places), env)
    timing = Timing(total=time.monotonic() - began)
    begun: dict[str, datetime] = {}
    for line in map(json.loads, output.splitlines()):
        label, _, state = line["message"].partition(" ")
        name, _, state = state.partition(" ")
        if "/" in label and state.startswith("Running"):
            begun[name] = datetime.fromisoformat(line["time"])
        elif "/" in label and name in begun and state.startswith(("Succeeded", "Warned")):
            timing.steps[name] = (datetime.fromisoformat(line["time"]) - begun[name]).total_seconds()
    return timing


def prepared(server: EmbeddedPostgres) -> dict[str, str]:
    """Create two databases with the same sources and the main pipeline built; return their connection strings."""
    say(f"generating sources ({ROWS} records per table) and building the main pipeline")
    fill(server.dsn, ROWS)
    places = ["--project", str(PROJECT), "--workdir", str(STATE / "main")]
    checked(runner("run", str(SAMPLES / "main.yaml"), *places), server.env)
    for name in ("old", "ours"):
        with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(server.access.database))
            )
    return {name: server.dsn_of(name) for name in ("old", "ours")}


def table(old: list[Timing], ours: list[Timing]) -> None:
    """Print the medians of both."""
    names = list(dict.fromkeys([*old[0].steps, *ours[0].steps]))
    print(f"\n{'step':<12}{'old way':>10}{'ours':>10}   seconds, median of {len(old)}")
    for name in names:
        print(f"{name:<12}{median(old, name):>10}{median(ours, name):>10}")
    totals = [statistics.median(timing.total for timing in side) for side in (old, ours)]
    print(f"{'all':<12}{totals[0]:>10.2f}{totals[1]:>10.2f}   ours takes {totals[1] / totals[0]:.2f} of the old way's time")


def median(timings: list[Timing], name: str) -> str:
    """Return the median of a step as text, or a dash if there is no such step."""
    found = [timing.steps[name] for timing in timings if name in timing.steps]
    return f"{statistics.median(found):.2f}" if found else "-"


def main() -> int:
    """Refresh both ways and compare; return 1 if a mart differs."""
    STATE.mkdir(parents=True, exist_ok=True)
    write_profile(STATE)
    run_request = Manifest.model_validate(yaml.safe_load((SAMPLES / "phase2.yaml").read_text())).run_request()
    relations = [mart.relation for mart in run_request.spec.validation.marts] if run_request.spec.validation else []
    say(f"PostgreSQL starts in {STATE.relative_to(ROOT)}")
    with ExitStack() as stack:
        server = stack.enter_context(warehouse(STATE))
        dsn = prepared(server)
        envs = {name: {**server.env, "PGDATABASE": name} for name in dsn}
        sides = {name: Side(name, dsn[name], envs[name], stack.enter_context(dashboard_api(envs[name]))) for name in dsn}
        old, ours = [], []
        # Warm up both, so that neither pays for the first parse or a cold cache. With RUNS=1 the times are no measurement.
        for number in range(0 if RUNS > 1 else 1, RUNS + 1):
            say(f"run {number} of {RUNS}: the old way, then ours" if number else "warm-up: the old way, then ours")
            timings = old_way(sides["old"], run_request), our_way(sides["ours"], run_request, number)
            if number:
                old.append(timings[0])
                ours.append(timings[1])
        table(old, ours)
        print("\nThe last row of each log:")
        for name in sides:
            with psycopg.connect(dsn[name]) as connection:
                row = connection.execute(
                    "select success, models_updated, notes from dbt_refresh_log order by run_date desc limit 1"
                ).fetchone()
                print(f"  {name:<5} {row}")
        differing = {relation: differing_rows(dsn["ours"], dsn["old"], relation) for relation in relations}
        print("\nMarts, row by row (EXCEPT both ways):")
        for relation, count in differing.items():
            print(f"  {'✓ equal' if not count else f'✗ {count} rows differ'}  {relation}")
        server.stop("fast")
    return 1 if any(differing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
