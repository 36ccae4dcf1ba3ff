"""The age of heartbeats, measured by the operator's clock."""

from datetime import timedelta

from refresh_operator.runs.heartbeats import Heartbeats
from support.snapshots import NOW, build_refresh, build_run_status, minutes_from_now

MINUTE = timedelta(minutes=1)


def test_the_age_of_a_heartbeat_grows_until_the_next_one():
    """Only the operator's clock counts: the runner's is a day behind here."""
    heartbeats = Heartbeats()
    old, new = (build_refresh(run=build_run_status("r1", heartbeatTime=minutes_from_now(minutes - 24 * 60))) for minutes in (0, 1))
    seen = [heartbeats.age(old, NOW), heartbeats.age(old, NOW + 2 * MINUTE), heartbeats.age(new, NOW + 3 * MINUTE)]
    assert seen == [timedelta(0), 2 * MINUTE, timedelta(0)]


def test_an_outage_of_the_api_server_resets_the_heartbeat_age():
    """Runners could not report heartbeats during it, and must not be deleted."""
    heartbeats = Heartbeats()
    heartbeats.age(build_refresh(run=build_run_status("r1")), NOW)
    heartbeats.forget()
    assert heartbeats.age(build_refresh(run=build_run_status("r1")), NOW + 10 * MINUTE) == timedelta(0)
