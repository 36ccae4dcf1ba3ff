"""Judges a refresh: whether its data is fresh, since when, and which issues need attention.

Freshness is computed from the clock: it must go stale even while no operator writes a status."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from refresh_api.model import Model, Time
from refresh_api.reasons import RunningReason, SuspendedReason
from refresh_api.status import Condition, ConditionStatus, FinishedRun, Outcome, Phase
from refresh_api.values import duration
from refresh_page.kube.models import Refresh

START_GRACE: Final = timedelta(minutes=10)
"""Time after a scheduled time within which its run normally appears."""


POD_START_GRACE: Final = timedelta(seconds=30)
"""Time after which a pod that has not started is an issue."""
INTENTIONAL: Final = frozenset({SuspendedReason.SUSPENDED, SuspendedReason.SUSPENDED_UNTIL})
"""Reasons for which somebody suspended this refresh on purpose: shown, but not an issue that needs attention."""


class Tone(StrEnum):
    """How something is shown: a sign and a colour, so that nobody depends on the colour."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    NONE = "none"


class Data(StrEnum):
    """Whether the data is fresh."""

    FRESH = "Fresh"
    STALE = "Stale"
    NEVER_LOADED = "NeverLoaded"


class Scope(StrEnum):
    """Which run an issue is about."""

    LAST = "last"
    """The last run, which is a full run."""
    FULL = "full"
    """The last full run; a partial run has finished since."""
    PART = "part"
    """That later partial run."""


class Issue(Model):
    """Something that needs attention."""

    reason: str
    """Stalled, Blocked, Overdue, Warnings, NotStarted, Unreadable, RequestRefused, or the reason of a run or of the condition Suspended."""
    message: str = ""
    """The operator's or runner's message."""
    time: Time | None = None
    scope: Scope | None = None
    """Set if the issue is about a run."""
    mode: str | None = None
    """The mode of that run; unset for a plain refresh."""


class Health(Model):
    """The state of one refresh."""

    tone: Tone
    data: Data
    since: Time | None = None
    """When the data was loaded, or since when it has been stale."""
    issues: tuple[Issue, ...] = ()


def suspension(refresh: Refresh) -> Issue | None:
    """Return why scheduled runs are suspended; None if they are not. The spec counts only until the operator has set the condition."""
    found = _true_condition(refresh, "Suspended")
    if found:
        return Issue(reason=found.reason, message=found.message, time=found.last_transition_time)
    return Issue(reason=SuspendedReason.SUSPENDED, time=refresh.status.suspended_since) if refresh.spec.suspend else None


def last_full_run(refresh: Refresh) -> FinishedRun | None:
    """Return the last full run: one that was not skipped and is not partial."""
    return next((run for run in _runs(refresh) if run.outcome is not Outcome.SKIPPED and not run.is_partial), None)


def later_partial_run(refresh: Refresh) -> FinishedRun | None:
    """Return the last partial run, if it finished after the last full run."""
    for run in _runs(refresh):
        if run.outcome is not Outcome.SKIPPED:
            return run if run.is_partial else None
    return None


def _runs(refresh: Refresh) -> list[FinishedRun]:
    return refresh.status.history or [run for run in (refresh.status.last_run,) if run]


def health_of(refresh: Refresh, now: datetime) -> Health:
    """Return the state of a refresh at a time."""
    data, since = _data(refresh, now)
    issues = _issues(refresh, now)
    last = last_full_run(refresh)
    failed = last is not None and last.outcome is Outcome.FAILED
    if data is Data.STALE or (data is Data.NEVER_LOADED and failed):
        tone = Tone.BAD
    elif any(each.reason not in INTENTIONAL for each in issues):
        tone = Tone.WARN
    else:
        tone = Tone.GOOD if data is Data.FRESH else Tone.NONE
    return Health(tone=tone, data=data, since=since, issues=tuple(issues))


def _data(refresh: Refresh, now: datetime) -> tuple[Data, datetime | None]:
    status, last = refresh.status, last_full_run(refresh)
    loaded = status.last_success_time
    if loaded is None:
        return Data.NEVER_LOADED, None
    limit = _max_staleness(refresh)
    if limit is not None:
        return (Data.STALE, loaded + limit) if now - loaded > limit else (Data.FRESH, loaded)
    if last and last.outcome is Outcome.FAILED and last.completion_time >= loaded:
        return Data.STALE, _failing_since(refresh) or last.completion_time
    return Data.FRESH, loaded


def _max_staleness(refresh: Refresh) -> timedelta | None:
    freshness = refresh.spec.freshness
    try:
        return duration(freshness.max_staleness) if freshness and freshness.max_staleness else None
    except ValueError:
        return None  # the refresh is Stalled, which is shown


def _failing_since(refresh: Refresh) -> datetime | None:
    last_run = refresh.status.condition("LastRunSucceeded")
    return last_run.last_transition_time if last_run else None


def _issues(refresh: Refresh, now: datetime) -> list[Issue]:
    status, last = refresh.status, last_full_run(refresh)
    found: list[Issue] = []
    if refresh.parse_error:
        found.append(Issue(reason="Unreadable", message=refresh.parse_error))
    if status.phase in (Phase.STALLED, Phase.BLOCKED):
        found.append(Issue(reason=status.phase.value, message=status.message or ""))
    suspended = suspension(refresh)
    if suspended:
        found.append(suspended)
    starting = _true_condition(refresh, "Running")
    if starting and starting.reason == RunningReason.STARTING and now - starting.last_transition_time > POD_START_GRACE:
        found.append(Issue(reason="NotStarted", message=starting.message, time=starting.last_transition_time))
    found += _run_issues(last, later_partial_run(refresh))
    if status.next_schedule_time and now - status.next_schedule_time > START_GRACE and not status.active:
        found.append(Issue(reason="Overdue", time=status.next_schedule_time))
    if status.request_error:
        found.append(Issue(reason="RequestRefused", message=status.request_error))
    return found


def _run_issues(last: FinishedRun | None, part: FinishedRun | None) -> list[Issue]:
    """Return issues of the last full run and of a later partial run. A partial run does not repair a full one, so both are shown."""
    found = [_run_issue(last, Scope.FULL if part else Scope.LAST)] if last and last.outcome is not Outcome.SUCCEEDED else []
    if part and (part.outcome is not Outcome.SUCCEEDED or (last and last.outcome is Outcome.FAILED)):
        found.append(_run_issue(part, Scope.PART))
    return found


def _run_issue(run: FinishedRun, scope: Scope) -> Issue:
    reason = "Warnings" if run.outcome is Outcome.WARNED else run.reason.value
    return Issue(reason=reason, message=run.message or "", time=run.completion_time, scope=scope, mode=run.mode)


def _true_condition(refresh: Refresh, kind: str) -> Condition | None:
    found = refresh.status.condition(kind)
    return found if found and found.status is ConditionStatus.TRUE else None
