"""Measures a preview of a change against a run of the same models, on marts of a million rows.

    python -m bench.previews [--rows 1000000] [--runs 5]

The project has a view, a fact and a mart with a unique key; the change gives one row in a hundred of the mart another value. Three sides,
one after the other in each round: a run with Direct, a run with Swap, and a preview of the change, which builds the fact and the mart
again and compares the mart with the live one. Both projects are parsed beforehand, as in a pod.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg
import yaml

from bench.refresh import RESULTS, STATE, new_side
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.names import RUN_ID_ENV
from refresh_api.preview_report import DIFFERS
from support.laptop import runner, say, warehouse
from support.old_way import Side, checked, mount_secrets

MART = "dwh.mart_lignes"
MODELS = {
    "staging/stg_lignes": "{{ config(materialized='view') }} select id, zone, montant, jour from {{ source('src', 'lignes') }}",
    "facts/fait_lignes": "select id, zone, montant, jour from {{ ref('stg_lignes') }}",
    "marts/mart_lignes": "select id, zone, jour, montant from {{ ref('fait_lignes') }}",
}
CHANGED = "select id, zone, montant + case when id % 100 = 0 then 1 else 0 end as montant, jour from {{ ref('stg_lignes') }}"
PROPERTIES = """
sources: [{name: src, tables: [{name: lignes}]}]
models: [{name: mart_lignes, columns: [{name: id, data_tests: [unique, not_null]}]}]
"""
PROJECT = "{name: apercu, profile: warehouse, version: '1.0.0', models: {apercu: {+materialized: table}}}"
SOURCE = """
create schema src;
create table src.lignes as
    select n as id, n % 50 as zone, (n % 1000)::numeric(12, 2) as montant, date '2026-01-01' + n % 365 as jour
    from generate_series(1, {rows}) n;
analyze src.lignes;
"""


@dataclass(frozen=True)
class Bench:
    """The live project, the changed one, and the database of each side."""

    state: Path
    sides: dict[str, Side]

    def folder(self, name: str) -> Path:
        """Return the folder of the project `live` or `changed`."""
        return self.state / name

    def write(self) -> None:
        """Write both projects and a refresh for each way to publish."""
        for name in ("live", "changed"):
            shutil.rmtree(self.folder(name), ignore_errors=True)
            files = {f"models/{path}.sql": text for path, text in MODELS.items()}
            files |= {"models/properties.yml": PROPERTIES, "dbt_project.yml": PROJECT}
            if name == "changed":
                files["models/facts/fait_lignes.sql"] = CHANGED
            for path, text in files.items():
                (self.folder(name) / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder(name) / path).write_text(text)
        for publish in ("Direct", "Swap"):
            (self.state / f"{publish.lower()}.yaml").write_text(_refresh(publish))

    def parse(self) -> None:
        """Parse both projects."""
        for name in ("live", "changed"):
            checked(runner("parse", str(self.state / "swap.yaml"), "--project", str(self.folder(name))), {})

    def run(self, publish: str, number: int) -> None:
        """Run the live project."""
        side = self.sides[publish]
        options = ["--project", str(self.folder("live")), "--secrets", str(self._secrets(side)), "--termination-log", os.devnull]
        run_id = f"bench-{os.getpid()}-{publish}-{number}"
        checked(runner("run", str(self.state / f"{publish}.yaml"), *options), {**side.env, RUN_ID_ENV: run_id})

    def preview(self) -> int:
        """Preview the change; return the number of rows that it would change."""
        side = self.sides["swap"]
        options = ["--project", str(self.folder("changed")), "--base", str(self.folder("live")), "-o", "json"]
        command = runner("preview", str(self.state / "swap.yaml"), *options, "--secrets", str(self._secrets(side)))
        output = checked(command, side.env, DIFFERS)
        (mart,) = json.loads(output)["marts"]
        return int(mart["changed"])

    def _secrets(self, side: Side) -> Path:
        return mount_secrets(side, self.state / "secrets" / side.name)


def _refresh(publish: str) -> str:
    spec = {
        "schedule": "0 * * * *",
        "timeout": "1h",
        "warehouse": {"secretRef": {"name": "warehouse"}},
        "dbt": {"schema": "dwh"},
        "layers": [{"name": "all", "select": ["*"]}],
        "tests": {"select": ["*"]},
        "validation": {"marts": [{"relation": MART, "uniqueKey": ["id"]}]},
        "publish": publish,
    }
    top = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "apercu"}}
    return yaml.safe_dump({**top, "spec": spec})


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed or a preview left something."""
    parser = argparse.ArgumentParser(description="Measures a preview against a run of the same models.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(f"previews-{chosen.rows}", started, f"make bench-previews ROWS={chosen.rows} RUNS={chosen.runs}")
    state = STATE / f"previews-{chosen.rows}"
    state.mkdir(parents=True, exist_ok=True)
    with warehouse(state) as server:
        bench = Bench(state, {name: new_side(server, name, SOURCE.format(rows=chosen.rows)) for name in ("direct", "swap")})
        bench.write()
        bench.parse()
        for number in range(chosen.runs + 1):
            say(f"run {number} of {chosen.runs}" if number else "once each to warm up")
            for publish in ("direct", "swap"):
                began = time.monotonic()
                bench.run(publish, number)
                if number:
                    samples.add(f"{publish}_seconds", time.monotonic() - began)
            began = time.monotonic()
            changed = bench.preview()
            if number:
                samples.add("preview_seconds", time.monotonic() - began)
                samples.add("changed_unlike_expected", abs(changed - chosen.rows // 100))
                samples.add("schemas_left", _schemas_left(bench.sides["swap"].dsn))
        server.stop("fast")
    samples.versions |= {name: version(name) for name in ("dbt-core", "dbt-postgres", "refresh-runner")}
    samples.versions["python"] = sys.version.split()[0]
    samples.counts |= {"cores": os.cpu_count() or 0, "rows": chosen.rows}
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


def _schemas_left(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pg_namespace where nspname like '%\\_\\_preview\\_%'").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    sys.exit(main())
