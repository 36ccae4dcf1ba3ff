"""Samples of failing rows. They are queried during the run, because marts that are not published are dropped."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql
from pydantic import JsonValue

from refresh_runner.core.errors import STATEMENT_CLASSES
from refresh_runner.core.secrets import Redactor
from refresh_runner.postgres.connection import first_line, transaction_with_timeout

Rows = list[dict[str, JsonValue]]
"""Values by column."""

_MAX_VALUE: Final = 200
"""Maximum number of characters of a value."""
MAX_LENGTH: Final = 1024 * 1024
"""Maximum number of characters of the file."""
_SAMPLE_SQL: Final = """
    select coalesce((
        select json_object_agg(key, case
            when json_typeof(value) in ('null', 'boolean') then value
            when json_typeof(value) = 'number' and value #>> '{{}}' ~ '^-?[0-9]{{1,15}}$' then value
            else to_json(left(value #>> '{{}}', {asked}))
        end)
        from json_each(row_to_json(refresh_found_row))
    )::text, '{{}}')
    from (
{statement}
    ) as refresh_found_row
    limit {most}"""
"""Integers of up to 15 digits, which every JSON parser keeps exact, stay numbers. Other values become PostgreSQL's text."""


@dataclass(frozen=True)
class SampleOptions:
    """How many rows of a test are sampled, and for how long."""

    max_rows: int
    """Rows."""
    limit: timedelta
    longest_secret: int
    """Number of characters that are read beyond the limit, so that a secret at the cut is still recognised."""


def sample(connection: psycopg.Connection, statement: str, ask: SampleOptions) -> Rows:
    """Return the first rows that a test's statement selects. Raise psycopg.Error if it fails or exceeds the limit."""
    values = {"asked": sql.Literal(_MAX_VALUE + ask.longest_secret), "statement": sql.SQL(statement), "most": sql.Literal(ask.max_rows)}
    with transaction_with_timeout(connection, ask.limit):
        connection.execute("set local transaction_read_only = on")
        found = connection.execute(sql.SQL(_SAMPLE_SQL).format(**values)).fetchall()
    return [json.loads(text, object_pairs_hook=_row) for (text,) in found]


def to_json(found: Mapping[str, Rows], redact: Redactor) -> str | None:
    """Return the redacted file as JSON: rows by the test's name, up to the maximum length; None if there are no rows."""
    samples: dict[str, Rows] = {}
    remaining = MAX_LENGTH
    for name, rows in found.items():
        for row in rows:
            shown = {redact(column): _shown(value, redact) for column, value in row.items()}
            remaining -= len(json.dumps(shown, ensure_ascii=False))
            if remaining < 0:
                break
            samples.setdefault(redact(name), []).append(shown)
    return json.dumps(samples, ensure_ascii=False, indent=1) if samples else None


def describe_error(error: psycopg.Error) -> str:
    """Return PostgreSQL's error for a log line.

    Its message is left out unless the error is about the statement, because it may quote a row.
    """
    about_statement = (error.sqlstate or "")[:2] in STATEMENT_CLASSES
    return first_line(error) if about_statement else f"{type(error).__name__} ({error.sqlstate})"


def _row(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """Return a row with all its columns: `select a.*, b.*` may return a name twice, so duplicates get a suffix."""
    row: dict[str, JsonValue] = {}
    for column, value in pairs:
        names = itertools.chain([column], (f"{column}_{number}" for number in itertools.count(2)))
        row[next(name for name in names if name not in row)] = value
    return row


def _shown(value: JsonValue, redact: Redactor) -> JsonValue:
    """Return a redacted value. One that is not text becomes text if it contains a secret, so that the file stays valid JSON."""
    written = value if isinstance(value, str) else json.dumps(value)
    shown = redact(written)
    if redact.longest and len(written) >= _MAX_VALUE + redact.longest:
        # The value was cut, perhaps inside a secret, which then cannot be recognised.
        shown = f"{shown[: max(len(shown) - redact.longest, 0)]}…"
    if isinstance(value, str) or shown != written:
        return redact.clipped(shown, _MAX_VALUE)
    return value
