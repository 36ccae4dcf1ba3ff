"""Run the tests that depend on PostgreSQL's version on each version, and write their results into docs/postgresql.md."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import generate
from refresh_examples.embedded import psql_program
from suite_results import POSTGRES, ROOT, Result, run_all, run_suite
from support import postgres_builds
from support.postgres_builds import Build

_RUNNER: Final = "tests/integration/runner"
_BY_VERSION: Final = tuple(
    f"{_RUNNER}/test_{name}.py"
    for name in ("kinds", "publish", "bound_marts", "foreign_keys", "grants", "unchanged", "vacuum", "read_only")
)
"""Those whose statements or catalogs differ by version."""


@dataclass(frozen=True)
class Suite:
    """Tests on a build, and what the table calls them."""

    build: Build
    label: str
    paths: tuple[str, ...]


def suites_of(major: int) -> list[Suite]:
    """Return what runs on a version.

    The runner's tests run whole on the oldest one; `make test` runs them whole on the wheel's build of the newest.
    """
    build = postgres_builds.parse(f"{major}:maven" if major == postgres_builds.WHEEL else str(major))
    runner = Suite(build, "runner", (_RUNNER,)) if major == min(postgres_builds.MAJORS) else Suite(build, "publish", _BY_VERSION)
    return [runner, Suite(build, "managed", ("tests/postgres",))]


def cells(suite: Suite, version: str) -> tuple[str, ...]:
    """Return the first cells of the suite's row."""
    return version, suite.build.source, suite.label


def version_of(build: Build) -> str:
    """Return the version that a build's server states, like 14.22."""
    programs = postgres_builds.programs(build)
    server = programs / "bin" / "postgres" if programs else psql_program().with_name("postgres")
    done = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.split()[2]


def run(suite: Suite, workers: str, folder: Path) -> Result:
    """Run a suite and return its counts."""
    report = folder / f"{str(suite.build).replace(':', '-')}-{suite.label}.xml"
    return run_suite(report, ["-n", workers, *suite.paths], {**os.environ, postgres_builds.VARIABLE: str(suite.build)})


def main() -> int:
    """Run the versions that VERSIONS names. Defaults to all. Return 1 if a test failed."""
    majors = [int(each) for each in os.environ.get("VERSIONS", "").split()] or list(postgres_builds.MAJORS)
    workers, folder = os.environ.get("WORKERS", "2"), ROOT / ".state/postgres"
    suites = (each for major in majors for each in suites_of(major))
    runs = ((cells(suite, version_of(suite.build)), partial(run, suite, workers, folder)) for suite in suites)
    return run_all("test-postgres", POSTGRES, runs, generate.write)


if __name__ == "__main__":
    sys.exit(main())
