"""Skips the second scheduled run in the night when clocks go back: Kubernetes starts a Job for both times."""

from refresh_api import cron
from refresh_api.run_request import RunRequest
from refresh_api.scheduled_time import scheduled_time_of
from refresh_api.status import Reason
from refresh_runner.core.errors import Failure, RunFailedError


def check(run_request: RunRequest, run: str) -> None:
    """Raise RunFailedError, which skips the run, if clocks already showed its scheduled time an hour ago."""
    slot = scheduled_time_of(run)
    if slot is None:
        return
    schedule = cron.parse(run_request.schedule, run_request.spec.time_zone)
    if schedule.is_repeat(slot) and run_request.mode == "refresh":
        wall = slot.astimezone(schedule.zone)
        message = f"clocks went back: the run of {wall:%H:%M} was an hour ago, this is the second {wall:%H:%M} of {wall:%Y-%m-%d}"
        raise RunFailedError(Failure(Reason.CLOCK_CHANGE, message, skips_run=True))
