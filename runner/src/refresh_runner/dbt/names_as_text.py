"""Names of staging schemas in string literals: `'{{ ref('mart') }}'` in a statement stands for the live relation, wherever it becomes data.

Plain dbt renders the live name there. With staging relations, dbt renders the staging name, which would be published with the row. A
literal that PostgreSQL itself interprets as a name (`to_regclass('…')`, `table_schema = '…'`) must keep the staging name. If a literal
could be either, as in an unknown function, the statement is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from refresh_runner.dbt.sql_text import LITERAL, QUOTED_NAME

_TOKEN: Final = re.compile(rf"(?P<comment>--[^\n]*|/\*.*?\*/) | (?P<text>{LITERAL}) | {QUOTED_NAME}", re.DOTALL | re.VERBOSE)
_TAKEN_FOR_NAME: Final = re.compile(
    r"\b(?:(?:to_reg\w+|pg_\w+|has_\w+|regclass|regtype|nextval|currval|setval)\s*\(?|execute(?:\s+format\s*\()?)\s*$", re.I
)
"""Matches before a literal: a function that takes the name of a relation or schema, the type regclass, or PL/pgSQL's `execute`."""
_CAST_TO_NAME: Final = re.compile(r"\s*::\s*reg\w+\b", re.I)
_CATALOG_COLUMN: Final = r"""(?ix)\b(?:(?:table|constraint|specific|routine|trigger|sequence|udt|event_object)_(?:schema|name|table)
    |schemaname|tablename|viewname|matviewname|indexname|nspname|relname|proname)\b "?\s*\)?\s*"""
_AFTER_CATALOG_COLUMN: Final = re.compile(
    _CATALOG_COLUMN + r"(?:::\s*\w+\s*)?(?:=|<>|!=|!?~~?\*?|\b(?:not\s+)?i?like\b|\b(?:not\s+)?in\s*\((?:[^()]*,)?)\s*(?:\w+\s*\(\s*)?$"
)
_READS_CATALOG: Final = re.compile(r"\binformation_schema\b|\bpg_\w+|\breg(?:class|type|namespace|proc\w*)\b|\bto_reg\w+", re.I)
_EXECUTES_TEXT: Final = re.compile(r"\b(?:\w+_to_xml\w*|dblink\w*|crosstab\w*|connectby|ts_stat|ts_rewrite|execute)\b", re.I)
_STORES: Final = re.compile(
    r"\s*(?:(?:insert|update|delete|merge|comment|alter|do|call|create(?!\s+schema))\b|with\b.*\b(?:insert|update|delete|merge)\b)",
    re.I | re.DOTALL,
)
_BLOCK: Final = re.compile(r"\s*do\b", re.I)
_ROUTINE: Final = re.compile(r"\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\b", re.I)

_NO_FUNCTION: Final = frozenset(
    "all and any array as between by case check default distinct else except exists filter from group having ilike in inner"
    " intersect into is join lateral like limit materialized not on or order over partition recursive returning row select set sets"
    " similar some then to union using values when where with within".split()
)
"""Keywords that may precede a bracket."""
_KEEPS_TEXT: Final = frozenset(
    "array_agg array_append array_prepend array_to_string bool_or bool_and btrim cast char character coalesce concat concat_ws count decode"
    " encode format greatest initcap json_agg json_build_array json_build_object jsonb_agg jsonb_build_array jsonb_build_object least left"
    " length lower lpad ltrim max md5 min nullif octet_length overlay position quote_ident quote_literal regexp_match regexp_replace repeat"
    " replace reverse right rpad rtrim sha256 split_part starts_with string_agg string_to_array strpos substr substring sum text to_json"
    " to_jsonb translate trim unnest upper varchar varying".split()
)
"""Functions of PostgreSQL for which a literal is always data."""


class AmbiguousNameError(ValueError):
    """A staging schema's name is used where it could be data or a name."""


def mentions(sql: str, names: Collection[str]) -> bool:
    """Return whether a statement contains one of the names anywhere."""
    return any(name in sql for name in names)


def stores_texts(sql: str) -> bool:
    """Return whether a statement changes rows or definitions, so that its literals can become data."""
    return bool(_STORES.match(_mask(sql)))


def with_live_names(sql: str, schemas: Mapping[str, str]) -> str:
    """Return the statement with the live schema in all literals that are data; `schemas` are the live ones, by staging schema.

    Raise AmbiguousNameError for a literal that could be data or a name, and for a staging schema's name that is part of another name.
    """
    if not mentions(sql, schemas):
        return sql
    code = _mask(sql)
    _refuse_parts_of_names(code, schemas)
    if _BLOCK.match(code):
        return _edited(sql, _texts(sql), lambda text: _block(text, schemas))
    if _ROUTINE.match(code) and any(mentions(text, schemas) for text in texts_of(sql)):
        raise AmbiguousNameError("contains a mart's name in the body of a routine")
    return _edited(sql, _data(sql, schemas), lambda text: _replaced(text, schemas))


