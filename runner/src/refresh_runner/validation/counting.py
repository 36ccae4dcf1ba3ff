"""Counts a mart in one scan."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import psycopg
from psycopg import sql

from refresh_api.status import Reason
from refresh_runner.core.errors import TRANSIENT_HINT, Failure, RunFailedError, is_retryable
from refresh_runner.model.steps import MartCheck
from refresh_runner.postgres.connection import WarehouseConnection, connection_lost, first_line, transaction_with_timeout
from refresh_runner.validation.checks import MartCounts, NewestRecord

_TIMESTAMPTZ: Final = psycopg.postgres.types["timestamptz"].oid
# In SQL, because Python has no infinity, no year before 1 and none after 9999. Days are numbered as in `date.toordinal`.
_AS_DATE: Final = """
    select d::text, case when isfinite(d) then d - date '0001-01-01' + 1 end from (select cast(%s::text as date) as d) as found"""


def count(warehouse: WarehouseConnection, check: MartCheck, limit: timedelta) -> MartCounts:
    """Count a mart in one scan of at most `limit`. Raise RunFailedError for transient errors; the counts contain any other error."""
    connection = warehouse.connect()
    try:
        with transaction_with_timeout(connection, limit):
            return _count(connection, check)
    except psycopg.errors.UndefinedTable:
        return MartCounts(error="table does not exist")
    except psycopg.Error as error:
        if connection.closed:
            raise RunFailedError(connection_lost(error)) from error
        if is_retryable(error.sqlstate):
            message = f"cannot count {check.schema}.{check.table}: {first_line(error)}"
            raise RunFailedError(Failure(Reason.VALIDATION_FAILED, message, retryable=True, hint=TRANSIENT_HINT)) from error
        return MartCounts(error=first_line(error))


def _count(connection: psycopg.Connection, check: MartCheck) -> MartCounts:
    """Count a mart. Raise psycopg.Error if that fails. If only its newest record is unknown, the counts say why."""
    columns: list[sql.Composable] = [sql.SQL("count(*)")]
    if check.unique_key:
        columns.append(sql.SQL("count(*) - count(distinct row({}))").format(sql.SQL(", ").join(map(sql.Identifier, check.unique_key))))
    newest = _newest_column(connection, check, check.recency.column) if check.recency else None
    if isinstance(newest, sql.Composable):
        columns.append(newest)
    columns += [sql.SQL("count(*) filter (where {} is null)").format(sql.Identifier(key)) for key in check.key_columns]
    query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(columns), sql.Identifier(check.schema, check.table))
    rows, *found = list(connection.execute(query).fetchone() or (0,))
    duplicates = found.pop(0) if check.unique_key else None
    if isinstance(newest, sql.Composable):
        newest = _record(connection, found.pop(0), f"the newest {check.recency.column}" if check.recency else "")
    return MartCounts(rows, dict(zip(check.key_columns, found, strict=True)), duplicates, newest)


def _newest_column(connection: psycopg.Connection, check: MartCheck, name: str) -> sql.Composable | NewestRecord:
    """Return the SQL expression for the newest value as text, with timestamps as dates in the refresh's time zone, or why there is none."""
    column = sql.Identifier(name)
    none = sql.SQL("select max({0}) from (select {0} from {1} limit 0) as none").format(column, sql.Identifier(check.schema, check.table))
    try:
        with connection.transaction():
            described = connection.execute(none).description
        if not described or described[0].type_code != _TIMESTAMPTZ:
            return sql.SQL("max({})::text").format(column)
        with connection.transaction():
            connection.execute("select now() at time zone %s", [check.time_zone])
    except psycopg.errors.UndefinedFunction:
        return NewestRecord(problem=f"{name} has a type for which PostgreSQL has no max()")
    except psycopg.errors.InvalidParameterValue:
        return NewestRecord(problem=f"cannot compute the age of {name}: PostgreSQL does not know the time zone {check.time_zone}")
    return sql.SQL("(max({}) at time zone {})::text").format(column, check.time_zone)


def _record(connection: psycopg.Connection, text: str | None, what: str) -> NewestRecord | None:
    if text is None:
        return None
    try:
        with connection.transaction():
            row = connection.execute(_AS_DATE, [text]).fetchone()
    except psycopg.errors.DataError:
        return NewestRecord(problem=f"{what} is not a date")
    return NewestRecord(*row) if row else None
