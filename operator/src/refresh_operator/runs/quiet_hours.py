"""What a channel is notified of when its quiet hours end: the problems that began in them and are not over; pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.quiet_hours import QuietPeriod, last_quiet, quiet_now
from refresh_api.reasons import FreshReason
from refresh_api.spec import RefreshSpec
from refresh_api.status import OperatorStatus
from refresh_operator.runs.missed_runs import MissedRun
from refresh_operator.runs.notices import Notice

_MARGIN: Final = timedelta(minutes=10)
"""How long before quiet hours something may have happened without being notified yet: missed runs, and failures that wait for others."""


def with_quiet_hours(spec: RefreshSpec) -> list[Notification]:
    """Return the channels of a refresh that have quiet hours."""
    return [each for each in spec.notifications if each.quiet_hours]


def periods_over(spec: RefreshSpec, handled_until: datetime, now: datetime) -> list[tuple[Notification, QuietPeriod]]:
    """Return the channels whose quiet hours have ended since `handled_until`, each with its last ones."""
    found = [(each, last_quiet(each.quiet_hours, spec.time_zone, now)) for each in with_quiet_hours(spec)]
    return [(each, period) for each, period in found if period and period.end > handled_until]


def next_end(spec: RefreshSpec, now: datetime) -> datetime | None:
    """Return when the first of the quiet hours that there are now ends; None if there are none now."""
    found = (quiet_now(each.quiet_hours, spec.time_zone, now) for each in with_quiet_hours(spec))
    return min((period.end for period in found if period), default=None)


def held_back(status: OperatorStatus, notification: Notification, period: QuietPeriod) -> Iterator[Notice]:
    """Yield what a channel was not notified of in its quiet hours and still holds."""
    first = period.start - _MARGIN
    return (notice for moment, notice in _problems(status, period) if first <= moment <= period.end and notification.wants(notice.when))


def _problems(status: OperatorStatus, period: QuietPeriod) -> Iterator[tuple[datetime, Notice]]:
    """Yield the problems that there are, and the last recovery, each with its time."""
    failure, recovery, fresh = status.last_failure, status.last_recovery, status.condition("DataFresh")
    if failure and status.failing_since:
        yield failure.completion_time, Notice(failure, NotifyWhen.FAILED)
    # nobody was notified of a failure that began in quiet hours
    if recovery and not status.failing_since and recovery.failing_since < period.start:
        yield recovery.run.completion_time, Notice(recovery.run, NotifyWhen.RECOVERED, recovery.failing_since)
    if fresh and fresh.reason == FreshReason.STALE:
        yield fresh.last_transition_time, Notice(fresh, NotifyWhen.STALE)
    if status.missed_since and status.last_missed_reason:
        yield status.missed_since, Notice(MissedRun(status.missed_since, status.last_missed_reason), NotifyWhen.MISSED)
