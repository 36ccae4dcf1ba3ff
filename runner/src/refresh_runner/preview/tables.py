"""A live table and the one that a preview has built in its place: their columns, and the SQL that compares their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
_ORDERED: Final = frozenset({"N", "D", "S", "T"})
"""Categories of types with a least and a greatest value that mean something to people: numbers, dates, texts, time spans."""
OLD: Final = "o"
"""Alias of the live table."""
NEW: Final = "n"
"""Alias of the table that was built."""


@dataclass(frozen=True)
class ColumnType:
    """A column as the catalog has it."""

    name: str
    type: str
    category: str
    is_comparable: bool

    @property
    def is_ordered(self) -> bool:
        """Whether its values have an order that means something to people."""
        return self.is_comparable and self.category in _ORDERED

    def value(self, table: str) -> sql.Composable:
        """Return the column of a table as an expression that can be compared: json, xml and points as text."""
        return sql.Identifier(table, self.name) if self.is_comparable else self.text(table)

    def text(self, table: str) -> sql.Composable:
        """Return the column of a table as text."""
        return sql.SQL("{}::text").format(sql.Identifier(table, self.name))


@dataclass(frozen=True)
class Sample:
    """A part of the rows: those of which a hash is a multiple of a number. All rows with the same values are in it, on both sides."""

    one_in: int
    by: tuple[str, ...]
    """The columns that are hashed."""


@dataclass(frozen=True)
class TablePair:
    """Both tables, and how their rows are matched."""

    live: Relation
    built: Relation
    old: Mapping[str, ColumnType]
    """Columns of the live table by name; empty if it does not exist."""
    new: Mapping[str, ColumnType]
    key: tuple[str, ...] = ()
    """Columns that are unique on both sides; empty if rows cannot be matched."""
    sample: Sample | None = None
    """Which rows are compared; None for all."""

    @classmethod
    def of(cls, connection: psycopg.Connection, live: Relation, built: Relation) -> TablePair:
        """Return the tables with their columns."""
        return cls(live, built, _columns(connection, live), _columns(connection, built))

    @property
    def common(self) -> list[str]:
        """The columns that both tables have."""
        return [name for name in self.old if name in self.new]

    @property
    def values(self) -> list[str]:
        """The columns that both tables have, without those of the key."""
        return [name for name in self.common if name not in self.key]

    def both(self, name: str) -> tuple[sql.Composable, sql.Composable]:
        """Return a column of the live and of the built table, as text if its type has changed."""
        old, new = self.old[name], self.new[name]
        return (old.value(OLD), new.value(NEW)) if old.type == new.type else (old.text(OLD), new.text(NEW))

    def rows(self, *, built: bool) -> sql.Composable:
        """Return a table, or the sample of its rows, with its alias, for a FROM clause."""
        relation, alias = (self.built, NEW) if built else (self.live, OLD)
        table = sql.SQL("{} {}").format(relation.sql, sql.Identifier(alias))
        if self.sample is None:
            return table
        values = sql.SQL(", ").join(self.both(name)[built] for name in self.sample.by)
        # Values that are equal have the same hash: 1.0 and 1.00. Hashed twice, since a join by one column uses the same hash,
        # and rows whose hashes have a common divisor would fill few of its buckets.
        condition = sql.SQL("(hashint8extended(hash_record(row({})), 0) & 9223372036854775807) % {} = 0")
        chosen = condition.format(values, sql.Literal(self.sample.one_in))
        return sql.SQL("(select * from {} where {}) {}").format(table, chosen, sql.Identifier(alias))

    @property
    def is_same_row(self) -> sql.Composable:
        """Whether a live and a built row have the same key."""
        return _all(sql.SQL("{} = {}").format(*self.both(name)) for name in self.key)

    @property
    def differing(self) -> list[sql.Composable]:
        """For each of `values`, whether a live and a built row have different ones."""
        return [sql.SQL("{} is distinct from {}").format(*self.both(name)) for name in self.values]

    @property
    def is_changed(self) -> sql.Composable:
        """Whether a live and a built row of the same key differ."""
        return sql.SQL("({})").format(sql.SQL(" or ").join(self.differing)) if self.values else sql.SQL("false")

    def only_in(self, *, built: bool) -> sql.Composable:
        """Return the query of the rows that only one of the tables has, with duplicates, by their common columns c0, c1 and so on."""
        pairs = [self.both(name) for name in self.common]
        sides = [
            sql.SQL("select {} from {}").format(
                sql.SQL(", ").join(sql.SQL("{} as {}").format(pair[side], sql.Identifier(f"c{n}")) for n, pair in enumerate(pairs)),
                self.rows(built=side),
            )
            for side in (False, True)
        ]
        return sql.SQL("{} except all {}").format(*(reversed(sides) if built else sides))


def _columns(connection: psycopg.Connection, relation: Relation) -> dict[str, ColumnType]:
    rows = connection.execute(_COLUMNS, [relation.schema, relation.table]).fetchall()
    return {str(name): ColumnType(str(name), str(type_), str(category), bool(equal)) for name, type_, category, equal in rows}


def _all(conditions: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL(" and ").join(conditions)
