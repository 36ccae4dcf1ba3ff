"""Run the tests that depend on PostgreSQL's version on each version, and write their results into docs/postgresql.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from generate import between
from marked import table
from refresh_examples.embedded import psql_program
from support import postgres_builds
from support.postgres_builds import Build

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs/postgresql.md"
HEAD: Final = ("PostgreSQL", "build", "tests", "date", "passed", "failed", "skipped")
_LIMIT: Final = 2400
"""Seconds for one suite."""
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


@dataclass(frozen=True)
class Result:
    """The counts of a suite, and how often each reason skipped a test."""

    passed: int
    failed: int
    skipped: Counter[str]


def suites_of(major: int) -> list[Suite]:
    """Return what runs on a version.

    The runner's tests run whole on the oldest one; `make test` runs them whole on the wheel's build of the newest.
    """
    build = postgres_builds.parse(f"{major}:maven" if major == postgres_builds.WHEEL else str(major))
    runner = Suite(build, "runner", (_RUNNER,)) if major == min(postgres_builds.MAJORS) else Suite(build, "publish", _BY_VERSION)
    return [runner, Suite(build, "managed", ("tests/postgres",))]


def result_of(report: ET.Element) -> Result:
    """Return the counts of a JUnit report."""
    cases = list(report.iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    reasons = Counter(_reason(skip.get("message") or "") for case in cases for skip in case.findall("skipped"))
    return Result(len(cases) - failed - reasons.total(), failed, reasons)


def _reason(message: str) -> str:
    """Return why a test was skipped, without the paths of this machine."""
    return re.sub(r'"/[^"]*/', '"', message).replace('"', "")


def row(suite: Suite, version: str, day: str, result: Result) -> tuple[str, ...]:
    """Return the table's row."""
    why = "; ".join(f"{count}: {reason}" for reason, count in sorted(result.skipped.items()))
    return (version, suite.build.source, suite.label, day, str(result.passed), str(result.failed), why or "0")


def with_rows(page: str, rows: Sequence[tuple[str, ...]]) -> str:
    """Return the page with these rows in place of those of the same major version and tests; the others stay."""
    replaced = {_key(each) for each in rows}
    kept = [found for line in _table(page) if (found := _cells(line)) and _key(found) not in replaced]
    ordered = sorted([*kept, *rows], key=_key)
    return between(page, "results", "\n" + table(HEAD, ordered) + "\n")


def _key(cells: Sequence[str]) -> tuple[int, bool]:
    return int(cells[0].partition(".")[0]), cells[2] == "managed"


def _table(page: str) -> list[str]:
    return re.findall(r"^\| \d+.*\|$", page.partition("<!-- results:begin")[2].partition("<!-- results:end")[0], re.MULTILINE)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1]))


def version_of(build: Build) -> str:
    """Return the version that a build's server states, like 14.22."""
    programs = postgres_builds.programs(build)
    server = programs / "bin" / "postgres" if programs else psql_program().with_name("postgres")
    done = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.split()[2]


def run(suite: Suite, workers: str, folder: Path) -> Result:
    """Run a suite and return its counts; a crash of pytest counts as one failure."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{str(suite.build).replace(':', '-')}-{suite.label}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, f"--junitxml={report}", *suite.paths]
    environment = {**os.environ, postgres_builds.VARIABLE: str(suite.build)}
    try:
        code = subprocess.run(command, cwd=ROOT, env=environment, timeout=_LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if not report.exists():
        return Result(0, 1, Counter())
    found = result_of(ET.parse(report).getroot())
    return found if code == 0 or found.failed else Result(found.passed, 1, found.skipped)


def main() -> int:
    """Run the versions that VERSIONS names. Defaults to all. Return 1 if a test failed."""
    majors = [int(each) for each in os.environ.get("VERSIONS", "").split()] or list(postgres_builds.MAJORS)
    rows: list[tuple[str, ...]] = []
    succeeded, began = True, time.monotonic()
    for suite in (each for major in majors for each in suites_of(major)):
        version = version_of(suite.build)
        print(f"[{time.monotonic() - began:4.0f} s] PostgreSQL {version} ({suite.build.source}): {suite.label}", flush=True)
        result = run(suite, os.environ.get("WORKERS", "2"), ROOT / ".state/postgres")
        rows.append(row(suite, version, f"{datetime.now(UTC):%Y-%m-%d}", result))
        # After each suite, so that a run that is interrupted keeps what it has.
        PAGE.write_text(with_rows(PAGE.read_text(), rows[-1:]))
        succeeded = succeeded and result.passed > 0 and not result.failed
    print(table(HEAD, rows))
    print(f"test-postgres: {time.monotonic() - began:.0f} s; results written to {PAGE.relative_to(ROOT)}")
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
