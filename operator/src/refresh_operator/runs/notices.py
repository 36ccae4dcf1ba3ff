"""Of which ended runs, stale data and missed runs the operator notifies people; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from refresh_api.notifications import NotifyWhen
from refresh_api.spec import RefreshSpec
from refresh_api.status import Condition, FinishedRun, OperatorStatus, Outcome, Reason, Recovery, SharedFailure
from refresh_operator.runs.missed_runs import MissedRun, StartedRun
from refresh_operator.runs.runs import EndedRun
from refresh_operator.runs.shared_failures import cause_of
from refresh_operator.state.refresh import InvalidSpec

_WITHIN: Final = timedelta(days=1)
"""No notifications are sent for runs that ended longer ago than this."""
_WHEN: Final = {Outcome.FAILED: NotifyWhen.FAILED, Outcome.WARNED: NotifyWhen.WARNED}
"""Of a success, only its runner notifies people: it cannot have ended without a report."""


class Audience(StrEnum):
    """Which channels are notified."""

    ALL = "All"
    PEOPLE = "People"
    """Chats and mail, which take one message about several refreshes."""
    PROGRAMS = "Programs"
    """PagerDuty, Alertmanager and webhooks, which take each refresh by itself."""


@dataclass(frozen=True)
class Notice:
    """A run, stale data or a missed run, to notify people of."""

    about: FinishedRun | Condition | MissedRun | StartedRun
    """The run, or the condition that says since when the data are stale, or fresh again."""
    when: NotifyWhen
    failing_since: datetime | None = None
    """When the first of the failed runs ended, if this one is a recovery."""
    audience: Audience = Audience.ALL


@dataclass(frozen=True)
class RunNotices:
    """What to notify people of after some runs: at once, and together with other refreshes."""

    at_once: tuple[Notice, ...] = ()
    shared: SharedFailure | None = None
    """The failure whose cause other refreshes may share, or its end; None if the last failure was another one."""
    last_failure: FinishedRun | None = None
    """The last failed run, unless the refresh has recovered since."""
    last_recovery: Recovery | None = None


def failing_since(before: datetime | None, run: FinishedRun) -> datetime | None:
    """Return since when a refresh fails, after this run; None if it does not. A success of a part of the refresh ends nothing."""
    if run.loads:
        return None
    return before or (run.completion_time if _is_failure(run) else None)


def _is_failure(run: FinishedRun) -> bool:
    return run.outcome is Outcome.FAILED and run.reason is not Reason.CANCELLED


def run_notices(before: OperatorStatus, spec: RefreshSpec | InvalidSpec, ended: tuple[EndedRun, ...], now: datetime) -> RunNotices:
    """Return what to notify people of: runs whose runner could not, and the end of failures, which only the operator knows.

    `before` is the status before these runs. A run is in `ended` once, across restarts, because the status that has its result is written
    before anything is sent.
    """
    since, shared, failure, recovery = before.failing_since, before.shared_failure, before.last_failure, before.last_recovery
    found: list[Notice] = []
    for each in ended:
        run, after = each.run, failing_since(since, each.run)
        is_recent, is_recovery = now - run.completion_time < _WITHIN, since is not None and after is None
        when = _WHEN.get(run.outcome)
        cause = cause_of(run, spec) if _is_failure(run) and (each.left or not each.notified) else None
        if _is_failure(run) and shared and (shared.is_over or shared.cause != cause):
            found += _superseded(shared)
            shared = None
        if cause:
            # whatever its age: the runner relies on it
            shared = SharedFailure(cause=cause, run=run)
        if when and is_recent and not each.notified:
            found.append(Notice(run, when, audience=Audience.PROGRAMS if cause else Audience.ALL))
        if is_recovery and shared and not shared.is_over:
            found += _superseded(shared)
            shared = SharedFailure(cause=shared.cause, run=run, is_over=True, failing_since=since) if is_recent else None
            found += [Notice(run, NotifyWhen.RECOVERED, since, Audience.PROGRAMS)] if is_recent else []
        elif is_recovery and is_recent:
            found.append(Notice(run, NotifyWhen.RECOVERED, since))
        if _is_failure(run):
            failure = run
        if since and after is None:
            failure, recovery = None, Recovery(run=run, failing_since=since)
        since = after
    return RunNotices(tuple(found), shared, failure, recovery)


def _superseded(shared: SharedFailure) -> Iterator[Notice]:
    """Yield a notice of its own, if something else has happened before chats and mail were notified together with other refreshes."""
    if shared.notified_time is None:
        yield shared_notice(shared)


def shared_notice(shared: SharedFailure) -> Notice:
    """Return the notice for chats and mail of a failure that other refreshes may share, or of its end."""
    return Notice(shared.run, NotifyWhen.RECOVERED if shared.is_over else NotifyWhen.FAILED, shared.failing_since, Audience.PEOPLE)


def freshness_notices(change: Condition | None) -> Iterator[Notice]:
    """Yield what to notify people of if the data have become stale, or fresh again: if the condition DataFresh has changed to `change`."""
    if change:
        yield Notice(change, NotifyWhen.STALE)


def missed_notices(change: MissedRun | StartedRun | None) -> Iterator[Notice]:
    """Yield what to notify people of if a scheduled run was missed unexpectedly, or if one has started after that."""
    if change:
        yield Notice(change, NotifyWhen.MISSED)
