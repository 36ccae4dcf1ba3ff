"""Skips a scheduled run if the refresh that it depends on has not succeeded recently enough."""

from datetime import datetime
from typing import Final

from refresh_api.model import time_text
from refresh_api.run_request import PARTIAL, RunRequest
from refresh_api.status import GOOD, Reason
from refresh_api.values import duration
from refresh_runner.core.errors import Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.model.scheduled_time import scheduled_time_of
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection

_LAST: Final = """
    select max(ended_at), max(ended_at) >= now() - %(within)s from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s
    and outcome = any(%(good)s) and split_part(mode, '=', 1) <> all(%(partial)s)"""
"""Both times come from the server's clock; runs count as in `FinishedRun.loads`."""


def check(run_request: RunRequest, run: str, warehouse: WarehouseConnection) -> None:
    """Raise RunFailedError, as a run that gives way, unless the refresh that this one stands on has succeeded within its time.

    The caller must hold the warehouse, so that the other refresh is not running.
    """
    after = run_request.spec.after
    if after is None or scheduled_time_of(run) is None:
        return
    known = {
        "namespace": run_request.refresh.namespace,
        "refresh": after.name,
        "within": duration(after.within),
        "good": [each.value for each in GOOD],
        "partial": [each.value for each in PARTIAL],
    }
    try:
        with warehouse.short_transaction() as connection:
            row = connection.execute(_LAST, known).fetchone()
    except RefusedError as error:
        message = f"cannot tell when {after.name} last succeeded: {error}"
        raise RunFailedError(
            Failure(reason_of(error.sqlstate, Reason.RUNNER_ERROR), message, retryable=is_retryable(error.sqlstate))
        ) from error
    ended, is_fresh = row or (None, None)
    if not is_fresh:
        last = f"last succeeded at {time_text(ended)}" if isinstance(ended, datetime) else "has never succeeded"
        message = f"{after.name} {last}, and spec.after asks for a success within {after.within}; a requested run does not ask"
        raise RunFailedError(Failure(Reason.DEPENDENCY_STALE, message, skips_run=True))
