"""Definitions of the runner's own tables in the warehouse, and the DDL that creates or extends them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Table:
    """A table in the first schema of the search path."""

    name: str
    columns: Mapping[str, str]
    """Column definitions by name. A column that a later version adds must have a default or allow NULL."""
    key: tuple[str, ...] = ()
    """The primary key, unless a column's definition declares it."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """The text after `on <table>` of each index, by name."""
    unique: bool = False
    """Whether the indexes are unique."""

    @property
    def required_parts(self) -> frozenset[tuple[str, str]]:
        """The table's columns and indexes, by name."""
        return frozenset((self.name, part) for part in (*self.columns, *self.indexes))


Parts = Collection[tuple[str, str]]
"""Columns and indexes, each with the name of its table."""

DDL_LOCK: Final = 0x6462746C
"""Advisory lock around the DDL: `if not exists` alone fails if two sessions create the same object at once."""


def ddl_statements(table: Table, found: Parts) -> list[str]:
    """Return the idempotent DDL that adds what is missing from `found`."""
    if not any(name == table.name for name, _ in found):
        columns = [f"{name} {definition}" for name, definition in table.columns.items()]
        columns += [f"primary key ({', '.join(table.key)})"] if table.key else []
        statements = [f"create table if not exists {table.name} ({', '.join(columns)})"]
    else:
        statements = [
            f"alter table {table.name} add column if not exists {name} {_addable(definition)}"
            for name, definition in table.columns.items()
            if (table.name, name) not in found
        ]
    return statements + [
        f"create {'unique ' if table.unique else ''}index if not exists {name} on {table.name} {what}"
        for name, what in table.indexes.items()
        if (table.name, name) not in found
    ]


def _addable(definition: str) -> str:
    """Return a column's definition for `add column`: nullable unless it has a default, because rows may exist."""
    return definition if " default " in definition else definition.replace(" not null", "")
