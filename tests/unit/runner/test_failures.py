"""Which errors of PostgreSQL are worth another try, and how long is waited for it."""

import pytest

from refresh_runner.failures import may_pass, pause


@pytest.mark.parametrize(
    "sqlstate",
    ["08000", "08001", "08006", "08P01", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53100", "53200", "53300"],
)
def test_what_can_be_gone_at_the_next_try_is_tried_again(sqlstate: str):
    """Connections, conflicts with others, time-outs, restarts, resources."""
    assert may_pass(sqlstate)


@pytest.mark.parametrize(
    "sqlstate", ["42703", "42601", "42P01", "42501", "22012", "23505", "28P01", "3D000", "53400", "57P04", "58030", "XX000", "", None]
)
def test_what_stays_is_not(sqlstate: str | None):
    """SQL, data, permissions, a dropped database, a configured limit, a broken server, and what nobody knows."""
    assert not may_pass(sqlstate)


def test_pauses_grow_up_to_a_bound_and_differ():
    """Whatever is overloaded gets time."""
    assert [pause(tries, 1.0) for tries in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert pause(2, 0.5) == 1
