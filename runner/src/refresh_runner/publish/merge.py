"""Publishes a mart by merging: makes the rows of the live table equal to those of the staged one.

Rows are compared as text, which every type has: JSON, XML and points have no equality operator, and equal numbers or dates can differ in
their text. Rows that are only in the live table are deleted, rows that are only in the staged one inserted. If foreign keys reference the
table, rows are matched by that key and updated instead, because a delete could cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from refresh_runner.postgres.catalog import TABLE, Column, KeyColumn, Relation, RelationInfo

# Equal rows are numbered. `only`: tables that inherit from it are not published.
_DIFFERING: Final[LiteralString] = """
    with mine as (select ctid as place, {whole} as whole, row_number() over (partition by {whole} collate "C") as nth
                  from only {this} __row),
         other as (select {whole} as whole, row_number() over (partition by {whole} collate "C") as nth
                   from only {that} __row)
    select place from mine
    where not exists (select from other where other.whole = mine.whole and other.nth = mine.nth)"""


class MergeMismatchError(Exception):
    """The live table stored other rows than those written to it, for example because of a trigger."""


def can_merge(live: RelationInfo, staged: RelationInfo, *, compare_foreign_keys: bool = True) -> bool:
    """Return whether the live table differs from the staged one in rows only, so that no swap is needed.

    The live table may have more properties than the staged one, such as generated columns that were added by hand, but not fewer.
    `compare_foreign_keys` is False for previous relations, which have no foreign keys.
    """
    if (live.kind, staged.kind) != (TABLE, TABLE):
        return False
    one, other = live.schema, staged.schema
    staged_columns = {column.name for column in other.columns}
    # Identity and generated columns may have been added by hand.
    shared = [column for column in one.columns if column.name in staged_columns or not column.has_generated_values]
    return (
        len(shared) == len(other.columns)
        and all(_fits(column, new) for column, new in zip(shared, other.columns, strict=True))
        and (one.constraints, one.indexes, one.storage) == (other.constraints, other.indexes, other.storage)
        and (one.foreign_keys == other.foreign_keys or not compare_foreign_keys)
        and staged.traits <= live.traits
    )


def _fits(column: Column, new: Column) -> bool:
    if column.identity_key != new.identity_key or new.storage not in ("", column.storage):
        return False
    if column.not_null != new.not_null and not (column.not_null and column.identity and not new.identity):
        return False
    if new.generated:
        return (column.generated, column.default) == (new.generated, new.default)
    return new.identity in ("", column.identity) and new.default in ("", column.default)


@dataclass(frozen=True)
class Merge:
    """The merge of one staged table into its live table."""

    target: Relation
    source: Relation
    live: RelationInfo
    staged: RelationInfo
    key: tuple[KeyColumn, ...] = ()
    """Columns that foreign keys reference; empty if there are none."""

    @property
    def _written(self) -> list[str]:
        computed = {column.name for column in self.live.schema.columns if column.generated}
        return [column.name for column in self.staged.schema.columns if column.name not in computed]

    @property
    def _compared(self) -> list[str]:
        """The staged columns that are not generated, even if the live column of the same name is."""
        return [column.name for column in self.staged.schema.columns if not column.generated]

    def _whole(self, row: str = "__row") -> sql.Composable:
        """Return the expression that casts a row to text."""
        if [column.name for column in self.live.schema.columns] == self._compared:
            return sql.SQL("{}::text").format(sql.Identifier(row))
        return sql.SQL("row({})::text").format(_list(self._compared, row))

    @property
    def _same_key(self) -> sql.Composable:
        # The operator with which the key itself compares: the search path may lack its schema, and `=` would compare citext as text.
        return sql.SQL(" and ").join(
            sql.SQL("__new.{0} {1} __old.{0}").format(sql.Identifier(column.name), _equals(column)) for column in self.key
        )

    @property
    def _insert(self) -> sql.Composed:
        override = sql.SQL("overriding system value " if any(column.identity for column in self.live.schema.columns) else "")
        return sql.SQL("insert into {} ({}) {}select {} from only {} __new").format(
            self.target.sql, _list(self._written), override, _list(self._written, "__new"), self.source.sql
        )

    def _differing(self, this: Relation, that: Relation) -> sql.Composed:
        return sql.SQL(_DIFFERING).format(this=this.sql, that=that.sql, whole=self._whole())

    def copy_to_previous(self, connection: psycopg.Connection, previous: Relation) -> None:
        """Copy the live table to its previous relation."""
        connection.execute(sql.SQL("create table {} (like {} including all)").format(previous.sql, self.target.sql))
        names = _list([column.name for column in self.live.schema.columns if not column.generated])
        copy = "insert into {} ({}) overriding system value select {} from only {}"
        connection.execute(sql.SQL(copy).format(previous.sql, names, names, self.target.sql))

    def insert_by_key(self, connection: psycopg.Connection) -> int:
        """Insert the rows whose key is new. Return their number."""
        there = sql.SQL(" where not exists (select from only {} __old where {})").format(self.target.sql, self._same_key)
        return connection.execute(self._insert + there).rowcount

    def update_by_key(self, connection: psycopg.Connection) -> int:
        """Update the rows whose key exists and whose values differ. Return their number."""
        fixed = {column.name for column in self.live.schema.columns if column.identity == "a"}
        names = [name for name in self._written if name not in fixed]
        statement = "update only {} __old set ({}) = row({}) from only {} __new where {} and {} <> {}"
        values = _list(names), _list(names, "__new")
        whole = self._whole("__old"), self._whole("__new")
        return connection.execute(sql.SQL(statement).format(self.target.sql, *values, self.source.sql, self._same_key, *whole)).rowcount

    def delete_by_key(self, connection: psycopg.Connection) -> int:
        """Delete the rows whose key no longer exists. Return their number."""
        statement = "delete from only {} __old where not exists (select from only {} __new where {})"
        return connection.execute(sql.SQL(statement).format(self.target.sql, self.source.sql, self._same_key)).rowcount

    def delete_rows(self, connection: psycopg.Connection) -> int:
        """Delete the rows that no longer exist. Return their number."""
        gone = self._differing(self.target, self.source)
        return connection.execute(sql.SQL("delete from only {} where ctid in ({})").format(self.target.sql, gone)).rowcount

    def insert_rows(self, connection: psycopg.Connection) -> int:
        """Insert the rows that are new. Return their number."""
        new = self._differing(self.source, self.target)
        return connection.execute(self._insert + sql.SQL(" where __new.ctid in ({})").format(new)).rowcount

    def verify(self, connection: psycopg.Connection) -> None:
        """Raise MergeMismatchError if the rows differ. Only check tables where triggers, rules or generated columns can cause this."""
        by_hand = self._compared != [name for name in self._written if name in self._compared]
        names = {column.name for column in self.key}
        fixed = self.key and any(column.identity == "a" and column.name not in names for column in self.live.schema.columns)
        if not (self.live.modifies_rows or by_hand or fixed):
            return
        for this, that in ((self.target, self.source), (self.source, self.target)):
            if connection.execute(sql.SQL("{} limit 1").format(self._differing(this, that))).fetchone() is not None:
                raise MergeMismatchError(f"its triggers, rules or generated columns changed the rows written to {self.target}")


def merge_all(connection: psycopg.Connection, merges: Sequence[Merge]) -> dict[Relation, int]:
    """Make each live table equal to its staged one. Return the number of rows deleted, updated or inserted, by table.

    `merges` are in the order of foreign keys, referenced tables first, so that no row ever references one that does not exist.
    """
    changed = dict.fromkeys((merge.target for merge in merges), 0)
    keyed = [merge for merge in merges if merge.key]
    for merge in keyed:
        changed[merge.target] += merge.insert_by_key(connection)
    for merge in keyed:
        changed[merge.target] += merge.update_by_key(connection)
    for merge in reversed(merges):
        changed[merge.target] += merge.delete_by_key(connection) if merge.key else merge.delete_rows(connection)
    for merge in merges:
        if not merge.key:
            changed[merge.target] += merge.insert_rows(connection)
    # Check deferred constraints now.
    connection.execute("set constraints all immediate")
    for merge in merges:
        merge.verify(connection)
    return changed


def _equals(column: KeyColumn) -> sql.Composable:
    return sql.SQL("operator({}.=)").format(sql.Identifier(column.operator_schema)) if column.operator_schema else sql.SQL("=")


def _list(names: Sequence[str], of: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(of, name) if of else sql.Identifier(name) for name in names)


def count_rows(connection: psycopg.Connection, relation: Relation) -> int:
    """Return the number of rows of a table, except those of tables that inherit from it."""
    row = connection.execute(sql.SQL("select count(*) from only {}").format(relation.sql)).fetchone()
    return int(row[0]) if row else 0
