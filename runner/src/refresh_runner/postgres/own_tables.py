"""The runner's own tables in the warehouse as values, and the statements that make or complete them where they are not there yet."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Table:
    """A table, in the first schema of the search path."""

    name: str
    columns: Mapping[str, str]
    """Name and definition; a column added in a later version needs a default or allows NULL."""
    key: tuple[str, ...] = ()
    """The primary key, where no column's definition says so."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Name, and what follows `on <table>`."""
    unique: bool = False
    """Whether the indexes are."""

    @property
    def required_parts(self) -> frozenset[tuple[str, str]]:
        """What must be there: the table's columns and indexes by name."""
        return frozenset((self.name, part) for part in (*self.columns, *self.indexes))


Parts = Collection[tuple[str, str]]
"""Columns and indexes, each with the name of its table."""

DDL_LOCK: Final = 0x6462746C
"""Advisory lock of the statements below: `if not exists` alone fails when two sessions create at once."""


def ddl_statements(table: Table, found: Parts) -> list[str]:
    """Return what has to be executed, where only `found` is there; each statement may run twice."""
    if not any(name == table.name for name, _ in found):
        columns = [f"{name} {definition}" for name, definition in table.columns.items()]
        columns += [f"primary key ({', '.join(table.key)})"] if table.key else []
        made = [f"create table if not exists {table.name} ({', '.join(columns)})"]
    else:
        made = [
            f"alter table {table.name} add column if not exists {name} {_addable(definition)}"
            for name, definition in table.columns.items()
            if (table.name, name) not in found
        ]
    return made + [
        f"create {'unique ' if table.unique else ''}index if not exists {name} on {table.name} {what}"
        for name, what in table.indexes.items()
        if (table.name, name) not in found
    ]


def _addable(definition: str) -> str:
    """Return a column's definition as rows that are there already can have it: without a value, unless there is a default."""
    return definition if " default " in definition else definition.replace(" not null", "")
