"""Measures one refresh in three ways side by side; samples are stored and judged by `bench.verdicts`.

    python -m bench.refresh [--rows 10000] [--runs 5] [--seed 7]

a) old: the old flow's four dbt commands, each a process. b) ours: the runner as a process with every feature on. c) floor: the SQL of b)
for models, tests, validation and publishing, sent without dbt over as many connections. All have compiled bytecode, the same threads,
databases that are copies of each other, and one warm-up run. Unit tests are left out of a) and b): they test SQL on their own rows, which
the floor does not have. The project's 22 unit tests take b) 1.1 s. The marts of all three are compared row by row. Server, API and programs
share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from bench.floor import Floor, heard, scripts_of
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.names import API_BASE_URL_ENV, RUN_ID_ENV, RUN_REQUEST_ENV
from refresh_api.run_request import Manifest, RunRequest
from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.core.clock import Clock
from refresh_runner.postgres.conninfo import ConnectionInfo
from support.laptop import ROOT, SAMPLES, SEED, dashboard_api, fill, runner, say, warehouse
from support.old_way import Side, dbt, differing_rows, mount_secrets, write_profile
from support.postgres import create_database

STATE = ROOT / ".state" / "bench"
PROJECT = ROOT / "dbt_project"
_UNIT_TESTS = "test_type:unit"
RESULTS = ROOT / "tests" / "bench" / "results"
NAMES = ("old", "ours", "floor")
Line = Mapping[str, str]
"""A line of the runner's log."""


@dataclass(frozen=True)
class Stand:
    """The three sides, and the run request that all execute."""

    server: EmbeddedPostgres
    sides: dict[str, Side]
    run_request: RunRequest
    state: Path
    project: Path = PROJECT

    def old(self, samples: Samples | None) -> None:
        """Run the four dbt commands."""
        began = time.monotonic()
        for layer in self.run_request.spec.layers:
            dbt(self.sides["old"], PROJECT, self.state, "run", "--full-refresh", "--select", *layer.select)
        dbt(self.sides["old"], PROJECT, self.state, "test", "--select", "tag:P2", "--exclude", _UNIT_TESTS)
        if samples:
            samples.add("old_seconds", time.monotonic() - began)

    def ours(self, samples: Samples | None, number: int) -> None:
        """Run the runner as in a pod."""
        side = self.sides["ours"]
        secrets = mount_secrets(side, self.state / "secrets")
        run = f"bench-{os.getpid()}-{number}"
        env = {RUN_REQUEST_ENV: self.run_request.model_dump_json(by_alias=True), RUN_ID_ENV: run, API_BASE_URL_ENV: side.api}
        command = runner("run", "--project", str(self.project), "--secrets", str(secrets), "--termination-log", os.devnull)
        began, clock = time.monotonic(), time.time()
        process = subprocess.Popen(
            command, env={**os.environ, **env}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"bench: the runner ended with {process.returncode}\n{output[-4000:]}")
        if samples:
            samples.add("ours_seconds", time.monotonic() - began)
            samples.add("ours_memory_mb", usage.ru_maxrss / 1024)
            samples.add("ours_cpu_seconds", usage.ru_utime + usage.ru_stime)
            lines = [json.loads(line) for line in output.splitlines() if line]
            if first := _first_model(lines):
                samples.add("first_model_seconds", first - clock)
            for name, seconds in _steps(lines, clock).items():
                samples.add(f"ours_{name}_seconds", seconds)

    def floor(self, samples: Samples | None, floor: Floor) -> None:
        """Send the SQL alone."""
        env = self.sides["floor"].env
        access = ConnectionInfo(env["PGHOST"], int(env["PGPORT"]), env["PGDATABASE"], env["PGUSER"], env["PGPASSWORD"])
        began = time.monotonic()
        steps = floor.run(Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep), access)
        if samples:
            samples.add("floor_seconds", time.monotonic() - began)
            for name, seconds in steps.items():
                samples.add(f"floor_{name}_seconds", seconds)


def phase2() -> RunRequest:
    """Return the run request of the phase 2 sample with long timeouts."""
    return Manifest.model_validate(patient("phase2")).run_request()


def patient(sample: str) -> dict[str, Any]:
    """Return a sample without unit tests, with timeouts that suit any number of rows, because durations are measured."""
    manifest: dict[str, Any] = yaml.safe_load((SAMPLES / f"{sample}.yaml").read_text())
    manifest["spec"]["timeout"] = "24h"
    manifest["spec"]["tests"]["exclude"] = [_UNIT_TESTS]
    for step in (*manifest["spec"]["layers"], manifest["spec"]["tests"]):
        step["timeout"] = "12h"
    return manifest


def state_of(rows: int) -> Path:
    """Return the folder of the server with that many records, shared by benches that copy its databases; created if missing."""
    state = STATE / f"refresh-{rows}"
    state.mkdir(parents=True, exist_ok=True)
    return state


def _first_model(lines: Sequence[Line]) -> float | None:
    """Return when dbt began its first model, as a timestamp; None if it began none."""
    for line in lines:
        if line["message"].startswith("1 of ") and "START" in line["message"]:
            return _moment(line)
    return None


def _steps(lines: Sequence[Line], began: float) -> dict[str, float]:
    """Return the seconds until the first step and of each step, from the runner's log."""
    found: dict[str, float] = {}
    for line in lines:
        label, _, rest = line["message"].partition(" ")
        name, _, state = rest.partition(" ")
        if not label.partition("/")[2].isdigit():
            continue
        if state == "Running":
            found.setdefault("start", _moment(line) - began)
            found[name] = -_moment(line)
        elif name in found:  # a step that the run leaves out does not begin
            found[name] += _moment(line)
    return found


