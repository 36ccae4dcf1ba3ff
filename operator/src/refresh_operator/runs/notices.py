"""Of which ended runs, stale data and missed runs the operator notifies people; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from refresh_api.notifications import NotifyWhen
from refresh_api.status import Condition, FinishedRun, Outcome, Reason
from refresh_operator.runs.missed_runs import MissedRun, StartedRun
from refresh_operator.runs.runs import EndedRun

_WITHIN: Final = timedelta(days=1)
"""No notifications are sent for runs that ended longer ago than this."""
_WHEN: Final = {Outcome.FAILED: NotifyWhen.FAILED, Outcome.WARNED: NotifyWhen.WARNED}
"""Of a success, only its runner notifies people: it cannot have ended without a report."""


@dataclass(frozen=True)
class Notice:
    """A run, stale data or a missed run, to notify people of."""

    about: FinishedRun | Condition | MissedRun | StartedRun
    """The run, or the condition that says since when the data are stale, or fresh again."""
    when: NotifyWhen
    failing_since: datetime | None = None
    """When the first of the failed runs ended, if this one is a recovery."""


def failing_since(before: datetime | None, run: FinishedRun) -> datetime | None:
    """Return since when a refresh fails, after this run; None if it does not. A success of a part of the refresh ends nothing."""
    if run.loads:
        return None
    is_failure = run.outcome is Outcome.FAILED and run.reason is not Reason.CANCELLED
    return before or (run.completion_time if is_failure else None)


def notices(since: datetime | None, ended: tuple[EndedRun, ...], now: datetime) -> Iterator[Notice]:
    """Yield what to notify people of: runs whose runner could not, and the end of failures, which only the operator knows.

    `since` is since when the refresh failed before these runs, as its status has it. A run is in `ended` once, across restarts, because the
    status that has its result is written before anything is sent.
    """
    for each in ended:
        after = failing_since(since, each.run)
        if now - each.run.completion_time < _WITHIN:
            if not each.notified and (when := _WHEN.get(each.run.outcome)):
                yield Notice(each.run, when)
            if since and after is None:
                yield Notice(each.run, NotifyWhen.RECOVERED, since)
        since = after


def freshness_notices(change: Condition | None) -> Iterator[Notice]:
    """Yield what to notify people of if the data have become stale, or fresh again: if the condition DataFresh has changed to `change`."""
    if change:
        yield Notice(change, NotifyWhen.STALE)


def missed_notices(change: MissedRun | StartedRun | None) -> Iterator[Notice]:
    """Yield what to notify people of if a scheduled run was missed unexpectedly, or if one has started after that."""
    if change:
        yield Notice(change, NotifyWhen.MISSED)
