"""What a preview says: complete in a terminal, bounded in a status, and harmless in a merge request."""

from typing import Any

import pytest

from refresh_api.preview_report import (
    ColumnFigures,
    ColumnReport,
    MartReport,
    ModelReport,
    PreviewReport,
    ProblemReport,
    SampleReport,
)
from refresh_api.preview_text import markdown, text
from refresh_api.redaction import Redactor


def figures(kind: str = "integer", **values: str) -> ColumnFigures:
    return ColumnFigures(type=kind, nulls=0, distinct=3, **values)


def mart(name: str = "marts.a", width: int = 1, **changes: Any) -> MartReport:
    found = [ColumnReport(name=f"c{n}", before=figures(), after=figures(total=str(n)), changed=n) for n in range(width)]
    values = {"relation": name, "key": ["id"], "rows_before": 9, "rows_after": 9, "changed": 2, "columns": found, **changes}
    return MartReport.model_validate(values)


def report(*marts: MartReport, **changes: object) -> PreviewReport:
    return PreviewReport.model_validate({"marts": list(marts), "models": [ModelReport(name="a", milliseconds=1234)], "tests": 2, **changes})


def test_the_report_of_a_terminal():
    """As the laptop prints it, and the plugin."""
    found = report(
        mart(), problems=[ProblemReport(name="unique_a", failed=True, message="3 rows"), ProblemReport(name="old", failed=False)]
    )
    assert text(found).splitlines() == [
        "marts.a: 9 → 9 rows: 0 added, 0 removed, 2 changed (by id)",
        "  c0: integer, 3 distinct, 0 NULL → integer, 3 distinct, 0 NULL, sum 0",
        "",
        "1 model built: a (1.2 s)",
        "2 tests: 1 failed, 1 warned",
        "  unique_a: 3 rows",
        "  old: ",
    ]


@pytest.mark.parametrize(
    ("changes", "kinds", "summary"),
    [
        ({"changed": 0, "columns": []}, [], "no mart differs"),
        ({"added": 1}, ["Added", "Changed"], "marts.a: 1 added, 2 changed"),
        ({"removed": 3, "changed": None}, ["Removed"], "marts.a: 3 removed"),
        ({"changed": 0, "columns": [{"name": "x", "after": figures()}]}, ["Columns"], "marts.a: other columns"),
        ({"changed": 0, "columns": [{"name": "x", "before": figures(), "after": figures("text")}]}, ["Columns"], "marts.a: other columns"),
        ({"rows_before": None, "rows_after": 0, "changed": None, "columns": []}, ["Added"], "marts.a: new, 0 rows"),
    ],
)
def test_the_kinds_of_differences(changes: dict[str, Any], kinds: list[str], summary: str):
    """By which `allow` decides. Other figures of a column alone are no difference that readers see."""
    found = report(mart(**changes))
    assert (found.differences, found.summary) == (kinds, summary)


SAMPLE = SampleReport(one_in=10, rows_before=101, rows_after=99)