def _moment(line: Line) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def prepared(server: EmbeddedPostgres, state: Path, rows: int, seed: int, databases: Sequence[str]) -> None:
    """Create databases with the same sources and the main pipeline built; leftovers of an earlier bench are dropped first."""
    for name in NAMES:
        dropped(server, name)
    say(f"generated sources: {rows} records a table (seed {seed}), and the main pipeline on them")
    fill(server.dsn, rows, seed)
    (state / "main.yaml").write_text(yaml.safe_dump(patient("main")))
    done = subprocess.run(
        runner("run", str(state / "main.yaml"), "--project", str(PROJECT)),
        env={**os.environ, **server.env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: the main pipeline failed\n{done.stdout[-3000:]}")
    for name in databases:
        copied(server, server.access.database, name)


def dropped(server: EmbeddedPostgres, name: str) -> None:
    """Drop a database if it exists."""
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def new_side(server: EmbeddedPostgres, name: str, source: str) -> Side:
    """Create a database again, with the sources that a statement makes, and return its side, which has no API."""
    dropped(server, name)
    database = create_database(server, name)
    database.run(source)
    return Side(name, database.dsn, database.env, "")


def copied(server: EmbeddedPostgres, template: str, name: str) -> None:
    """Create a database again as a copy of another one."""
    dropped(server, name)
    with psycopg.connect(server.dsn_of("postgres"), autocommit=True) as connection:
        copy = sql.SQL("create database {} template {} strategy file_copy")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))


def conditions(server: EmbeddedPostgres, samples: Samples, rows: int) -> None:
    """Record versions and sizes."""
    samples.versions |= {name: version(name) for name in ("dbt-core", "dbt-postgres", "psycopg", "refresh-runner")}
    with psycopg.connect(server.dsn_of("ours")) as connection:
        for setting in ("server_version", "shared_buffers", "work_mem", "max_parallel_workers_per_gather", "fsync"):
            (value,) = connection.execute(sql.SQL("show {}").format(sql.Identifier(setting))).fetchone() or ("",)
            samples.versions[f"postgresql {setting}"] = str(value)
        # Counted, because a copied database has no statistics yet.
        relations = connection.execute(
            "select schemaname, relname from pg_stat_user_tables where schemaname = 'sigeti' or schemaname like 'dwh%' order by 1, 2"
        ).fetchall()
        for relation in relations:
            (count,) = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation))).fetchone() or (0,)
            samples.counts[".".join(relation)] = int(count)
    samples.versions["python"] = sys.version.split()[0]
    samples.counts |= {"cores": os.cpu_count() or 0, "rows a source": rows}


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed or the marts differ."""
    parser = argparse.ArgumentParser(description="Measures one refresh in three ways.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated sources")
    parser.add_argument("--judge-later", type=Path, metavar="FILE", help="write the name of the samples' file there, and judge nothing")
    parser.add_argument(
        "--without-old", action="store_true", help="leave the old way out: with ten million records it wants 20 GB and an hour more"
    )
    chosen = parser.parse_args()
    names = [name for name in NAMES if name != "old" or not chosen.without_old]
    state = state_of(chosen.rows)
    write_profile(state)
    # A full build, because the sources do not change: `bench.changes` measures incremental ones.
    run_request = phase2().model_copy(update={"mode": "full-refresh"})
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(
        f"refresh-{chosen.rows}",
        started,
        f"make bench-refresh ROWS={chosen.rows} RUNS={chosen.runs} SEED={chosen.seed}{' OLD=no' * chosen.without_old}",
    )
    with ExitStack() as stack:
        server = stack.enter_context(warehouse(state))
        prepared(server, state, chosen.rows, chosen.seed, [name for name in names if name != "floor"])
        envs = {name: {**server.env, "PGDATABASE": name} for name in names}
        api = stack.enter_context(dashboard_api(envs["ours"]))
        stand = Stand(server, {name: Side(name, server.dsn_of(name), envs[name], api) for name in names}, run_request, state)
        say("once each to warm up; what dbt sends is listened to")
        if "old" in names:
            stand.old(None)
        stand.ours(None, 0)
        with heard(server, "ours") as statements:
            stand.ours(None, 1)
        # The recorded SQL replaces existing relations, so the floor has to start with them.
        copied(server, "ours", "floor")
        floor = scripts_of(server, statements, "ours", run_request, "floor")
        stand.floor(None, floor)
        for number in range(1, chosen.runs + 1):
            say(f"run {number} of {chosen.runs}: {', '.join(names)}")
            if "old" in names:
                stand.old(samples)
            stand.ours(samples, number + 1)
            stand.floor(samples, floor)
        marts = [mart.relation for mart in run_request.spec.validation.marts] if run_request.spec.validation else []
        for other in [name for name in names if name != "ours"]:
            differing = sum(differing_rows(server.dsn_of("ours"), server.dsn_of(other), mart) for mart in marts)
            samples.add(f"rows_unlike_{other}", differing)
        conditions(server, samples, chosen.rows)
        server.stop("fast")
    path = samples.store(RESULTS)
    if chosen.judge_later:
        chosen.judge_later.write_text(str(path))
    say(f"stored in {path.relative_to(ROOT)}")
    return 0 if chosen.judge_later else judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
