"""Measures the queries of the run log when it is large: those of the page, and those that a run sends.

    python -m bench.run_log [--rows 5000000] [--refreshes 100] [--nodes 50] [--times 30]

`--rows` is the number of rows of dbt_refresh_node, `--nodes` those of a run. Runs are spread evenly over the refreshes and over 90 days,
each with 6 steps, 4 marts and what it read. The page's queries include the connection, which it opens for each. A run's statements are
rolled back, so that each is measured on the same data; they use a session that is already connected. The control is a query that may use
no index, which must take longer than the goal.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, LiteralString

import psycopg

from bench.refresh import RESULTS, STATE, new_side
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_page.kube.models import Ref
from refresh_page.runlog.repository import RunLogRepository
from refresh_runner.runlog import queries
from refresh_runner.runlog.schema import NODE, STEP
from support.laptop import say, warehouse
from support.old_way import mount_secrets
from support.run_log import create_run_log_tables

NAMESPACE: Final = "data"
FILL: Final = (
    """insert into dbt_refresh_run (run_id, refresh, namespace, generation, mode, attempt, attempts, pod, phase, step, outcome, reason,
        message, marts, started_at, attempt_started_at, heartbeat_at, ended_at, fingerprint, kept_since, project, inputs)
    select format('r%%s-%%s', refresh, number), 'r' || refresh, %(namespace)s, 1, 'refresh', 1, 3, 'pod', 'Finished', 'cache',
        case when number %% 50 = 0 then 'Failed' else 'Succeeded' end, 'Done', 'done', '4/4', at, at, at, at + interval '1 minute',
        md5(number::text), at, 'p' || refresh %% 10,
        (select jsonb_object_agg('relation_' || n, md5((n + number)::text)) from generate_series(1, 20) n)
    from generate_series(1, %(refreshes)s) refresh, generate_series(1, %(runs)s) number,
        lateral (select now() - interval '90 days' * number / (%(runs)s + 1) as at) time""",
    """insert into dbt_refresh_step (run_id, step, position, attempt, state, tries, started_at, seconds, message)
    select run_id, 'step-' || n, n, 1, 'Done', 1, started_at, 2.5, 'done' from dbt_refresh_run, generate_series(1, 6) n""",
    """insert into dbt_refresh_mart (run_id, relation, rows, verdict, validated_at)
    select run_id, 'dwh_marts.mart_' || n, 1000 + n, 'Passed', started_at from dbt_refresh_run, generate_series(1, 4) n""",
    """insert into dbt_refresh_node (run_id, node_id, node, step, attempt, state, seconds, ended_at, parents)
    select run_id, 'model.projet.modele_' || n, 'modele_' || n, 'step-' || n %% 6, 1, 'ok', 0.4, started_at,
        '["model.projet.un", "source.projet.deux.trois"]'
    from dbt_refresh_run, generate_series(1, %(nodes)s) n""",
    """insert into dbt_refresh_artifact (run_id, name, media_type, content, stored_at)
    select run_id, 'run.log', 'text/plain', %(log)s, started_at from dbt_refresh_run""",
    """insert into dbt_refresh_docs (project, media_type, content, stored_at)
    select 'p' || n, 'text/html', %(docs)s, now() from generate_series(0, 9) n""",
    "vacuum analyze",
)
RUN_STATEMENTS: Final[Mapping[str, LiteralString]] = {
    "close_lost": queries.CLOSE_LOST_SQL,
    "earlier": queries.EARLIER_SQL,
    "previous_run": queries.PREVIOUS_RUN_SQL,
    "previous_revision": queries.PREVIOUS_REVISION_SQL,
    "last_good": queries.LAST_GOOD_SQL,
    "median_rows": queries.MEDIAN_ROWS_SQL,
    "prune": queries.PRUNE_SQL,
    "prune_docs": queries.PRUNE_DOCS_SQL,
}


@dataclass(frozen=True)
class RunLog:
    """A filled run log; measures take the refresh in the middle and its last run."""

    dsn: str
    secrets: Path
    refresh: str

    @property
    def last_run(self) -> str:
        """Return the ID of the last run of the refresh: numbers count back from now."""
        return f"{self.refresh}-1"

    def page_queries(self) -> dict[str, Callable[[], object]]:
        """Return what the page asks."""
        repository, ref = RunLogRepository(self.secrets), Ref(NAMESPACE, self.refresh)

        def found(result: object) -> None:
            assert result, "the page found nothing"

        return {
            "page_refresh": lambda: found(asyncio.run(repository.refresh_rows(ref)).runs),
            "page_run": lambda: found(asyncio.run(repository.run_rows(ref, self.last_run))),
            "page_node": lambda: found(asyncio.run(repository.node_runs(ref, "model.projet.modele_7"))),
            "page_tests": lambda: found(asyncio.run(repository.verdict_rows(ref)).runs),
            "page_comparison": lambda: found(asyncio.run(repository.comparison_rows(ref, f"{self.refresh}-2", self.last_run))),
            "page_last_states": lambda: found(asyncio.run(repository.last_states(ref))),
            "page_artifact": lambda: found(asyncio.run(repository.artifact(ref, self.last_run, "docs.html"))),
        }

    def run_statements(self, connection: psycopg.Connection) -> dict[str, Callable[[], object]]:
        """Return what a run sends: the statements of its start and end, and those that it repeats."""
        known: dict[str, object] = {
            "namespace": NAMESPACE,
            "refresh": self.refresh,
            "run_id": self.last_run,
            "fingerprint": "none",
            "good": ["Succeeded", "Warned"],
            "partial": ["only"],
            "days": 90,
        }
        node = {"run_id": self.last_run, "node_id": "model.projet.nouveau", "node": "nouveau", "step": "s", "attempt": 1, "state": "ok"}
        step = {"run_id": self.last_run, "step": "nouveau", "position": 7, "attempt": 1, "state": "Running", "tries": 1}
        upserts = {"node": (queries.upsert(NODE, node), node), "step": (queries.upsert(STEP, step), step)}
        statements = {name: (text.encode(), known) for name, text in RUN_STATEMENTS.items()}

        def sent(statement: bytes, parameters: Mapping[str, object]) -> Callable[[], object]:
            return lambda: connection.execute(statement, parameters)

        return {f"run_{name}": sent(*each) for name, each in {**statements, **upserts}.items()}


def measured(act: Callable[[], object], times: int, after: Callable[[], object] = lambda: None) -> Iterator[float]:
    """Yield the seconds of each time but the first one; call `after` each time, which is not measured."""
    for number in range(times + 1):
        began = time.monotonic()
        act()
        seconds = time.monotonic() - began
        after()
        if number:
            yield seconds


def control(connection: psycopg.Connection, refresh: str) -> Iterator[float]:
    """Yield the seconds of one query without the indexes that it uses."""
    connection.execute("set local enable_indexscan = off; set local enable_bitmapscan = off; set local enable_indexonlyscan = off")
    query = "select count(*) from dbt_refresh_node join dbt_refresh_run using (run_id) where run_id = %s"
    yield from measured(lambda: connection.execute(query, [f"{refresh}-1"]), 2)
    connection.rollback()


def fill(dsn: str, refreshes: int, runs: int, nodes: int) -> None:
    """Create the tables and their rows."""
    files = {"log": gzip.compress(random.randbytes(1000)), "docs": gzip.compress(random.randbytes(80_000))}
    known = {"namespace": NAMESPACE, "refreshes": refreshes, "runs": runs, "nodes": nodes, **files}
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_run_log_tables(connection)
        for statement in FILL:
            connection.execute(statement.encode(), known if "%" in statement else None)


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Measures the queries of a large run log.")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--refreshes", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--times", type=int, default=30)
    chosen = parser.parse_args()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples("run-log", started, f"make bench-run-log ROWS={chosen.rows}")
    state = STATE / "run-log"
    state.mkdir(parents=True, exist_ok=True)
    runs = max(chosen.rows // chosen.nodes // chosen.refreshes, 1)
    with warehouse(state) as server:
        say(f"{chosen.refreshes} refreshes with {runs} runs of {chosen.nodes} nodes each")
        side = new_side(server, "run_log", "select 1")
        fill(side.dsn, chosen.refreshes, runs, chosen.nodes)
        log = RunLog(side.dsn, mount_secrets(side, state / "secrets") / "warehouse", f"r{(chosen.refreshes + 1) // 2}")
        say(f"{chosen.times} times each query of the page, and each statement of a run")
        for name, ask in log.page_queries().items():
            samples.add(f"{name}_seconds", *measured(ask, chosen.times))
        with psycopg.connect(side.dsn) as connection:
            for name, send in log.run_statements(connection).items():
                samples.add(f"{name}_seconds", *measured(send, chosen.times, connection.rollback))
            samples.add("control_seconds", *control(connection, log.refresh))
            for table in ("run", "node"):
                row = connection.execute("select pg_total_relation_size(%s::regclass)", [f"dbt_refresh_{table}"]).fetchone()
                samples.add(f"{table}_mb", (row[0] if row else 0) / 1e6)
        server.stop("fast")
    samples.versions["python"] = sys.version.split()[0]
    samples.counts |= {"cores": os.cpu_count() or 0, "nodes": chosen.rows, "refreshes": chosen.refreshes, "runs": runs * chosen.refreshes}
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
