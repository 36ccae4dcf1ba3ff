"""Finds the tables named in SQL by searching for their names: a template cannot be parsed as SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from refresh_runner.postgres.catalog import Relation

_TAKES_NAMES: Final = r"(?:to_reg\w+|pg_\w+|has_\w+|regclass)\s*\(?\s*"
"""Functions and a type that take a relation's name as a string literal."""
_NO_CODE: Final = re.compile(
    r"""
    --[^\n]*  |  /\*.*?\*/  |  \{\#.*?\#\}
    |  \$dbt_comment_literal_block\$ .*? \$dbt_comment_literal_block\$
    |  (?P<before>\b"""
    + _TAKES_NAMES
    + r""")? '(?P<text>(?:[^']|'')*)' (?P<after>\s*::\s*regclass\b)?
    |  "(?:[^"]|"")*"
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
_SCHEMA_ALONE: Final = r"\bschema\s+(?P<schema>\"?{schema}\"?)(?![\w$.\"])"


def named(sql: str, relations: Iterable[Relation]) -> list[Relation]:
    """Return the relations that the SQL names with their schema. Comments and literals do not count, except literals used as names."""
    code = code_of(sql)
    return [relation for relation in relations if re.search(_qualified(re.escape(relation.schema), re.escape(relation.table)), code, re.I)]


def names_in(sql: str, schema: str) -> set[str]:
    """Return the names, in lower case, that follow this schema's in the SQL."""
    pattern = rf'(?<![\w$"])"?{re.escape(schema)}"?\s*\.\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>[\w$]+))'
    return {(found["quoted"] or found["plain"]).lower() for found in re.finditer(pattern, code_of(sql), re.I)}


def other_schema(sql: str, schema: str, other: str) -> str | None:
    """Return a statement about a whole schema (`on schema`, `in schema`) rewritten for another schema; None if it is no such statement."""
    pattern = re.compile(_SCHEMA_ALONE.format(schema=re.escape(schema)), re.I)
    return pattern.sub(lambda _found: 'schema "{}"'.format(other.replace('"', '""')), sql) if pattern.search(code_of(sql)) else None


def code_of(sql: str) -> str:
    """Return SQL without comments and string literals, except literals that are used as names."""

    def kept(found: re.Match[str]) -> str:
        if found[0].startswith('"'):
            return found[0]
        text: str | None = found["text"]
        return f" {text} " if text is not None and (found["before"] or found["after"]) else " "

    return _NO_CODE.sub(kept, sql)


def _qualified(schema: str, table: str) -> str:
    return rf'(?<![\w$"])"?{schema}"?\s*\.\s*"?{table}"?(?![\w$"])'
