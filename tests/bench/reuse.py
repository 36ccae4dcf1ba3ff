"""Measures what a run with `unchangedPolicy: Reuse` costs after a small change: as a share of a whole run, and beside its SQL alone.

    python -m bench.reuse [--rows 10000] [--runs 5] [--seed 7]

Two databases get the same changes: in one the refresh reuses, in the other it builds everything (mode full-refresh, policy Run). The floor
of a case is the SQL of the nodes that were built and tested, with the publish of their marts, sent again without dbt. Seconds above the
floor are also stated in imports of dbt, timed in the same round. The marts of both are compared row by row. `bench.verdicts` judges.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench.changes import CHANGED, change
from bench.floor import Floor, Statements, by_step, heard
from bench.refresh import PROJECT, RESULTS, Stand, conditions, copied, patient, phase2, prepared, state_of
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.run_request import Manifest, RunRequest
from refresh_api.spec import UnchangedPolicy
from refresh_runner.cli.parse import cache_project
from refresh_runner.core.clock import Clock
from refresh_runner.model.plan import DbtSettings
from refresh_runner.postgres.conninfo import ConnectionInfo
from support.laptop import SEED, dashboard_api, say, warehouse
from support.old_way import Side, differing_rows

_MART = "models/marts/operationnel/mart_emplois_crees.sql"
_ONE_SOURCE = {"emplois": CHANGED["emplois"]}
_FIRST_MINUTE = 29_000_000
"""The names of runs end in a minute, as those of scheduled runs do: only these end at once if nothing has changed."""
_ONE_ROW = "update sigeti.{0} set updated_at = updated_at where ctid = (select min(ctid) from sigeti.{0})"


@dataclass(frozen=True)
class Case:
    """One row of the table: what changes before each run."""

    name: str
    change: Callable[[str, int], object] = lambda _dsn, _number: None
    edit: Callable[[str, int], str] | None = None
    """Changes the SQL of one mart."""


CASES = (
    Case("nothing"),
    Case("comment", edit=lambda text, number: f"-- {number}\n{text}"),
    Case("one_mart", edit=lambda text, number: f"{text}\nwhere mois.zone_id is distinct from {-number}\n"),
    Case("one_source", change=lambda dsn, number: change(dsn, number, _ONE_SOURCE)),
    Case("all_sources", change=lambda dsn, number: change(dsn, number)),
)


@dataclass(frozen=True)
class Bench:
    """The two databases, and the means to run in them."""

    reusing: Stand
    whole: Stand
    samples: Samples

    def measure(self, case: Case, rounds: int, first: int) -> None:
        """Run a case in both databases, some times, and its SQL alone."""
        for number in range(1, rounds + 1):
            say(f"{case.name}, {number} of {rounds}")
            for stand in (self.reusing, self.whole):
                case.change(_dsn(stand), first + number)
            project = _edited(self.reusing.state, case, number) if case.edit else PROJECT
            self.samples.add("import_seconds", _import_seconds())
            with _heard(self.reusing, number == 1) as statements:
                self._timed(f"{case.name}_seconds", replace(self.reusing, project=project), first + number)
            self.samples.add(f"{case.name}_built", len(_built(_dsn(self.reusing))))
            self._timed(f"{case.name}_whole_seconds", replace(self.whole, project=project), first + number)
            if statements:
                self._floor(case, statements)
            self._compare(case)

    def overhead(self, rounds: int, first: int) -> None:
        """Build everything in both databases: what proving and recording costs if nothing is reused."""
        forced = replace(self.reusing, run_request=self.reusing.run_request.model_copy(update={"mode": "full-refresh"}))
        for number in range(1, rounds + 1):
            say(f"everything changed, {number} of {rounds}")
            self._timed("forced_seconds", forced, first + number)
            self._timed("forced_whole_seconds", self.whole, first + number)

    def _timed(self, name: str, stand: Stand, number: int) -> None:
        one = Samples("one", "", "")
        stand.ours(one, _FIRST_MINUTE + number)
        self.samples.add(name, *one.samples["ours_seconds"])

    def _floor(self, case: Case, statements: Statements) -> None:
        """Send the statements of the case again, in a copy of its database."""
        request, built = self.reusing.run_request, _built(_dsn(self.reusing))
        copied(self.reusing.server, "ours", "floor")
        env = {**self.reusing.server.env, "PGDATABASE": "floor"}
        spec = request.spec.model_copy(deep=True)
        marts = [mart for mart in (spec.validation.marts if spec.validation else ()) if mart.relation.partition(".")[2] in built]
        if spec.validation and marts:
            spec = spec.model_copy(update={"validation": spec.validation.model_copy(update={"marts": marts})})
        steps = by_step(statements.of("ours", "floor"), request)
        floor = Floor(
            self.reusing.server.dsn_of("floor"), request.model_copy(update={"spec": spec}), steps if built else {}, request.spec.dbt.threads
        )
        access = ConnectionInfo(env["PGHOST"], int(env["PGPORT"]), "floor", env["PGUSER"], env["PGPASSWORD"])
        began = time.monotonic()
        if marts:
            floor.run(Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep), access)
        else:
            floor.send_all()
        self.samples.add(f"{case.name}_floor_seconds", time.monotonic() - began)

    def _compare(self, case: Case) -> None:
        spec = self.reusing.run_request.spec
        for mart in spec.validation.marts if spec.validation else ():
            self.samples.add(f"{case.name}_rows_unlike_whole", differing_rows(_dsn(self.reusing), _dsn(self.whole), mart.relation))


def _dsn(stand: Stand) -> str:
    return stand.sides["ours"].dsn


@contextmanager
def _heard(stand: Stand, listens: bool) -> Iterator[Statements | None]:
    if not listens:
        yield None
        return
    with heard(stand.server, "ours") as statements:
        yield statements


def _built(dsn: str) -> set[str]:
    """Return the models that the last run has built."""
    query = "select node from dbt_refresh_node where node_id like 'model.%' and state <> 'reused' and run_id ="
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(f"{query} (select run_id from dbt_refresh_run order by started_at desc limit 1)".encode())
        return {str(name) for (name,) in rows}


def _edited(state: Path, case: Case, number: int) -> Path:
    """Return a copy of the project in which one mart has other SQL, parsed as in an image."""
    folder = state / f"project-{case.name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    mart = folder / _MART
    if case.edit:
        mart.write_text(case.edit(mart.read_text(), number))
    settings = phase2().spec.dbt
    cache_project(folder, DbtSettings(settings.threads, settings.target, settings.target_schema, {}), lambda _line: None)
    return folder


def _import_seconds() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import dbt.adapters.postgres, dbt.cli.main"], check=True)
    return time.monotonic() - began


def built_twice(bench: Bench, main: Stand) -> None:
    """After one row of each source was written: what the main pipeline has built and phase 2 builds again, of what can be reused."""
    with psycopg.connect(_dsn(main), autocommit=True) as connection:
        for table in CHANGED:
            connection.execute(_ONE_ROW.format(table).encode())
    main.ours(None, 900_101)
    by_main = _built(_dsn(main))
    bench.reusing.ours(None, 900_102)
    bench.samples.add("built_again_after_main", len(by_main & _built(_dsn(bench.reusing))))
    bench.samples.add("built_by_main", len(by_main))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, store and judge; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Measures what reuse saves.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated sources")
    chosen = parser.parse_args(arguments)
    state, started = state_of(chosen.rows), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(f"reuse-{chosen.rows}", started, f"make bench-reuse ROWS={chosen.rows} RUNS={chosen.runs} SEED={chosen.seed}")
    with ExitStack() as stack:
        server = stack.enter_context(warehouse(state))
        prepared(server, state, chosen.rows, chosen.seed, ["ours", "old"])
        stands = []
        for name, request in (("ours", reusing(phase2())), ("old", phase2().model_copy(update={"mode": "full-refresh"}))):
            env = {**server.env, "PGDATABASE": name}
            api = stack.enter_context(dashboard_api(env))
            stands.append(Stand(server, {"ours": Side(name, server.dsn_of(name), env, api)}, request, state))
        bench = Bench(stands[0], stands[1], samples)
        pipeline = replace(stands[0], run_request=reusing(Manifest.model_validate(patient("main")).run_request()))
        say("once each to warm up")
        for nth, stand in enumerate((pipeline, *stands)):
            stand.ours(None, 900_000 + nth)
        for nth, case in enumerate(CASES):
            bench.measure(case, chosen.runs, nth * 20)
        bench.overhead(chosen.runs, 300)
        built_twice(bench, pipeline)
        _in_imports(samples)
        conditions(server, samples, chosen.rows)
        server.stop("fast")
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


def reusing(request: RunRequest) -> RunRequest:
    """Return a run request with `unchangedPolicy: Reuse`."""
    return request.model_copy(update={"spec": request.spec.model_copy(update={"unchanged_policy": UnchangedPolicy.REUSE})})


def _in_imports(samples: Samples) -> None:
    """Add how many imports of dbt a run takes above its SQL, for each case."""
    imports = samples.samples["import_seconds"]
    typical = sorted(imports)[len(imports) // 2]
    for case in CASES:
        (floor,) = samples.samples[f"{case.name}_floor_seconds"]
        samples.add(f"{case.name}_imports", *((seconds - floor) / typical for seconds in samples.samples[f"{case.name}_seconds"]))


if __name__ == "__main__":
    sys.exit(main())
