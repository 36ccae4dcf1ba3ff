"""The dbt project as tests run it: one process, one parse, and a profile for each database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

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
Variables = Mapping[str, str | int | list[str] | dict[str, bool]]

_QUIET = ("--quiet", "--no-write-json", "--log-level-file", "none", "--cache-selected-only")


class Dbt:
    """dbt on a project, with a folder for everything that it writes."""

    def __init__(self, place: Path, project: Path = PROJECT, variables: Variables | None = None) -> None:
        """Write the profile; `variables` are those with which the project is parsed."""
        (place / "profiles.yml").write_text(_PROFILE)
        self._place = place
        self._project = project
        self._variables = _variables(variables)
        self._manifest: Manifest | None = None

    def manifest(self, database: Database) -> Manifest:
        """Return the manifest for a database; the project is parsed once, with warnings as errors."""
        if self._manifest is None:
            done = self._invoke(dbtRunner(), database, ["parse", "--warn-error", "--no-partial-parse", *self._variables])
            assert isinstance(done.result, Manifest), done.exception
            self._manifest = done.result
        # The manifest depends on the database by its name only; parsing for each database would take seconds.
        for node in [*self._manifest.nodes.values(), *self._manifest.sources.values()]:
            node.database = database.name
        return self._manifest

    def invoke(self, database: Database, *arguments: str, variables: Variables | None = None) -> dbtRunnerResult:
        """Run a dbt command on a database and return its result; the caller judges failures."""
        return self._invoke(dbtRunner(self.manifest(database)), database, [*arguments, *_variables(variables)])

    def succeed(self, database: Database, *arguments: str, variables: Variables | None = None) -> Sequence[str]:
        """Run a dbt command that must succeed; return the ids of the nodes that ran."""
        done = self.invoke(database, *arguments, variables=variables)
        assert done.success, f"dbt {' '.join(arguments)}: {done.exception or failures(done)}"
        return nodes_of(done)

    def _invoke(self, runner: dbtRunner, database: Database, arguments: Sequence[str]) -> dbtRunnerResult:
        places = ["--project-dir", str(self._project), "--profiles-dir", str(self._place)]
        places += ["--target-path", str(self._place / "target"), "--log-path", str(self._place / "logs")]
        with _environment(database.env):
            return runner.invoke([*_QUIET, *arguments, *places])


def nodes_of(done: dbtRunnerResult) -> list[str]:
    """Return the ids of the nodes that a command ran."""
    return [result.node.unique_id for result in getattr(done.result, "results", [])]


def failures(done: dbtRunnerResult) -> dict[str, str]:
    """Return status and message of every node that did not pass, by node id."""
    results = getattr(done.result, "results", [])
    return {result.node.unique_id: f"{result.status}: {result.message}" for result in results if result.status not in {"pass", "success"}}


def _variables(variables: Variables | None) -> list[str]:
    return ["--vars", json.dumps(dict(variables))] if variables else []


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
