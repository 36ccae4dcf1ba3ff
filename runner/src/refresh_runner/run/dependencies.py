"""Skips a scheduled run unless every refresh in `spec.dependsOn` has succeeded recently enough."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from refresh_api.model import time_text
from refresh_api.run_request import PARTIAL, RefreshRef, RunRequest
from refresh_api.scheduled_time import scheduled_time_of
from refresh_api.status import GOOD, Reason
from refresh_api.values import duration
from refresh_runner.core.errors import Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection

_LAST_SUCCESSES: Final = """
    select namespace, refresh, max(ended_at), now()
    from dbt_refresh_run join unnest(%(namespaces)s::text[], %(refreshes)s::text[]) as wanted(namespace, refresh) using (namespace, refresh)
    where outcome = any(%(good)s) and split_part(mode, '=', 1) <> all(%(partial)s)
    group by namespace, refresh"""
"""Both sides of the comparison are by the server's clock. The runs that count are those of `FinishedRun.loads`."""


def check(run_request: RunRequest, run: str, warehouse: WarehouseConnection) -> None:
    """Raise RunFailedError, as a skipped run, for the first dependency that has not succeeded within its time.

    Only for scheduled runs. Call it while holding the warehouse lock: then no dependency is running.
    """
    dependencies = run_request.spec.depends_on
    if not dependencies or scheduled_time_of(run) is None:
        return
    own = run_request.refresh.namespace
    wanted = [RefreshRef(namespace=each.namespace or own, name=each.name) for each in dependencies]
    successes = _last_successes(wanted, warehouse)
    for dependency, ref in zip(dependencies, wanted, strict=True):
        ended, now = successes.get(ref, (None, None))
        if ended is None or now is None or now - ended > duration(dependency.within):
            last = f"last succeeded at {time_text(ended)}" if ended else "has never succeeded"
            name = ref.name if ref.namespace == own else f"{ref.namespace}/{ref.name}"
            message = (
                f"{name} {last}; spec.dependsOn requires a success within {dependency.within}. Requested runs do not check dependencies"
            )
            raise RunFailedError(Failure(Reason.DEPENDENCY_STALE, message, skips_run=True))


def _last_successes(
    wanted: Sequence[RefreshRef], warehouse: WarehouseConnection
) -> dict[RefreshRef, tuple[datetime | None, datetime | None]]:
    """Return the end of each refresh's last successful run, and the server's time."""
    names = [ref.name for ref in wanted]
    known = {
        "namespaces": [ref.namespace for ref in wanted],
        "refreshes": names,
        "good": [each.value for each in GOOD],
        "partial": [each.value for each in PARTIAL],
    }
    try:
        with warehouse.short_transaction() as connection:
            rows = connection.execute(_LAST_SUCCESSES, known).fetchall()
    except RefusedError as error:
        message = f"cannot read when {', '.join(names)} last succeeded: {error}"
        raise RunFailedError(
            Failure(reason_of(error.sqlstate, Reason.RUNNER_ERROR), message, retryable=is_retryable(error.sqlstate))
        ) from error
    return {RefreshRef(namespace=namespace, name=name): (ended, now) for namespace, name, ended, now in rows}
