"""Decisions of a run that depend on attached standbys."""

import pytest

from refresh_api.spec import Vacuum
from refresh_runner.postgres.replay_lag import lag_of
from refresh_runner.postgres.standbys import Standby, deferring_standbys

SAFE, BARE = Standby("safe", has_feedback=True, replay_lag_bytes=0), Standby("bare", has_feedback=False, replay_lag_bytes=3 * 2**20)


@pytest.mark.parametrize(
    ("standbys", "vacuum", "because"),
    [
        ([], Vacuum.AUTO, None),
        ([SAFE], Vacuum.AUTO, None),
        ([SAFE, BARE], Vacuum.AUTO, [BARE]),
        ([SAFE, BARE], Vacuum.IMMEDIATE, None),
        ([], Vacuum.DEFERRED, []),
        ([SAFE], Vacuum.DEFERRED, []),
        ([BARE], Vacuum.DEFERRED, [BARE]),
    ],
)
def test_a_vacuum_is_deferred_for_standbys_without_feedback_or_where_that_is_asked_for(
    standbys: list[Standby], vacuum: Vacuum, because: list[Standby] | None
):
    """A standby with feedback needs no deferral."""
    assert deferring_standbys(standbys, vacuum) == because


def test_a_lag_names_each_standby_that_is_behind_and_what_it_has_to_replay():
    """Standbys that have caught up are not named; without standbys there is no lag."""
    slow = Standby("slow", has_feedback=True, replay_lag_bytes=512)
    lag = lag_of([SAFE, BARE, slow], 61.0, "etl")
    assert (bool(lag), lag.text) == (True, "the standby bare has 3.0 MB to replay, the standby slow has 512 bytes to replay after 1m01s")
    assert (bool(lag_of([SAFE], 1, "etl")), lag_of([SAFE], 1, "etl").text) == (False, "")
    assert not lag_of([], 1, "etl")


def test_a_lag_that_is_not_shown_is_none_and_says_what_to_grant():
    """A run does not wait for a lag that it cannot see."""
    lag = lag_of([SAFE, Standby("hidden", has_feedback=True)], 5, 'e"tl')
    assert not lag
    assert lag.text == 'role e"tl cannot see how far the standby hidden has replayed: grant pg_read_all_stats to "e""tl"'
