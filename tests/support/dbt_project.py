"""The dbt project as the tests run it: one dbt process, each database by its own profile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbt.cli.main import dbtRunner, dbtRunnerResult

from support.postgres import Database

PROJECT = Path(__file__).parents[2] / "dbt_project"

_PROFILE = """\
warehouse:
  target: tests
  outputs:
    tests:
      type: postgres
      host: "{{ env_var('PGHOST') }}"
      port: "{{ env_var('PGPORT') | int }}"
      user: "{{ env_var('PGUSER') }}"
      password: "{{ env_var('PGPASSWORD') }}"
      dbname: "{{ env_var('PGDATABASE') }}"
      schema: public
      threads: 4
"""


@dataclass(frozen=True)
class Dbt:
    """dbt on a project, with its own place for all that it writes."""

    place: Path
    project: Path = PROJECT

    @classmethod
    def at(cls, place: Path, project: Path = PROJECT) -> Dbt:
        """Write the profile; dbt can be invoked afterwards."""
        (place / "profiles.yml").write_text(_PROFILE)
        return cls(place, project)

    def invoke(self, database: Database, *arguments: str, variables: Mapping[str, str] | None = None) -> dbtRunnerResult:
        """Run one dbt command on a database; quiet unless it fails, and a failure is left to the caller to judge."""
        options = ["--project-dir", str(self.project), "--profiles-dir", str(self.place)]
        # dbt parses anew whenever the database changes; with a target of its own each is parsed once.
        options += ["--target-path", str(self.place / database.name), "--log-path", str(self.place / "logs")]
        if variables:
            options += ["--vars", json.dumps(dict(variables))]
        with _environment(database.env):
            return dbtRunner().invoke(["--quiet", "--no-write-json", "--log-level-file", "none", *arguments, *options])

    def succeed(self, database: Database, *arguments: str, variables: Mapping[str, str] | None = None) -> Sequence[str]:
        """Run one dbt command that must succeed; the ids of the nodes it ran."""
        done = self.invoke(database, *arguments, variables=variables)
        assert done.success, f"dbt {' '.join(arguments)}: {done.exception or failures(done)}"
        return [result.node.unique_id for result in getattr(done.result, "results", [])]


def failures(done: dbtRunnerResult) -> dict[str, str]:
    """By node, what each that did not pass has to say."""
    results = getattr(done.result, "results", [])
    return {result.node.unique_id: f"{result.status}: {result.message}" for result in results if result.status not in {"pass", "success"}}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
