"""What a preview found, as the report that a terminal, a merge request and a status show; pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from refresh_api.preview_report import ColumnFigures, ColumnReport, MartReport, ModelReport, PreviewReport, ProblemReport, SampleReport
from refresh_runner.model.step_results import NodeState
from refresh_runner.preview import comparison
from refresh_runner.preview.preview import Preview

_TEXT: Final = "S"
"""Category of the types of texts."""


def report_of(preview: Preview, *, texts: bool = True) -> PreviewReport:
    """Return the report; without `texts`, it has no values of columns of text, which may be about people."""
    bad = [test for test in preview.tests if test.state is not NodeState.OK]
    return PreviewReport(
        marts=[mart_report(table, texts=texts) for table in preview.comparisons],
        models=[ModelReport(name=each.node.name, milliseconds=round(each.seconds * 1000)) for each in preview.built],
        tests=len(preview.tests),
        problems=[
            ProblemReport(name=each.node.name, failed=each.state is not NodeState.WARNED, message=each.message or "") for each in bad
        ],
        removed=list(preview.removed),
        left_out=list(preview.left_out),
    )


def mart_report(table: comparison.TableComparison, *, texts: bool = True) -> MartReport:
    """Return the report of one table."""
    is_new = table.rows_before is None
    return MartReport(
        relation=str(table.pair.live),
        key=list(table.pair.key),
        rows_before=table.rows_before,
        rows_after=table.rows_after,
        added=table.added,
        removed=table.removed,
        changed=table.changed,
        sample=_sample(table),
        columns=[] if is_new else [_column(column, texts) for column in table.columns if column.differs],
    )


def _sample(table: comparison.TableComparison) -> SampleReport | None:
    if table.pair.sample is None or table.compared is None:
        return None
    before, after = table.compared
    return SampleReport(one_in=table.pair.sample.one_in, rows_before=before, rows_after=after)


def _column(column: comparison.ColumnComparison, texts: bool) -> ColumnReport:
    return ColumnReport(
        name=column.name, before=_figures(column.before, texts), after=_figures(column.after, texts), changed=column.changed
    )


def _figures(figures: comparison.ColumnFigures | None, texts: bool) -> ColumnFigures | None:
    if figures is None:
        return None
    values = asdict(figures)
    if values.pop("category") == _TEXT and not texts:
        values |= {"least": None, "greatest": None}
    return ColumnFigures(**values)
