"""The slot that a scheduled run came from: the autumn night has some of them twice, and Kubernetes' controller starts both."""

from datetime import UTC, datetime
from typing import Final

from refresh_api import cron
from refresh_api.order import Order
from refresh_api.status import Reason
from refresh_runner.failures import Failure, RunFailedError

_DIGITS: Final = 8
"""The CronJob controller ends a Job's name in the slot's minute since 1970, which has so many digits until 2160."""


def slot_of(run: str) -> datetime | None:
    """Return the slot that a run was scheduled for; None for one that somebody asked for."""
    minutes = run.rpartition("-")[2]
    return datetime.fromtimestamp(int(minutes) * 60, UTC) if minutes.isascii() and minutes.isdigit() and len(minutes) == _DIGITS else None


def check(order: Order, run: str) -> None:
    """Raise RunFailedError, as a run that gives way, where clocks showed this run's time an hour ago already."""
    slot = slot_of(run)
    if slot is None:
        return
    schedule = cron.parse(order.spec.schedule, order.spec.time_zone)
    if schedule.is_repeat(slot) and order.mode == "refresh":
        wall = slot.astimezone(schedule.zone)
        message = f"clocks went back: the run of {wall:%H:%M} was an hour ago, this is the second {wall:%H:%M} of {wall:%Y-%m-%d}"
        raise RunFailedError(Failure(Reason.SLOT_REPEATED, message, gives_way=True))
