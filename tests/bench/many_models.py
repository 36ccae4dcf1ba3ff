"""Measures a project of many small models by plain dbt and by the runner: what a run costs beside its SQL.

    python -m bench.many_models [--models 300] [--runs 3]

A third of the models are views on one source, the others tables; a fifth are marts; each has two tests. Four sides, one after the other in
each round: dbt's four commands (`seed`, `run`, `snapshot`, `test`), one `dbt build`, `refresh-runner run` with Swap and validated marts,
and `refresh-runner parse`. Processor seconds of the processes are compared, since they vary less than the time on the clock. Every
mart of the three builds is compared row by row.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from bench.refresh import RESULTS, STATE, new_side
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.names import RUN_ID_ENV
from support.laptop import runner, say, warehouse
from support.old_way import Side, checked, dbt, differing_rows, mount_secrets, write_profile

ROWS = 100
SCHEMA = "dwh"
SOURCE = f"create schema src; create table src.lignes as select n as id, n % 7 as zone, n * 3 as montant from generate_series(1, {ROWS}) n"


@dataclass(frozen=True)
class ManyModels:
    """A project with this many models."""

    models: int

    @property
    def marts(self) -> list[str]:
        """The names of the marts."""
        return [f"mart_{number}" for number in range(self.models // 5)]

    def write(self, folder: Path) -> None:
        """Write the project's files."""
        views, marts = self.models // 3, len(self.marts)
        facts = self.models - views - marts
        sql = {f"stg_{n}": f"select id, zone, montant + {n} as montant from {{{{ source('src', 'lignes') }}}}" for n in range(views)}
        for n in range(facts):
            sql[f"fait_{n}"] = f"select id, zone, montant from {{{{ ref('stg_{n % views}') }}}}"
        for n, mart in enumerate(self.marts):
            one, other = f"fait_{n % facts}", f"fait_{(n + marts) % facts}"
            joined = f"{{{{ ref('{one}') }}}} a join {{{{ ref('{other}') }}}} b using (id)"
            sql[mart] = f"select id, a.montant + b.montant as montant from {joined}"
        layers = {"stg": "staging", "fait": "facts", "mart": "marts"}
        for name, query in sql.items():
            path = folder / "models" / layers[name.partition("_")[0]] / f"{name}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(query + "\n")
        properties = {"sources": [{"name": "src", "tables": [{"name": "lignes"}]}]}
        columns = [{"name": "id", "data_tests": ["unique", "not_null"]}]
        properties["models"] = [{"name": name, "columns": columns} for name in sql]
        (folder / "models" / "properties.yml").write_text(yaml.safe_dump(properties))
        settings = {"staging": {"+materialized": "view"}, "facts": {"+materialized": "table"}, "marts": {"+materialized": "table"}}
        project = {"name": "beaucoup", "profile": "warehouse", "version": "1.0.0", "models": {"beaucoup": settings}}
        (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))

    def refresh(self) -> str:
        """Return the refresh as YAML."""
        spec = {
            "schedule": "0 * * * *",
            "timeout": "1h",
            "warehouse": {"secretRef": {"name": "warehouse"}},
            "dbt": {"schema": SCHEMA, "threads": 8},
            "layers": [{"name": name, "select": [name]} for name in ("staging", "facts", "marts")],
            "tests": {"select": ["*"]},
            "validation": {"marts": [{"relation": f"{SCHEMA}.{mart}"} for mart in self.marts]},
            "publish": "Swap",
        }
        top = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": "beaucoup"}}
        return yaml.safe_dump({**top, "spec": spec})


@dataclass(frozen=True)
class Bench:
    """The project, its folder, and a database for each side."""

    project: Path
    state: Path
    sides: dict[str, Side]

    def four_commands(self) -> None:
        """Run dbt's four commands."""
        for command in ("seed", "run", "snapshot", "test"):
            dbt(self.sides["commands"], self.project, self.state, command)

    def build(self) -> None:
        """Run `dbt build`."""
        dbt(self.sides["build"], self.project, self.state, "build")

    def ours(self, number: int) -> None:
        """Run the runner as in a pod."""
        side = self.sides["ours"]
        secrets = mount_secrets(side, self.state / "secrets")
        options = ["--project", str(self.project), "--secrets", str(secrets), "--termination-log", os.devnull]
        checked(runner("run", str(self.state / "refresh.yaml"), *options), {**side.env, RUN_ID_ENV: f"bench-{os.getpid()}-{number}"})

    def parse(self) -> None:
        """Parse the project without what was parsed before."""
        shutil.rmtree(self.project / "target", ignore_errors=True)
        checked(runner("parse", "--project", str(self.project)), {})


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed or a mart differs."""
    parser = argparse.ArgumentParser(description="Measures a project of many small models.")
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(f"many-models-{chosen.models}", started, f"make bench-many-models MODELS={chosen.models} RUNS={chosen.runs}")
    many = ManyModels(chosen.models)
    state = STATE / f"many-models-{chosen.models}"
    shutil.rmtree(state / "project", ignore_errors=True)
    state.mkdir(parents=True, exist_ok=True)
    many.write(state / "project")
    write_profile(state)
    (state / "refresh.yaml").write_text(many.refresh())
    with warehouse(state) as server:
        bench = Bench(state / "project", state, {name: new_side(server, name, SOURCE) for name in ("commands", "build", "ours")})
        say("once each to warm up")
        _round(bench, 0, None)
        for number in range(1, chosen.runs + 1):
            say(f"run {number} of {chosen.runs}")
            _round(bench, number, samples)
        for name in ("commands", "build"):
            dsns = bench.sides["ours"].dsn, bench.sides[name].dsn
            samples.add(f"rows_unlike_{name}", sum(differing_rows(*dsns, f"{SCHEMA}.{mart}") for mart in many.marts))
        server.stop("fast")
    samples.versions |= {name: version(name) for name in ("dbt-core", "dbt-postgres", "refresh-runner")}
    samples.versions["python"] = sys.version.split()[0]
    samples.counts |= {"cores": os.cpu_count() or 0, "models": chosen.models, "tests": 2 * chosen.models, "marts": len(many.marts)}
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


def _round(bench: Bench, number: int, samples: Samples | None) -> None:
    """Run every side once; the runner finds what `parse` has written."""
    for name, act in {
        "parse": bench.parse,
        "ours": lambda: bench.ours(number),
        "commands": bench.four_commands,
        "build": bench.build,
    }.items():
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        act()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if samples:
            samples.add(f"{name}_cpu_seconds", after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            samples.add(f"{name}_seconds", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
