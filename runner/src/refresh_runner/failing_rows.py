"""Some of the rows that failing tests found: asked for again, since marts that are not published are gone when somebody comes to look."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql
from pydantic import JsonValue

from refresh_api.status import clip
from refresh_runner.warehouse import bounded

Rows = list[dict[str, JsonValue]]
"""By column."""

_LONGEST: Final = 200
"""Characters of a value."""
_ASKED: Final = 1000
"""Characters of a value that are asked for: more, so that a secret at the cut is still known as one."""
_LARGEST: Final = 1024 * 1024
"""Characters of the file."""
_FOUND: Final = """
    select (
        select json_object_agg(key, case
            when json_typeof(value) in ('null', 'boolean') then value
            when json_typeof(value) = 'number' and value #>> '{{}}' ~ '^-?[0-9]{{1,15}}$' then value
            else to_json(left(value #>> '{{}}', {asked}))
        end)
        from json_each(row_to_json(refresh_found_row))
    )::text
    from (
{statement}
    ) as refresh_found_row
    limit {most}"""
"""Whole numbers that every reader of JSON takes as they are; all else as PostgreSQL writes it, which knows dates that Python does not."""


def found_by(connection: psycopg.Connection, statement: str, most: int, limit: timedelta) -> Rows:
    """Return the first rows that a test's statement selects; psycopg.Error where it can't be asked, or not within `limit`."""
    query = sql.SQL(_FOUND).format(asked=sql.Literal(_ASKED), statement=sql.SQL(statement), most=sql.Literal(most))
    with bounded(connection, limit):
        connection.execute("set local transaction_read_only = on")
        return [json.loads(text) for (text,) in connection.execute(query)]


def text_of(found: Mapping[str, Rows], redact: Callable[[str], str]) -> str | None:
    """Return the file: rows by the test's name, as many as it may hold; None where there are none."""
    kept: dict[str, Rows] = {}
    left = _LARGEST
    for name, rows in found.items():
        for row in rows:
            shown = {column: _shown(value, redact) for column, value in row.items()}
            left -= len(json.dumps(shown, ensure_ascii=False))
            if left < 0:
                break
            kept.setdefault(name, []).append(shown)
    return json.dumps(kept, ensure_ascii=False, indent=1) if kept else None


def _shown(value: JsonValue, redact: Callable[[str], str]) -> JsonValue:
    """Return a value without secrets: a number that holds one becomes a text, since the file has to stay JSON."""
    if isinstance(value, str):
        return clip(redact(value), _LONGEST)
    if isinstance(value, int) and not isinstance(value, bool) and redact(str(value)) != str(value):
        return redact(str(value))
    return value
