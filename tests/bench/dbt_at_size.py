"""`make bench-dbt`: the dbt project on large sources: duration of each model, correctness of every mart, speed of the dashboards.

Intentionally slow and not part of `make test`: a million records per table take some minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psycopg
from dbt.cli.main import dbtRunnerResult

from integration.dbt.comparing import MARTS, differences, found
from refresh_examples.embedded import Access, EmbeddedPostgres, remove
from refresh_examples.load import load
from refresh_examples.sources import Sources
from refresh_examples.summaries import DASHBOARDS, Dashboard, grouped_query, summary_of
from refresh_examples.truth import truth
from support.dbt_project import Dbt, failures
from support.postgres import Database

AS_OF = date(2026, 6, 30)
LOOKS = 20


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="records of each main table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--truth", action="store_true", help="compare every cell of every mart with the truth")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the warehouse may lie meanwhile")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dbt-at-size-", dir=chosen.folder) as folder:
        place = Path(folder)
        access = Access(password="measured")
        with EmbeddedPostgres.start(place / "postgres", access) as server:
            measure(Database(server, access.database), Sources(chosen.rows, chosen.seed, AS_OF), place, compare=chosen.truth)
        remove(place / "postgres")


def measure(database: Database, sources: Sources, place: Path, *, compare: bool) -> None:
    """Load, build, test, compare and query."""
    (server,) = database.rows("select version()")
    print(f"{os.cpu_count()} cores, {platform.python_version()}, {server[0]}", flush=True)
    with timed("sources loaded"), database.connect() as connection:
        lines = sum(load(connection, sources).values())
    print(f"  {sources.rows:,} records of each main table, {lines:,} lines in all, seed {sources.seed}, as of {sources.as_of}")
    dbt, variables = Dbt(place), {"as_of": sources.as_of.isoformat()}
    with timed("project read"):
        dbt.manifest(database)
    with timed("models built"):
        built = dbt.invoke(database, "run", variables=variables)
    report(built)
    with timed("data tests"):
        tested = dbt.invoke(database, "test", "--exclude-resource-type", "unit_test", variables=variables)
    report(tested, most=8)
    ask(database)
    if compare:
        with timed("compared with the truth"):
            expected = truth(sources.tables(), sources.as_of)
            wrong = {mart: differences(rows, found(database, mart)) for mart, rows in expected.items()}
        cells = sum(len(row) for rows in expected.values() for row in rows.values())
        print(f"  {len(MARTS)} marts, {cells:,} cells, {sum(map(len, wrong.values()))} of them differ")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.1f} s", flush=True)


def report(done: dbtRunnerResult, most: int = 20) -> None:
    """Print a command's nodes, slowest first."""
    results = sorted(getattr(done.result, "results", []), key=lambda each: -each.execution_time)
    for result in results[:most]:
        print(f"  {result.execution_time:6.2f} s  {result.node.name}  {result.status}")
    print(f"  {len(results)} nodes, {len(failures(done))} not well", flush=True)


def ask(database: Database) -> None:
    """Print each dashboard's summary time as the API reads it, with the plan of its widest query."""
    with database.connect() as connection:
        for dashboard in DASHBOARDS:
            took = sorted(_seconds(dashboard, connection) for _ in range(LOOKS))
            print(f"summary {dashboard.name}: median {statistics.median(took) * 1000:.1f} ms, slowest of {LOOKS} {took[-1] * 1000:.1f} ms")
            columns = next(iter(dashboard.breakdowns.values()))
            plan = connection.execute(psycopg.sql.SQL("explain (analyze, costs off) ") + grouped_query(dashboard, columns)).fetchall()
            print("\n".join(f"    {line[0]}" for line in plan), flush=True)


def _seconds(dashboard: Dashboard, connection: psycopg.Connection) -> float:
    started = time.perf_counter()
    summary_of(dashboard, connection)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
