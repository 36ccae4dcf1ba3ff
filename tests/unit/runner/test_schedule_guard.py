"""The repeated hour in the night in which clocks go back."""

from datetime import UTC, datetime

import pytest

from refresh_api.run_request import RefreshRef, RunRequest
from refresh_api.spec import RefreshSpec
from refresh_api.status import Reason
from refresh_runner.core.errors import RunFailedError
from refresh_runner.run.schedule_guard import check
from support.snapshots import sample_spec

FIRST, SECOND = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
"""Both are 02:30 in Paris."""


def run_request(schedule: str) -> RunRequest:
    spec = RefreshSpec.model_validate(sample_spec(schedule=schedule, timeZone="Europe/Paris"))
    return RunRequest(refresh=RefreshRef(name="phase2"), spec=spec)


def name(moment: datetime) -> str:
    return f"phase2-{int(moment.timestamp()) // 60}"


def test_the_second_run_gives_way():
    """It is skipped with its reason, and does not fail. Control: the first run."""
    check(run_request("30 2 * * *"), name(FIRST))
    with pytest.raises(RunFailedError, match="the second 02:30 of 2026-10-25") as caught:
        check(run_request("30 2 * * *"), name(SECOND))
    assert (caught.value.failure.reason, caught.value.failure.skips_run) == (Reason.CLOCK_CHANGE, True)


@pytest.mark.parametrize(("schedule", "run"), [("30 * * * *", name(SECOND)), ("30 2 * * *", "phase2-0123456789"), ("30 2 * * *", "laptop")])
def test_runs_of_every_hour_and_requested_ones_go_on(schedule, run):
    """Hourly runs start in both hours, and a requested run is never skipped for its time."""
    check(run_request(schedule), run)
