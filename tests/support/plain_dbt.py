"""Plain dbt as its users run it, for comparison with the runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from support.postgres import Database

_DBT = "from dbt.cli.main import cli; cli()"


def plain_dbt(project: Path, database: Database, workdir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a dbt command in a process with the runner's profile; return the completed process."""
    access = database.env
    output = {
        "type": "postgres",
        "host": access["PGHOST"],
        "port": int(access["PGPORT"]),
        "dbname": access["PGDATABASE"],
        "user": access["PGUSER"],
        "password": access["PGPASSWORD"],
        "schema": "dwh",
        "threads": 4,
    }
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "profiles.yml").write_text(yaml.safe_dump({"petit": {"target": "prod", "outputs": {"prod": output}}}))
    places = ["--project-dir", str(project), "--profiles-dir", str(workdir), "--target-path", str(workdir / "target")]
    further = ["--log-path", str(workdir / "logs"), "--no-send-anonymous-usage-stats", "--no-use-colors"]
    arguments = [sys.executable, "-c", _DBT, *command, *places, *further, "--vars", '{"as_of": "2026-01-31"}']
    return subprocess.run(arguments, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120)
