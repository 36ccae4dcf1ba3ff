"""The report of a preview as text: for a terminal or a merge request; pure."""

from collections.abc import Iterator
from typing import Final

from refresh_api.plain import pluralize
from refresh_api.preview_report import MAX_COLUMNS, ColumnFigures, MartReport, PreviewReport
from refresh_api.status import clip

_VALUE_LENGTH: Final = 40
"""Characters of a value that are shown."""
_MARKDOWN: Final = {**{letter: f"\\{letter}" for letter in "\\|`[]"}, "<": "&lt;", "@": "@<!-- -->", "\n": " ", "\r": " "}


def text(report: PreviewReport) -> str:
    """Return the report for a terminal."""
    return "\n".join(_lines(report, heading="", bullet="  "))


def markdown(report: PreviewReport) -> str:
    """Return the report for a merge request."""
    return "\n".join(_lines(report, heading="### ", bullet="- ", markdown=True))


def _lines(report: PreviewReport, heading: str, bullet: str, *, markdown: bool = False) -> Iterator[str]:
    def cell(value: str) -> str:
        return _cell(value) if markdown else " ".join(value.split())

    if not report.models:
        yield "The change touches no model of this refresh."
    for mart in report.marts:
        yield f"{heading}{cell(mart.relation)}: {cell(mart.summary)}"
        if of := mart.sample:
            yield f"{bullet}all figures but the numbers of rows are of the sample: {of.rows_before} → {of.rows_after} rows"
        yield from _table(mart) if markdown else _list(mart)
        yield ""
    if report.models:
        names = ", ".join(f"{each.name} ({each.milliseconds / 1000:.1f} s)" for each in report.models)
        yield f"{heading}{pluralize(len(report.models), 'model')} built: {cell(names)}"
    failed = [each for each in report.problems if each.failed]
    warned = [each for each in report.problems if not each.failed]
    if report.tests:
        yield f"{heading}{pluralize(report.tests, 'test')}: {len(failed)} failed, {len(warned)} warned"
        yield from (f"{bullet}{cell(each.name)}: {cell(each.message)}" for each in (*failed, *warned))
    yield from (f"{bullet}{cell(name)} is removed from the project; its table stays as it is" for name in report.removed)
    yield from (f"{bullet}{cell(note)}" for note in report.left_out)
    if report.truncated:
        yield f"{bullet}the report is not complete, since a status has limited room"


def _list(mart: MartReport) -> Iterator[str]:
    for column in mart.columns[:MAX_COLUMNS]:
        changed = f"{column.changed} changed; " if column.changed else ""
        yield f"  {column.name}: {changed}{_figures(column.before)} → {_figures(column.after)}"
    yield from _more(mart)


def _table(mart: MartReport) -> Iterator[str]:
    if mart.columns:
        yield ""
        yield "| column | changed | before | after |"
        yield "|---|--:|---|---|"
    for column in mart.columns[:MAX_COLUMNS]:
        changed = "" if column.changed is None else str(column.changed)
        yield f"| {_cell(column.name)} | {changed} | {_cell(_figures(column.before))} | {_cell(_figures(column.after))} |"
    yield from _more(mart)


def _more(mart: MartReport) -> Iterator[str]:
    more = mart.more_columns + max(0, len(mart.columns) - MAX_COLUMNS)
    if more:
        yield f"{more} more columns differ"


def _figures(figures: ColumnFigures | None) -> str:
    if figures is None:
        return "no such column"
    parts = [figures.type, f"{figures.distinct} distinct", f"{figures.nulls} NULL"]
    if figures.least is not None:
        parts.append(f"{clip(figures.least, _VALUE_LENGTH)} to {clip(figures.greatest or '', _VALUE_LENGTH)}")
    if figures.total is not None:
        parts.append(f"sum {figures.total}")
    return ", ".join(parts)


def _cell(value: str) -> str:
    """Return a text in which Markdown means nothing."""
    return "".join(_MARKDOWN.get(letter, letter) for letter in value)
