"""Which errors of PostgreSQL are retried, and after how long."""

import psycopg
import pytest

from refresh_api.status import Reason
from refresh_runner.core.backoff import STEP_RETRY
from refresh_runner.core.errors import is_retryable, reason_of
from refresh_runner.postgres.connection import RefusedError, failure_of


@pytest.mark.parametrize(
    "sqlstate",
    "08000 08001 08003 08004 08006 08007 08P01 25006 25P03 40001 40003 40P01 53000 53100 53200 53300 55P03 57014 57P01 57P02 57P03 57P05"
    " 72000".split(),
)
def test_what_can_be_gone_at_the_next_try_is_tried_again(sqlstate: str):
    """Connections, conflicts with others, timeouts, restarts, resources."""
    assert is_retryable(sqlstate)


@pytest.mark.parametrize(
    "sqlstate", ["42703", "42601", "42P01", "42501", "22012", "23505", "28P01", "3D000", "53400", "57P04", "58030", "XX000", "", None]
)
def test_what_stays_is_not(sqlstate: str | None):
    """SQL, data, permissions, a dropped database, a configured limit, a broken server, and unknown errors."""
    assert not is_retryable(sqlstate)


@pytest.mark.parametrize(
    ("sqlstate", "reason", "retryable"),
    [
        ("25006", Reason.WAREHOUSE_UNREACHABLE, True),
        ("08006", Reason.WAREHOUSE_UNREACHABLE, True),
        ("53300", Reason.WAREHOUSE_UNREACHABLE, True),
        ("57P01", Reason.WAREHOUSE_UNREACHABLE, True),
        ("57P02", Reason.WAREHOUSE_UNREACHABLE, True),
        ("57P03", Reason.WAREHOUSE_UNREACHABLE, True),
        ("57P04", Reason.WAREHOUSE_UNREACHABLE, False),
        ("58030", Reason.WAREHOUSE_UNREACHABLE, False),
        ("28P01", Reason.WAREHOUSE_UNREACHABLE, False),
        ("28000", Reason.WAREHOUSE_UNREACHABLE, False),
        ("3D000", Reason.WAREHOUSE_UNREACHABLE, False),
        ("42501", Reason.PRIVILEGE_MISSING, False),
        ("3F000", Reason.PRIVILEGE_MISSING, False),
        ("40P01", Reason.RUNNER_ERROR, True),
        ("42P01", Reason.RUNNER_ERROR, False),
        ("22P02", Reason.RUNNER_ERROR, False),
        ("XX000", Reason.RUNNER_ERROR, False),
    ],
)
def test_an_error_of_the_runners_own_statements_is_told_by_its_code(sqlstate: str, reason: Reason, retryable: bool):
    """Not as an internal error of the runner, which is not retried: the cause is the server."""
    error = psycopg.errors.lookup(sqlstate)("it said so\nDETAIL: more")
    found = failure_of(error)
    assert (found.reason, found.retryable, reason_of(sqlstate, Reason.RUNNER_ERROR)) == (reason, retryable, reason)
    assert found.message == f"it said so ({sqlstate})"


@pytest.mark.parametrize(
    "error", [psycopg.OperationalError("server closed the connection"), psycopg.InterfaceError("the connection is lost")]
)
def test_an_error_without_a_code_is_a_lost_connection(error: psycopg.Error):
    """It comes from the driver. Control: another error of the driver."""
    assert (failure_of(error).reason, failure_of(error).retryable) == (Reason.WAREHOUSE_UNREACHABLE, True)
    assert is_retryable(RefusedError(error).sqlstate)
    assert not failure_of(psycopg.ProgrammingError("can't adapt")).retryable


def test_delays_between_tries_double_up_to_a_maximum_and_are_jittered():
    """An overloaded server gets time to recover, and runs that failed together are not retried together."""
    assert [STEP_RETRY.delay(failures, 1.0) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert STEP_RETRY.delay(2, 0.5) == 1
    assert 1 <= STEP_RETRY.delay(2) <= 3
