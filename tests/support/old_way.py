"""The old Prefect flow without Prefect, as plain dbt commands in processes, and a comparison of its marts with the runner's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

from support.laptop import ROOT

PROFILE = {
    "type": "postgres",
    "host": "{{ env_var('PGHOST') }}",
    "port": "{{ env_var('PGPORT') | int }}",
    "user": "{{ env_var('PGUSER') }}",
    "password": "{{ env_var('PGPASSWORD') }}",
    "dbname": "{{ env_var('PGDATABASE') }}",
    "schema": "dwh",
    "threads": 8,
}
KEYS = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
"""Keys of the warehouse Secret, and libpq's variables for the same values."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: its database and its API."""

    name: str
    dsn: str
    env: dict[str, str]
    api: str


def write_profile(folder: Path) -> None:
    """Write dbt's profile, with the connection from libpq's variables."""
    (folder / "profiles.yml").write_text(yaml.safe_dump({"warehouse": {"target": "prod", "outputs": {"prod": PROFILE}}}))


def mount_secrets(side: Side, root: Path) -> Path:
    """Write a side's warehouse Secret as it is mounted into a pod; return the folder of all Secrets."""
    folder = root / "warehouse"
    folder.mkdir(parents=True, exist_ok=True)
    for key, variable in KEYS.items():
        (folder / key).write_text(side.env[variable])
    return root


def checked(command: list[str], env: dict[str, str], code: int = 0) -> str:
    """Run a command that must end with this exit code; return its output."""
    done = subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return done.stdout


def dbt(side: Side, project: Path, state: Path, command: str, *arguments: str) -> None:
    """Run a dbt command as a process."""
    places = ["--project-dir", str(project), "--profiles-dir", str(state), "--target-path", str(state / "target"), "--log-path", str(state)]
    checked([str(Path(sys.executable).with_name("dbt")), command, *arguments, *places], side.env)


def differing_rows(ours: str, theirs: str, relation: str) -> int:
    """Return the number of rows of a mart that only one of two databases has, by EXCEPT ALL in both directions."""
    schema, name = relation.split(".")
    with psycopg.connect(ours) as here, psycopg.connect(theirs) as there:
        here.execute(sql.SQL("create temp table theirs (like {})").format(sql.Identifier(schema, name)))
        with (
            there.cursor().copy(sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(schema, name))) as source,
            here.cursor().copy("copy theirs from stdin (format binary)") as target,
        ):
            for block in source:
                target.write(block)
        query = sql.SQL(
            "select count(*) from ((table {0} except all table theirs) union all (table theirs except all table {0})) as differing"
        )
        row = here.execute(query.format(sql.Identifier(schema, name))).fetchone()
        return int(row[0]) if row else 0
