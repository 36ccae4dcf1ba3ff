"""The rows that differ. Only the terminal of whoever has asked for them shows them: a report has no field for rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from refresh_api.model import Model
from refresh_runner.core.secrets import Redactor
from refresh_runner.preview.tables import NEW, OLD, ColumnType, TablePair

MAX_ROWS: Final = 1000
"""Rows of each kind of a mart that can be asked for."""
_VALUE_LENGTH: Final = 60
"""Characters of a value that a terminal shows."""
_NULL: Final = "NULL"
_PLAIN: Final = re.compile(r"[^\s,=\"]+")

Row = dict[str, str | None]
"""Values by column, as PostgreSQL writes them; None for NULL."""


class ChangedRow(Model):
    """A row with the same key and other values."""

    key: Row
    before: Row
    """The values that differ."""
    after: Row


class MartRows(Model):
    """Rows of a mart that differ, in the order of the key."""

    relation: str
    added: list[Row]
    removed: list[Row]
    changed: list[ChangedRow]


@dataclass(frozen=True)
class RowReader:
    """Reads the rows in which two tables differ, at most `limit` of each kind."""

    connection: psycopg.Connection
    pair: TablePair
    limit: int

    def read(self) -> MartRows:
        """Return the rows."""
        return MartRows(
            relation=str(self.pair.live), added=self._only_in(built=True), removed=self._only_in(built=False), changed=self._changed()
        )

    def _only_in(self, *, built: bool) -> list[Row]:
        """Return rows that only one of the tables has: with all their columns if rows are matched, else with the common ones."""
        pair = self.pair
        columns, alias = (pair.new, NEW) if built else (pair.old, OLD)
        if not columns:
            return []
        if pair.old and not pair.key:
            values: list[sql.Composable] = [
                sql.SQL("{}::text").format(sql.Identifier("r", f"c{number}")) for number in range(len(pair.common))
            ]
            source: sql.Composable = sql.SQL("({}) r order by 1").format(pair.only_in(built=built))
            return [dict(zip(pair.common, row, strict=True)) for (row,) in self._select([_array(values)], source)]
        source = pair.rows(built=built)
        if pair.old:
            lacks = sql.SQL("{} where not exists (select from {} where {}) order by {}")
            source = lacks.format(source, pair.rows(built=not built), pair.is_same_row, self._order(columns, alias))
        values = [column.text(alias) for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for (row,) in self._select([_array(values)], source)]

    def _changed(self) -> list[ChangedRow]:
        pair = self.pair
        if not pair.key or not pair.values:
            return []
        both = sql.SQL("{} join {} on {} where {} order by {}").format(
            pair.rows(built=False), pair.rows(built=True), pair.is_same_row, pair.is_changed, self._order(pair.new, NEW)
        )
        keys = _array([pair.new[name].text(NEW) for name in pair.key])
        before = _array([pair.old[name].text(OLD) for name in pair.values])
        after = _array([pair.new[name].text(NEW) for name in pair.values])
        return [
            ChangedRow(
                key=dict(zip(pair.key, key, strict=True)),
                before={name: value for name, value, differs in zip(pair.values, old, which, strict=True) if differs},
                after={name: value for name, value, differs in zip(pair.values, new, which, strict=True) if differs},
            )
            for key, old, new, which in self._select([keys, before, after, _array(pair.differing, "boolean")], both)
        ]

    def _order(self, columns: Mapping[str, ColumnType], alias: str) -> sql.Composable:
        """Return the key of a table to order by."""
        key = [columns[name] for name in self.pair.key]
        return sql.SQL(", ").join(column.value(alias) if column.is_ordered else column.text(alias) for column in key)

    def _select(self, values: Sequence[sql.Composable], source: sql.Composable) -> list[tuple[list[Any], ...]]:
        statement = sql.SQL("select {} from {} limit {}").format(sql.SQL(", ").join(values), source, sql.Literal(self.limit))
        return self.connection.execute(statement).fetchall()


def _array(values: Sequence[sql.Composable], of: LiteralString = "text") -> sql.Composable:
    return sql.SQL("array[{}]::{}[]").format(sql.SQL(", ").join(values), sql.SQL(of))


def rows_text(rows: Sequence[MartRows], limit: int, redact: Redactor) -> Iterator[str]:
    """Yield the rows for a terminal."""

    def shown(value: str | None) -> str:
        """Return a value on one line, in quotes if it could be mistaken for NULL or for several values."""
        if value is None:
            return _NULL
        text = redact.clipped(" ".join(value.split()), _VALUE_LENGTH)
        return text if _PLAIN.fullmatch(text) and text != _NULL else json.dumps(text, ensure_ascii=False)

    def values(row: Row) -> str:
        return ", ".join(f"{name}={shown(value)}" for name, value in row.items())

    for mart in rows:
        if not (mart.added or mart.removed or mart.changed):
            continue
        yield ""
        yield f"rows of {mart.relation} (at most {limit} of each kind):"
        yield from (f"  added    {values(row)}" for row in mart.added)
        yield from (f"  removed  {values(row)}" for row in mart.removed)
        for row in mart.changed:
            changes = (f"{name}: {shown(old)} → {shown(row.after[name])}" for name, old in row.before.items())
            yield f"  changed  {values(row.key)}  {', '.join(changes)}"
