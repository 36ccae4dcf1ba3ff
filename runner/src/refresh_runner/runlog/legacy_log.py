"""Writes dbt_refresh_log: one row for each finished run, in the columns that existing queries read."""

from __future__ import annotations

from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection, ensure_tables
from refresh_runner.report.outcome import LogEntry
from refresh_runner.runlog.schema import LEGACY_LOG


def prepare(warehouse: WarehouseConnection) -> None:
    """Create or extend the table. Raise RunFailedError if that fails."""
    try:
        with warehouse.short_transaction() as connection:
            ensure_tables(connection, [LEGACY_LOG])
    except RefusedError as error:
        raise RunFailedError(_failure(error)) from error


def write(warehouse: WarehouseConnection, entry: LogEntry) -> None:
    """Insert or update the run's row. Raise RunFailedError if that fails.

    A later attempt overwrites the row of an interrupted one, but never that of a success.
    """
    try:
        with warehouse.short_transaction() as connection:
            ensure_tables(connection, [LEGACY_LOG])
            connection.execute(
                "insert into dbt_refresh_log (run_date, success, models_updated, notes, refresh, run_id)"
                " values (now(), %s, %s, %s, %s, %s) on conflict (run_id) do update set run_date = excluded.run_date,"
                " success = excluded.success, models_updated = excluded.models_updated, notes = excluded.notes"
                " where not dbt_refresh_log.success",
                (entry.success, entry.models_updated, entry.notes, entry.refresh, entry.run_id),
            )
    except RefusedError as error:
        raise RunFailedError(_failure(error)) from error


def _failure(error: RefusedError) -> Failure:
    return Failure(
        reason_of(error.sqlstate, Reason.RUNNER_ERROR),
        f"cannot write dbt_refresh_log: {error}",
        retryable=is_retryable(error.sqlstate),
        hint="the warehouse's user needs to create it in the first schema of its search path, or to insert into it",
    )