@pytest.mark.parametrize(
    ("changes", "kinds", "line", "summary"),
    [
        ({"changed": 0}, [], "no difference in a sample of 1 key in 10, 9 rows", "no mart differs (1 of 1 compared by a sample)"),
        (
            {},
            ["Changed"],
            "9 → 9 rows; in a sample of 1 key in 10: 0 added, 0 removed, 2 changed (by id)",
            "marts.a: 2 changed in a sample of 1 key in 10",
        ),
        (
            {"changed": 0, "rows_after": 12},
            ["Added"],
            "9 → 12 rows; in a sample of 1 key in 10: 0 added, 0 removed, 0 changed (by id)",
            "marts.a: 9 → 12 rows",
        ),
        (
            {"changed": None, "key": [], "added": 3, "rows_after": 7},
            ["Added", "Removed"],
            "9 → 7 rows; in a sample of 1 row in 10: 3 rows that were not there, 0 that are not there any more (rows have no unique key)",
            "marts.a: 3 added in a sample of 1 row in 10",
        ),
    ],
)
def test_what_was_compared_by_a_sample_says_so(changes: dict[str, Any], kinds: list[str], line: str, summary: str):
    """Everywhere: else no difference would read as none at all. The numbers of rows are exact, and a difference of them is one."""
    found = report(mart(sample=SAMPLE, columns=[], **changes))
    assert (found.differences, found.summary, found.marts[0].summary) == (kinds, summary, line)
    of_sample = "all figures but the numbers of rows are of the sample: 101 → 99 rows"
    assert text(found).splitlines()[:2] == [f"marts.a: {line}", f"  {of_sample}"]
    assert markdown(found).splitlines()[:2] == [f"### marts.a: {line}", f"- {of_sample}"]
    assert found.model_dump(mode="json", by_alias=True)["marts"][0]["sample"] == {"oneIn": 10, "rowsBefore": 101, "rowsAfter": 99}
    assert found.in_a_status(Redactor()) == found


def test_a_report_that_fits_is_complete_in_a_status():
    """The control of the next test."""
    found = report(*(mart(f"marts.m{n}", 5) for n in range(10)))
    assert found.in_a_status(Redactor()) == found


def test_a_status_has_limited_room():
    """etcd refuses objects of more than a megabyte and a half. What is left out is said, and columns of another type are listed first."""
    other = ColumnReport(name="typed", before=figures(), after=figures("text"))
    wide = mart("marts.wide", 500)
    wide = wide.model_copy(update={"columns": [*wide.columns, other]})
    long = "é" * 5000
    found = report(
        *(
            mart(f"marts.m{n}", columns=[ColumnReport(name=f"c{c}", before=figures(least=long), after=figures()) for c in range(40)])
            for n in range(70)
        ),
        wide,
        problems=[ProblemReport(name=f"t{n}", failed=True, message=long) for n in range(200)],
        left_out=[long] * 200,
    )
    bounded = found.in_a_status(Redactor())
    assert bounded.truncated
    assert len(bounded.model_dump_json(by_alias=True).encode()) < 400_000
    assert (len(bounded.marts), len(bounded.problems), len(bounded.left_out)) == (64, 50, 50)
    assert all(mart.more_columns + len(mart.columns) == 40 for mart in bounded.marts)
    assert "the report is not complete" in text(bounded)
    first = report(wide).in_a_status(Redactor()).marts[0]
    assert (first.columns[0].name, len(first.columns), first.more_columns) == ("typed", 40, 461)


def test_a_report_is_redacted_before_it_is_clipped():
    """Clipped first, the beginning of the secret would stand in the status. The control is a redactor that does not know it."""
    secret = "hunter2-with-a-long-tail"
    found = report(
        mart(columns=[ColumnReport(name="c", before=figures(least="x" * 250 + secret), after=figures())]),
        problems=[ProblemReport(name="n" * 250 + secret, failed=True, message="m" * 490 + secret)],
        left_out=["hook: " + "h" * 485 + secret],
        removed=["r" * 250 + secret],
    )
    redacted = found.in_a_status(Redactor([secret])).model_dump_json()
    assert "hun" not in redacted
    assert found.in_a_status(Redactor()).model_dump_json().count("hun") == 5


def test_values_mean_nothing_in_a_merge_request():
    """A row that says `[x](javascript:…)` or `@everybody`, or begins a table or a heading, is text."""
    found = report(mart("marts.[a](http://evil)|b"), problems=[ProblemReport(name="t`", failed=True, message="@all\n# <img src=x>\n| b |")])
    lines = markdown(found).splitlines()
    assert lines[0].startswith("### marts.\\[a\\](http://evil)\\|b: ")
    assert lines[-1] == "- t\\`: @<!-- -->all # &lt;img src=x> \\| b \\|"