def check_texts(sql: str, names: Collection[str]) -> None:
    """Raise AmbiguousNameError for a literal with one of the names that could be data or a name, and for a name inside another name."""
    for name in names:
        if found := re.search(rf"\w*(?<=\w){re.escape(name)}\w*|{re.escape(name)}\w+", _mask(sql)):
            raise AmbiguousNameError(f"forms the name {found[0]}")
    for _ in _data(sql, names):
        pass


def texts_of(sql: str) -> Iterator[str]:
    """Yield the string literals in a statement, with their quotes."""
    return (found[0] for found in _texts(sql))


def _edited(sql: str, found: Iterable[re.Match[str]], edit: Callable[[str], str]) -> str:
    parts, end = [], 0
    for each in found:
        parts += [sql[end : each.start()], edit(each[0])]
        end = each.end()
    return "".join([*parts, sql[end:]])


def _block(text: str, schemas: Mapping[str, str]) -> str:
    """Return the rewritten body of a DO statement, which is code, with its quotes."""
    if mentions(text, schemas) and not text.startswith("$"):
        raise AmbiguousNameError("contains a mart's name in a block that is not dollar-quoted")
    quote = text[: text.find("$", 1) + 1]
    return f"{quote}{with_live_names(text.removeprefix(quote).removesuffix(quote), schemas)}{quote}" if quote else text


def _data(sql: str, names: Collection[str]) -> Iterator[re.Match[str]]:
    """Yield the literals with one of the names that are data. Raise AmbiguousNameError for one that could be a name."""
    code = _mask(sql)
    for found in _texts(sql):
        if mentions(found[0], names) and not _is_name(code, found.start(), found.end()):
            _refuse_unknown_use(code, found.start(), found[0])
            yield found


def _texts(sql: str) -> Iterator[re.Match[str]]:
    return (found for found in _TOKEN.finditer(sql) if found["text"] is not None)


def _mask(sql: str) -> str:
    """Return the statement with blanks in place of comments and literals."""
    return _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else " " * len(found[0]), sql)


def _replaced(text: str, schemas: Mapping[str, str]) -> str:
    # The longest first: one schema's name can be a prefix of another's.
    for staging in sorted(schemas, key=len, reverse=True):
        text = text.replace(staging.replace("'", "''"), schemas[staging].replace("'", "''"))
    return text


def _is_name(code: str, start: int, end: int) -> bool:
    """Return whether PostgreSQL interprets the literal at this position as the name of a relation or schema."""
    before = code[:start]
    return bool(_TAKEN_FOR_NAME.search(before) or _AFTER_CATALOG_COLUMN.search(before) or _CAST_TO_NAME.match(code, end))


def _refuse_unknown_use(code: str, start: int, text: str) -> None:
    if found := [name for name in _enclosing(code[:start]) if name not in _KEEPS_TEXT]:
        raise AmbiguousNameError(f"passes the literal {text} to {found[0]}()")
    if found_code := _EXECUTES_TEXT.search(code) or _READS_CATALOG.search(code):
        raise AmbiguousNameError(f"uses the literal {text} with {found_code[0]}")


def _enclosing(before: str) -> Iterator[str]:
    """Yield the functions whose brackets enclose this position, from the inside out."""
    depth = 0
    for position in range(len(before) - 1, -1, -1):
        if before[position] == ")":
            depth += 1
        elif before[position] == "(" and depth:
            depth -= 1
        elif before[position] == "(":
            word = re.search(r'([\w$]+)"?\s*$', before[:position])
            if word and word[1].lower() not in _NO_FUNCTION and not _is_column_list_or_alias(before[: word.start()]):
                yield word[1].lower()


def _is_column_list_or_alias(before: str) -> bool:
    """Return whether the code ends with a table's name that takes a list of columns or an alias: `insert into t (…)`."""
    return bool(re.search(r'\binto\s+(?:[\w$"]+\s*\.\s*)*"?$', before, re.I))


def _refuse_parts_of_names(code: str, schemas: Mapping[str, str]) -> None:
    for staging in sorted(schemas, key=len, reverse=True):
        name = rf'"?{re.escape(staging)}"?'
        code = re.sub(rf'(?<![\w$"]){name}\s*\.|\bschema\s+{name}(?![\w$])', " ", code, flags=re.I)
    for staging in schemas:
        if staging in code:
            raise AmbiguousNameError(f"forms a name from {staging}")
