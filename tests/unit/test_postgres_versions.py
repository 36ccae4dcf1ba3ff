"""The tables of versions are made of what the tests reported."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import suite_results
from postgres_versions import Suite, cells, suites_of
from suite_results import POSTGRES, Result, result_of, run_all
from support.postgres_builds import MAJORS, WHEEL, BuildError, parse, pins

ROOT = Path(__file__).parents[2]
REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure message="no"/></testcase><testcase name="c"><error message="no"/></testcase>
<testcase name="d"><skipped message='could not open "/tmp/x/share/vector.control"'/></testcase>
<testcase name="m"><skipped message="collection skipped">('/tmp/x.py', 21, 'Skipped: another kind')</skipped></testcase>
</testsuite></testsuites>"""


def row(suite: Suite, version: str, day: str, result: Result) -> tuple[str, ...]:
    return POSTGRES.row(*cells(suite, version), day=day, result=result)


def test_counts_are_those_of_the_report() -> None:
    """An error in a fixture is a failure, and a reason names no folder of the machine."""
    reasons = {"could not open vector.control": 1, "another kind": 1}
    assert result_of(ET.fromstring(REPORT)) == Result(1, 2, Counter(reasons))


def test_a_row_replaces_that_of_its_version_and_tests_alone() -> None:
    """A run of one version, or one that was interrupted, must not lose the results of the others."""
    page = "before\n<!-- results:begin -->\n<!-- results:end -->\nafter\n"
    one, other = suites_of(14), suites_of(16)
    first = POSTGRES.with_rows(page, [row(each, "14.1", "2026-01-01", Result(3, 0, Counter({"a | b": 2}))) for each in one])
    both = POSTGRES.with_rows(first, [row(each, "16.2", "2026-01-02", Result(4, 1, Counter())) for each in other])
    half = POSTGRES.with_rows(both, [row(one[0], "14.2", "2026-01-03", Result(5, 0, Counter()))])
    assert ("14.2" in half, "| 14.1 | maven | managed |" in half, half.count("\n| 1")) == (True, True, 4)
    again = POSTGRES.with_rows(half, [row(each, "14.2", "2026-01-03", Result(5, 0, Counter())) for each in one])
    assert "| 14.1 | maven | runner | 2026-01-01 | 3 | 0 | 2: a \\| b |" in both
    assert "| 16.2 | maven | publish | 2026-01-02 | 4 | 1 | 0 |" in again
    assert "14.1" not in again
    assert again.count("\n| 1") == 4
    assert (again.startswith("before"), again.endswith("after\n")) == (True, True)


def test_results_are_summed_by_version(tmp_path: Path) -> None:
    """The README shows one row a version, with the date of its oldest result."""
    page = tmp_path / "page.md"
    page.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    results = replace(POSTGRES, page=page)
    results.write(("14.1", "maven", "runner", "2026-01-02", "3", "1", "2: a, 3 of them; 1: b"))
    results.write(("14.1", "maven", "managed", "2026-01-01", "4", "0", "0"))
    results.write(("15.1", "maven", "managed", "2026-01-03", "5", "0", "0"))
    assert list(results.by_version()) == [
        ("PostgreSQL", "14.1", "2026-01-01", "7", "1", "3"),
        ("PostgreSQL", "15.1", "2026-01-03", "5", "0", "0"),
    ]


def test_each_result_is_written_as_it_comes(tmp_path: Path) -> None:
    """A failed suite does not keep the next from running, and the command fails."""
    page = tmp_path / "page.md"
    page.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    seen: list[int] = []
    failed, passed = Result(1, 1, Counter()), Result(2, 0, Counter())
    runs = [(("14.1", "maven", "runner"), lambda: failed), (("14.1", "maven", "managed"), lambda: passed)]
    results = replace(POSTGRES, page=ROOT / page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite_results, "ROOT", tmp_path)
        code = run_all("test", results, runs, lambda: seen.append(page.read_text().count("\n| 14.1 ")))
        assert run_all("test", results, runs[1:], lambda: None) == 0
    assert (code, seen) == (1, [1, 2])


def test_the_table_has_rows_of_locked_versions_alone() -> None:
    """The page must not claim more than what was tested: the tests write the table, and a version without results has no row."""
    assert tuple(pins(ROOT / "requirements/postgres.txt")) == MAJORS
    page = POSTGRES.page.read_text()
    assert "| " + " | ".join(POSTGRES.head) + " |" in page
    versions = {int(found) for found in re.findall(r"^\| (\d+)\.", page, re.MULTILINE)}
    assert versions
    assert versions <= set(MAJORS)


@pytest.mark.parametrize("name", ["13", "18:ubuntu", "17:wheel", "latest"])
def test_an_unknown_build_is_refused(name: str) -> None:
    """The control: the wheel's version without a source is the wheel's build."""
    with pytest.raises(BuildError, match=f"REFRESH_POSTGRES={name}"):
        parse(name)
    assert str(parse(str(WHEEL))) == f"{WHEEL}:wheel"
