"""Compares a table that was built for a preview with the live one, exactly and in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import Relation

_COLUMNS: Final = """
    select a.attname, format_type(a.atttypid, a.atttypmod), t.typcategory::text,
        t.typcategory in ('S', 'E') or exists (select from pg_operator o join pg_opclass c on c.opcintype = o.oprleft and c.opcdefault
            where o.oprname = '=' and o.oprleft = coalesce(nullif(t.typbasetype, 0), t.oid) and o.oprcanhash)
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    join pg_class r on r.oid = a.attrelid join pg_namespace n on n.oid = r.relnamespace
    where n.nspname = %s and r.relname = %s and a.attnum > 0 and not a.attisdropped order by a.attnum"""
"""Name, type, category of the type, and whether values can be compared, grouped and hashed."""
_NUMBER: Final = "N"
_ORDERED: Final = frozenset({"N", "D", "S", "T"})
"""Categories of types with a least and a greatest value that mean something to people: numbers, dates, texts, time spans."""


@dataclass(frozen=True)
class ColumnType:
    """A column as the catalog has it."""

    name: str
    type: str
    category: str
    is_comparable: bool

    def value(self, table: str) -> sql.Composable:
        """Return the column of a table as an expression that can be compared: json, xml and points as text."""
        column = sql.SQL("{}.{}").format(sql.Identifier(table), sql.Identifier(self.name))
        return column if self.is_comparable else sql.SQL("{}::text").format(column)


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

    relation: Relation
    rows_before: int | None
    """None for a table that does not exist yet."""
    rows_after: int
    added: int
    removed: int
    changed: int | None
    """Rows with the same key and other values; None where rows cannot be matched, and each is counted as removed and added."""
    key: tuple[str, ...]
    """The columns by which rows were matched; empty if there is no key, or one that is not unique on both sides."""
    columns: tuple[ColumnComparison, ...] = ()


def compare(connection: psycopg.Connection, live: Relation, built: Relation, key: Sequence[str]) -> TableComparison:
    """Compare a table with the live one: figures of each column by one scan a side, then the rows, matched by `key` if it is unique."""
    old, new = _columns(connection, live), _columns(connection, built)
    rows_after, is_unique_after, after = _figures(connection, built, new, key)
    if not old:
        columns = tuple(ColumnComparison(name, None, figures) for name, figures in after.items())
        return TableComparison(live, None, rows_after, rows_after, 0, None, (), columns)
    rows_before, is_unique_before, before = _figures(connection, live, old, key)
    common = [name for name in old if name in new]
    matched = tuple(key) if key and is_unique_before and is_unique_after else ()
    if matched:
        added, removed, changed, by_column = _matched(connection, live, built, old, new, matched, common)
    else:
        (added, removed), changed, by_column = _unmatched(connection, live, built, old, new, common), None, {}
    names = [*old, *(name for name in new if name not in old)]
    columns = tuple(ColumnComparison(name, before.get(name), after.get(name), by_column.get(name)) for name in names)
    return TableComparison(live, rows_before, rows_after, added, removed, changed, matched, columns)


def _columns(connection: psycopg.Connection, relation: Relation) -> dict[str, ColumnType]:
    rows = connection.execute(_COLUMNS, [relation.schema, relation.table]).fetchall()
    return {str(name): ColumnType(str(name), str(type_), str(category), bool(equal)) for name, type_, category, equal in rows}


def _figures(
    connection: psycopg.Connection, relation: Relation, columns: Mapping[str, ColumnType], key: Sequence[str]
) -> tuple[int, bool, dict[str, ColumnFigures]]:
    """Return the number of rows, whether the key is unique and never NULL, and the figures of each column."""
    has_key = bool(key) and all(name in columns and columns[name].is_comparable for name in key)
    keys = sql.SQL(", ").join(sql.Identifier(name) for name in key)
    none = sql.SQL(" or ").join(sql.SQL("{} is null").format(sql.Identifier(name)) for name in key)
    parts: list[sql.Composable] = [
        sql.SQL("count(*)"),
        sql.SQL("count(distinct ({})) = count(*) and count(*) filter (where {}) = 0").format(keys, none) if has_key else sql.SQL("false"),
    ]
    for column in columns.values():
        value = column.value("t")
        parts += [sql.SQL("count(*) filter (where {} is null)").format(value), sql.SQL("count(distinct {})").format(value)]
        is_ordered = column.is_comparable and column.category in _ORDERED
        parts += [sql.SQL("{}({})::text").format(sql.SQL(each), value) if is_ordered else sql.SQL("null") for each in ("min", "max")]
        parts.append(sql.SQL("sum({})::text").format(value) if column.category == _NUMBER and column.is_comparable else sql.SQL("null"))
    statement = sql.SQL("select {} from {} t").format(sql.SQL(", ").join(parts), relation.sql)
    row = connection.execute(statement).fetchone() or ()
    figures = {}
    for number, column in enumerate(columns.values()):
        nulls, distinct, least, greatest, total = row[2 + 5 * number : 7 + 5 * number]
        figures[column.name] = ColumnFigures(column.type, int(nulls), int(distinct), least, greatest, total, column.category)
    return int(row[0]), bool(row[1]), figures


def _matched(
    connection: psycopg.Connection,
    live: Relation,
    built: Relation,
    old: Mapping[str, ColumnType],
    new: Mapping[str, ColumnType],
    key: Sequence[str],
    common: Sequence[str],
) -> tuple[int, int, int, dict[str, int]]:
    """Return the rows that are added, removed and changed, and the changed values of each column, by one join."""
    values = [name for name in common if name not in key]
    differing = [sql.SQL("{} is distinct from {}").format(*_pair(old[name], new[name])) for name in values]
    on = sql.SQL(" and ").join(sql.SQL("{} = {}").format(*_pair(old[name], new[name])) for name in key)
    first = sql.Identifier(key[0])
    both = sql.SQL("o.{} is not null and n.{} is not null").format(first, first)
    parts = [
        sql.SQL("count(*) filter (where o.{} is null)").format(first),
        sql.SQL("count(*) filter (where n.{} is null)").format(first),
        sql.SQL("count(*) filter (where {} and ({}))").format(both, sql.SQL(" or ").join(differing) if differing else sql.SQL("false")),
        *(sql.SQL("count(*) filter (where {} and {})").format(both, each) for each in differing),
    ]
    statement = sql.SQL("select {} from {} o full join {} n on {}").format(sql.SQL(", ").join(parts), live.sql, built.sql, on)
    added, removed, changed, *by_column = (int(each) for each in connection.execute(statement).fetchone() or ())
    return added, removed, changed, dict(zip(values, by_column, strict=True))


def _pair(old: ColumnType, new: ColumnType) -> tuple[sql.Composable, sql.Composable]:
    """Return both sides of a comparison of one column, as text if its type has changed."""
    if old.type == new.type:
        return old.value("o"), new.value("n")
    return tuple(  # type: ignore[return-value]  # two items
        sql.SQL("{}.{}::text").format(sql.Identifier(table), sql.Identifier(old.name)) for table in ("o", "n")
    )


def _unmatched(
    connection: psycopg.Connection,
    live: Relation,
    built: Relation,
    old: Mapping[str, ColumnType],
    new: Mapping[str, ColumnType],
    common: Sequence[str],
) -> tuple[int, int]:
    """Return how many rows are only in the new and only in the old table, with duplicates counted."""
    pairs = [_pair(old[name], new[name]) for name in common]
    before, after = (sql.SQL(", ").join(pair[side] for pair in pairs) for side in (0, 1))
    only = sql.SQL("select count(*) from (select {} from {} {} except all select {} from {} {}) only_here")
    counts = []
    for parts in ((after, built.sql, "n", before, live.sql, "o"), (before, live.sql, "o", after, built.sql, "n")):
        named = [part if isinstance(part, sql.Composable) else sql.Identifier(part) for part in parts]
        counts.append(int((connection.execute(only.format(*named)).fetchone() or (0,))[0]))
    return counts[0], counts[1]
