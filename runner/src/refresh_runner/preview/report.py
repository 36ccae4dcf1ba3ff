"""What a preview found, for the terminal, a merge request, or a program; pure. No rows, only figures of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import Final

from refresh_runner.model.step_results import NodeState
from refresh_runner.preview.comparison import ColumnComparison, ColumnFigures, TableComparison
from refresh_runner.preview.preview import Preview

_MAX_COLUMNS: Final = 40
"""Columns of a table that are listed."""


class Change(StrEnum):
    """A kind of difference, which `--allow` can accept."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    COLUMNS = "columns"


def changes(preview: Preview) -> frozenset[Change]:
    """Return the kinds of differences that readers would see."""
    return frozenset(kind for table in preview.comparisons for kind in _kinds(table))


def _kinds(table: TableComparison) -> Iterator[Change]:
    if table.added:
        yield Change.ADDED
    if table.removed:
        yield Change.REMOVED
    if table.changed:
        yield Change.CHANGED
    if any(_is_other_column(column) for column in table.columns):
        yield Change.COLUMNS


def _is_other_column(column: ColumnComparison) -> bool:
    before, after = column.before, column.after
    return before is None or after is None or before.type != after.type


def text(preview: Preview) -> str:
    """Return the report for a terminal."""
    return "\n".join(_lines(preview, heading="", bullet="  "))


def markdown(preview: Preview) -> str:
    """Return the report for a merge request."""
    return "\n".join(_lines(preview, heading="### ", bullet="- ", markdown=True))


def as_json(preview: Preview) -> str:
    """Return the report for a program."""
    tables = [{**asdict(each), "relation": str(each.relation), "differs": each.differs} for each in preview.comparisons]
    tests = [{"name": each.node.name, "state": each.state.value, "message": each.message} for each in preview.tests]
    models = [{"name": each.node.name, "seconds": round(each.seconds, 3)} for each in preview.built]
    found = {"marts": tables, "models": models, "tests": tests, "removed": preview.removed, "leftOut": preview.left_out}
    return json.dumps({"differs": preview.differs, **found}, indent=2, ensure_ascii=False)


def _lines(preview: Preview, heading: str, bullet: str, *, markdown: bool = False) -> Iterator[str]:
    if not preview.built:
        yield "The change touches no model of this refresh."
    for table in preview.comparisons:
        yield f"{heading}{_cell(str(table.relation), markdown)}: {_summary(table)}"
        yield from _columns(table, markdown)
        yield ""
    if preview.built:
        names = ", ".join(f"{each.node.name} ({each.seconds:.1f} s)" for each in preview.built)
        yield f"{heading}{len(preview.built)} models built: {names}"
    failed = [each for each in preview.tests if each.state not in (NodeState.OK, NodeState.WARNED)]
    warned = [each for each in preview.tests if each.state is NodeState.WARNED]
    if preview.tests:
        yield f"{heading}{len(preview.tests)} tests: {len(failed)} failed, {len(warned)} warned"
        yield from (f"{bullet}{each.node.name}: {each.message}" for each in (*failed, *warned))
    yield from (f"{bullet}{name} is removed from the project; its table stays as it is" for name in preview.removed)
    yield from (f"{bullet}{note}" for note in preview.left_out)


def _summary(table: TableComparison) -> str:
    if table.rows_before is None:
        return f"new, {table.rows_after} rows"
    if not table.differs:
        return f"no difference, {table.rows_after} rows"
    rows = f"{table.rows_before} → {table.rows_after} rows"
    if table.changed is None:
        return f"{rows}: {table.added} rows that were not there, {table.removed} that are not there any more (rows have no unique key)"
    return f"{rows}: {table.added} added, {table.removed} removed, {table.changed} changed (by {', '.join(table.key)})"


def _columns(table: TableComparison, markdown: bool) -> Iterator[str]:
    differing = [column for column in table.columns if column.differs] if table.rows_before is not None else []
    if not differing:
        return
    if markdown:
        yield ""
        yield "| column | changed | before | after |"
        yield "|---|--:|---|---|"
    for column in differing[:_MAX_COLUMNS]:
        changed = "" if column.changed is None else str(column.changed)
        before, after = _figures(column.before), _figures(column.after)
        name = _cell(column.name, markdown)
        if markdown:
            yield f"| {name} | {changed} | {_cell(before, markdown)} | {_cell(after, markdown)} |"
        else:
            yield f"  {name}: {f'{changed} changed; ' if changed else ''}{before} → {after}"
    if len(differing) > _MAX_COLUMNS:
        yield f"{len(differing) - _MAX_COLUMNS} more columns differ"


def _figures(figures: ColumnFigures | None) -> str:
    if figures is None:
        return "no such column"
    parts = [figures.type, f"{figures.distinct} distinct", f"{figures.nulls} NULL"]
    if figures.least is not None:
        parts.append(f"{_short(figures.least)} to {_short(figures.greatest or '')}")
    if figures.total is not None:
        parts.append(f"sum {figures.total}")
    return ", ".join(parts)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:39]}…"


def _cell(value: str, markdown: bool) -> str:
    """Return a text in which Markdown means nothing."""
    return value.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;") if markdown else value
