"""`make run`: one refresh without Kubernetes, on a PostgreSQL from a wheel with generated data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psycopg

from support.laptop import ROOT, SAMPLES, dashboard_api, fill, runner, say, warehouse

ROWS = int(os.environ.get("ROWS", "10000"))
STATE = ROOT / ".state" / "run"
LOG = "SELECT refresh_id, run_date, success, models_updated, notes FROM dbt_refresh_log ORDER BY run_date DESC LIMIT 1"


def refresh(sample: str, env: dict[str, str]) -> int:
    """Run a sample with `refresh-runner run`; return its exit code. Ctrl-C reaches the runner, which cleans up before it exits."""
    command = runner("run", str(SAMPLES / sample), "--project", str(ROOT / "dbt_project"), "--workdir", str(STATE / "dbt"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def is_built(dsn: str) -> bool:
    """Return whether the main pipeline has been run."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select to_regclass('dwh_staging.stg_factures')").fetchone()
        return bool(row and row[0])


def show(dsn: str, query: str) -> None:
    """Print a query and its rows."""
    print(f"\n=> {query}")
    with psycopg.connect(dsn) as connection:
        for row in connection.execute(query.encode()).fetchall():
            print("   " + " | ".join(str(value) for value in row))


def main() -> int:
    """Run the phase 2 refresh once; return the runner's exit code."""
    STATE.mkdir(parents=True, exist_ok=True)
    say(f"PostgreSQL starts in {STATE.relative_to(ROOT)} (the first time takes a few seconds)")
    with warehouse(STATE) as server:
        if fill(server.dsn, ROWS):
            say(f"generated sources: {ROWS} records per table")
        with dashboard_api(server.env) as address:
            env = {**server.env, "API_BASE_URL": address}
            if not is_built(server.dsn):
                say("main: builds the tables that phase 2 reads; only in a new warehouse")
                if code := refresh("main.yaml", env):
                    return code
            say("phase 2: six steps")
            code = refresh("phase2.yaml", env)
            show(server.dsn, LOG)
            show(server.dsn, "SELECT COUNT(*) FROM dwh_marts_operationnel.mart_implantation_suivi")
            # A fast shutdown writes a checkpoint; after an immediate one the sequence of the log would skip numbers.
            server.stop("fast")
    say("done; PostgreSQL is stopped, its data are kept")
    print("\nNext: make run again (faster), ROWS=100000 make run, make lint FILE=deploy/samples/phase2.yaml, make compare, make demo")
    return code


if __name__ == "__main__":
    sys.exit(main())
