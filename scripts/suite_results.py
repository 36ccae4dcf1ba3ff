"""Run suites of tests on several versions of something, and keep the results in a table of a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from marked import between, table

ROOT: Final = Path(__file__).resolve().parent.parent
_LIMIT: Final = 2400
"""Seconds for one suite."""


@dataclass(frozen=True)
class Result:
    """The counts of a suite, and how often each reason skipped a test."""

    passed: int
    failed: int
    skipped: Counter[str]

    @property
    def is_success(self) -> bool:
        """Return whether tests ran, and none failed."""
        return self.passed > 0 and not self.failed


@dataclass(frozen=True)
class ResultsTable:
    """The table of a page between its marks `results`; a row is that of a version and a suite."""

    page: Path
    head: tuple[str, ...]
    """The first column is the version; the last ones are tests, date, passed, failed, skipped."""
    parts: int
    """How many parts of a version, as in 1.35.4, make a version of its own here."""
    suites: tuple[str, ...]
    """Names of the suites, in order."""

    def row(self, *first: str, day: str, result: Result) -> tuple[str, ...]:
        """Return the row of a result; `first` are the cells before the date."""
        why = "; ".join(f"{count}: {reason}" for reason, count in sorted(result.skipped.items()))
        return (*first, day, str(result.passed), str(result.failed), why or "0")

    def with_rows(self, text: str, rows: Sequence[tuple[str, ...]]) -> str:
        """Return the page's text with these rows in place of those of the same version and suite; the others stay."""
        replaced = {self._key(each) for each in rows}
        kept = [found for line in _rows(text) if (found := _cells(line)) and self._key(found) not in replaced]
        return between(text, "results", "\n" + table(self.head, sorted([*kept, *rows], key=self._key)) + "\n")

    def write(self, row: tuple[str, ...]) -> None:
        """Write one row into the page: after each suite, so that a run that is interrupted keeps what it has."""
        self.page.write_text(self.with_rows(self.page.read_text(), [row]))

    def by_version(self) -> Iterator[tuple[str, ...]]:
        """Yield a row for each version: its name, the date of its oldest result, and the sums of the counts."""
        rows = [cells for line in _rows(self.page.read_text()) if (cells := _cells(line))]
        for version, group in groupby(rows, key=lambda row: row[0]):
            of_version = [dict(zip(self.head, row, strict=True)) for row in group]
            counts = [str(sum(int(row[name]) for row in of_version)) for name in ("passed", "failed")]
            skipped = sum(int(found) for row in of_version for found in re.findall(r"(?:^|; )(\d+)(?=:|$)", row["skipped"]))
            yield self.head[0], version, min(row["date"] for row in of_version), *counts, str(skipped)

    def _key(self, cells: Sequence[str]) -> tuple[tuple[int, ...], int]:
        version = tuple(int(part) for part in cells[0].split(".")[: self.parts])
        return version, self.suites.index(cells[self.head.index("tests")])


ON_KIND: Final = "end to end on kind"
KUBERNETES: Final = ResultsTable(
    ROOT / "docs/kubernetes.md",
    ("Kubernetes", "tests", "date", "passed", "failed", "skipped"),
    2,
    ("API server", "end to end", "upgrade", ON_KIND),
)
POSTGRES: Final = ResultsTable(
    ROOT / "docs/postgresql.md",
    ("PostgreSQL", "build", "tests", "date", "passed", "failed", "skipped"),
    1,
    ("runner", "publish", "managed"),
)
PROJECTS: Final = ResultsTable(
    ROOT / "docs/dbt-project.md",
    ("dbt-core", "tests", "date", "passed", "failed", "skipped"),
    2,
    ("plain dbt compared with runs",),
)


def tested() -> str:
    """Return a table of the versions on which suites have run, with their last results."""
    head = ("", "version", "last run", "passed", "failed", "skipped")
    return table(head, [row for each in (KUBERNETES, POSTGRES, PROJECTS) for row in each.by_version()])


def result_of(report: ET.Element) -> Result:
    """Return the counts of a JUnit report."""
    cases = list(report.iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    reasons = Counter(_reason(skip) for case in cases for skip in case.findall("skipped"))
    return Result(len(cases) - failed - reasons.total(), failed, reasons)


def run_suite(report: Path, options: Sequence[str], environment: Mapping[str, str]) -> Result:
    """Run pytest with these options and return its counts; a crash of pytest counts as one failure."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *options]
    try:
        code = subprocess.run(command, cwd=ROOT, env=dict(environment), timeout=_LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 1
    if not report.exists():
        return Result(0, 1, Counter())
    found = result_of(ET.parse(report).getroot())
    return found if code == 0 or found.failed else Result(found.passed, 1, found.skipped)


def run_all(
    command: str, results: ResultsTable, suites: Iterable[tuple[tuple[str, ...], Callable[[], Result]]], written: Callable[[], None]
) -> int:
    """Run suites, each with the first cells of its row, and return 1 if a test failed; `written` is called after each result."""
    rows: list[tuple[str, ...]] = []
    succeeded, began = True, time.monotonic()
    for cells, run in suites:
        print(f"[{time.monotonic() - began:4.0f} s] {results.head[0]} {' '.join(cells)}", flush=True)
        result = run()
        rows.append(results.row(*cells, day=f"{datetime.now(UTC):%Y-%m-%d}", result=result))
        results.write(rows[-1])
        written()
        succeeded = succeeded and result.is_success
    print(table(results.head, rows))
    print(f"{command}: {time.monotonic() - began:.0f} s; results written to {results.page.relative_to(ROOT)}")
    return 0 if succeeded else 1


def run_whole(
    command: str, results: ResultsTable, cells: tuple[str, ...], options: Sequence[str], part: Sequence[str], written: Callable[[], None]
) -> int:
    """Run one suite, with the first cells of its row, and return 1 if a test failed.

    `part` are arguments of pytest that select some of its tests. With any, no result is written: it would replace that of all.
    """
    run = partial(run_suite, ROOT / f".state/{command}.xml", [*options, *part], os.environ)
    if part:
        return 0 if run().is_success else 1
    return run_all(command, results, [(cells, run)], written)


def _reason(skip: ET.Element) -> str:
    """Return why a test or a whole module was skipped, without the paths of this machine."""
    module = re.search(r"Skipped: (.*?)['\"]\)?$", skip.text or "")
    message = module[1] if module and skip.get("message") == "collection skipped" else skip.get("message") or ""
    return re.sub(r'"/[^"]*/', '"', message).replace('"', "")


def _rows(page: str) -> list[str]:
    return re.findall(r"^\| \d+.*\|$", page.partition("<!-- results:begin")[2].partition("<!-- results:end")[0], re.MULTILINE)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1]))
