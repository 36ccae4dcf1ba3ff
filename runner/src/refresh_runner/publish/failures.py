"""The failure of a run, with a remedy, for each kind of error while publishing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import psycopg

from refresh_api.status import Reason
from refresh_runner.core.errors import INSUFFICIENT_PRIVILEGE, QUERY_CANCELED, Failure, is_retryable
from refresh_runner.postgres.blocking import find_blocker
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import first_line
from refresh_runner.publish.options import NotPublishableError

_HINTS: Final = {
    INSUFFICIENT_PRIVILEGE: "check that the warehouse's user owns the marts and may create schemas",
    QUERY_CANCELED: "raise spec.timeout, or check what publishing waits for",
    "23": "the rows violate a constraint of the live mart, or one that references it: check what was added to it by hand",
    "2BP01": "another object depends on the table that is to be replaced: change or drop that object",
    "55": "an object that was added to the mart by hand prevents the write: check what depends on it",
}
"""Hints by the prefix of the SQLSTATE."""
_HINT: Final = "check what was added to the mart by hand (triggers, rules, constraints, publications): `\\d+` in psql shows it"


def publish_failure(error: NotPublishableError | psycopg.Error, connection: psycopg.Connection, relations: Iterable[Relation]) -> Failure:
    """Return the failure for an error while publishing the marts `relations` on a connection."""
    if isinstance(error, NotPublishableError):
        return Failure(Reason.PUBLISH_FAILED, str(error))
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return _lock_timeout(connection, list(relations))
    if connection.closed:
        message = "lost the connection that holds the warehouse lock while publishing"
        return Failure(Reason.LOCK_LOST, message, retryable=True)
    hint = next((hint for state, hint in _HINTS.items() if (error.sqlstate or "").startswith(state)), _HINT)
    return Failure(Reason.PUBLISH_FAILED, f"cannot publish the marts: {first_line(error)}", is_retryable(error.sqlstate), hint)


def _lock_timeout(connection: psycopg.Connection, relations: list[Relation]) -> Failure:
    message = "timed out waiting for an ACCESS EXCLUSIVE lock on the live marts"
    hint = "a reader keeps a transaction open: select * from pg_stat_activity where state like 'idle in transaction%'"
    with suppress(psycopg.Error):
        if blocker := find_blocker(connection, relations):
            message = f"{message}: {blocker}"
            hint = "if that session does not end by itself, terminate it: select pg_terminate_backend(pid)"
    return Failure(Reason.PUBLISH_FAILED, message, retryable=True, hint=hint)
