"""Compares a table that was built for a preview with the live one, in SQL: exactly, or by a sample of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import psycopg
from psycopg import sql

from refresh_runner.preview.tables import NEW, OLD, Sample, TablePair

_NUMBER: Final = "N"
"""Category of the types of numbers."""


@dataclass(frozen=True)
class ColumnFigures:
    """What one column of one table holds."""

    type: str
    nulls: int
    distinct: int
    least: str | None = None
    greatest: str | None = None
    total: str | None = None
    """Sum of the values of a numeric column."""
    category: str = ""
    """Category of the type, as PostgreSQL has it."""


@dataclass(frozen=True)
class ColumnComparison:
    """One column before and after."""

    name: str
    before: ColumnFigures | None
    """None for a column that the change adds."""
    after: ColumnFigures | None
    """None for a column that the change drops."""
    changed: int | None = None
    """Rows with the same key and another value in it; None where rows cannot be matched."""

    @property
    def differs(self) -> bool:
        """Whether anything about it is different."""
        return self.before != self.after or bool(self.changed)


@dataclass(frozen=True)
class TableComparison:
    """A table before and after."""

    pair: TablePair
    """The tables, and how their rows were matched: by a key if it is unique on both sides."""
    rows_before: int | None
    """None for a table that does not exist yet."""
    rows_after: int
    added: int
    removed: int
    changed: int | None
    """Rows with the same key and other values; None where rows cannot be matched, and each is counted as removed and added."""
    columns: tuple[ColumnComparison, ...] = ()
    compared: tuple[int, int] | None = None
    """Rows of both sides in the sample, to which all figures but the numbers of rows belong; None if all were compared."""


def compare(connection: psycopg.Connection, pair: TablePair, key: Sequence[str], sample_rows: int | None = None) -> TableComparison:
    """Compare a table with the live one: figures of each column by one scan a side, then the rows, matched by `key` if it is unique.

    With more than `sample_rows` rows on a side, a sample of about as many is compared.
    """
    if not pair.old:
        rows_after, _, after = _figures(connection, pair, (), built=True)
        columns = tuple(ColumnComparison(name, None, figures) for name, figures in after.items())
        return TableComparison(pair, None, rows_after, rows_after, 0, None, columns)
    counted = _counted(connection, pair, key) if sample_rows else None
    if counted and sample_rows:
        key = () if counted.has_nulls else key
        pair = _sampled(pair, key, counted, sample_rows)
    rows_after, is_unique_after, after = _figures(connection, pair, key, built=True)
    rows_before, is_unique_before, before = _figures(connection, pair, key, built=False)
    if pair.sample and not rows_before and not rows_after:
        # few different rows, of which none is in the sample
        return compare(connection, replace(pair, sample=None), key)
    if key and is_unique_before and is_unique_after:
        pair = replace(pair, key=tuple(key))
        added, removed, changed, by_column = _matched(connection, pair)
    else:
        (added, removed), changed, by_column = _unmatched(connection, pair), None, {}
    names = [*pair.old, *(name for name in pair.new if name not in pair.old)]
    columns = tuple(ColumnComparison(name, before.get(name), after.get(name), by_column.get(name)) for name in names)
    found = TableComparison(pair, rows_before, rows_after, added, removed, changed, columns)
    if pair.sample is None or counted is None:
        return found
    return replace(found, rows_before=counted.before, rows_after=counted.after, compared=(rows_before, rows_after))


@dataclass(frozen=True)
class _Counted:
    """What is counted of whole tables, to choose a sample."""

    before: int
    after: int
    has_nulls: bool
    """Whether the key has a NULL on one side. A sample might have none of these rows."""


def _counted(connection: psycopg.Connection, pair: TablePair, key: Sequence[str]) -> _Counted:
    counts = []
    for built, columns in ((False, pair.old), (True, pair.new)):
        is_none = _is_none(key) if key and all(name in columns for name in key) else sql.SQL("false")
        statement = sql.SQL("select count(*), count(*) filter (where {}) from {}").format(is_none, pair.rows(built=built))
        counts.append(connection.execute(statement).fetchone() or (0, 0))
    (before, none_before), (after, none_after) = counts
    return _Counted(int(before), int(after), bool(none_before or none_after))


def _sampled(pair: TablePair, key: Sequence[str], counted: _Counted, sample_rows: int) -> TablePair:
    """Return the tables with a sample by the key, or by whole rows without one; as they are if they are small."""
    by = tuple(key) if key and all(name in pair.common for name in key) else tuple(pair.common)
    one_in = -(-max(counted.before, counted.after) // sample_rows)
    return replace(pair, sample=Sample(one_in, by)) if one_in > 1 and by else pair


def _is_none(key: Sequence[str]) -> sql.Composable:
    return sql.SQL(" or ").join(sql.SQL("{} is null").format(sql.Identifier(name)) for name in key)


def _figures(
    connection: psycopg.Connection, pair: TablePair, key: Sequence[str], *, built: bool
) -> tuple[int, bool, dict[str, ColumnFigures]]:
    """Return the number of rows, whether the key is unique and never NULL, and the figures of each column."""
    columns, alias = (pair.new, NEW) if built else (pair.old, OLD)
    has_key = bool(key) and all(name in columns and columns[name].is_comparable for name in key)
    keys = sql.SQL(", ").join(sql.Identifier(name) for name in key)
    parts: list[sql.Composable] = [
        sql.SQL("count(*)"),
        sql.SQL("count(distinct ({})) = count(*) and count(*) filter (where {}) = 0").format(keys, _is_none(key))
        if has_key
        else sql.SQL("false"),
    ]
    for column in columns.values():
        value = column.value(alias)
        parts += [sql.SQL("count(*) filter (where {} is null)").format(value), sql.SQL("count(distinct {})").format(value)]
        parts += [sql.SQL("{}({})::text").format(sql.SQL(each), value) if column.is_ordered else sql.SQL("null") for each in ("min", "max")]
        parts.append(sql.SQL("sum({})::text").format(value) if column.category == _NUMBER and column.is_comparable else sql.SQL("null"))
    statement = sql.SQL("select {} from {}").format(sql.SQL(", ").join(parts), pair.rows(built=built))
    row = connection.execute(statement).fetchone() or ()
    figures = {}
    for number, column in enumerate(columns.values()):
        nulls, distinct, least, greatest, total = row[2 + 5 * number : 7 + 5 * number]
        figures[column.name] = ColumnFigures(column.type, int(nulls), int(distinct), least, greatest, total, column.category)
    return int(row[0]), bool(row[1]), figures


def _matched(connection: psycopg.Connection, pair: TablePair) -> tuple[int, int, int, dict[str, int]]:
    """Return the rows that are added, removed and changed, and the changed values of each column, by one join."""
    is_added, is_removed = (sql.SQL("{} is null").format(sql.Identifier(table, pair.key[0])) for table in (OLD, NEW))
    both = sql.SQL("not {} and not {}").format(is_added, is_removed)
    counted = [is_added, is_removed, *(sql.SQL("{} and {}").format(both, each) for each in (pair.is_changed, *pair.differing))]
    parts = sql.SQL(", ").join(sql.SQL("count(*) filter (where {})").format(each) for each in counted)
    statement = sql.SQL("select {} from {} full join {} on {}").format(
        parts, pair.rows(built=False), pair.rows(built=True), pair.is_same_row
    )
    added, removed, changed, *by_column = (int(each) for each in connection.execute(statement).fetchone() or ())
    return added, removed, changed, dict(zip(pair.values, by_column, strict=True))


def _unmatched(connection: psycopg.Connection, pair: TablePair) -> tuple[int, int]:
    """Return how many rows are only in the new and only in the old table, with duplicates counted."""
    count = sql.SQL("select count(*) from ({}) only_here")
    added, removed = (connection.execute(count.format(pair.only_in(built=built))).fetchone() or (0,) for built in (True, False))
    return int(added[0]), int(removed[0])
