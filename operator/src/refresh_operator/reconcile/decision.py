"""Decides from one snapshot what to change in the cluster; pure."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from refresh_api.objects import Json
from refresh_api.status import OperatorStatus
from refresh_api.values import duration
from refresh_operator.reconcile.analysis import analyse, requeue_after
from refresh_operator.reconcile.lifecycle import JobLifecycle
from refresh_operator.reconcile.managed_objects import Replacement, changed_defaults, drifted, plan_objects
from refresh_operator.runs.notices import Notice, freshness_notices, missed_notices
from refresh_operator.runs.runs import Timeouts
from refresh_operator.settings import Settings
from refresh_operator.specs.cronjob import managed_objects
from refresh_operator.specs.diff import Difference
from refresh_operator.state.refresh import InvalidSpec
from refresh_operator.state.snapshot import Snapshot
from refresh_operator.status.conditions import freshness_change
from refresh_operator.status.events import Event, defaults_event, drift_event, events_of, project_event
from refresh_operator.status.status import Analysis, new_status

_START_TIMEOUT = timedelta(minutes=5)
"""Start timeout of runs whose refresh has an invalid spec."""


@dataclass(frozen=True)
class Decision:
    """The changes, in the order in which they are applied."""

    create: tuple[Json, ...] = ()
    replace: tuple[Replacement, ...] = ()
    create_job: Json | None = None
    """The Job of a requested run."""
    create_check: Json | None = None
    """The Job that checks for a new commit of the project."""
    status: OperatorStatus | None = None
    """The status to write, or None if it has not changed."""
    adopt_jobs: tuple[str, ...] = ()
    """Names of the Jobs that the refresh becomes an owner of."""
    delete_jobs: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    drifted_kinds: tuple[str, ...] = ()
    """Kinds of the objects that somebody edited or deleted."""
    notifications: tuple[Notice, ...] = ()
    """Runs, stale data and missed runs, to notify people of."""
    requeue_after: timedelta = timedelta(minutes=5)


def decide(snapshot: Snapshot, settings: Settings, now: datetime, tolerated: frozenset[Difference] = frozenset()) -> Decision:
    """Return what to change so that the cluster matches the refresh.

    `tolerated` differences alone cause no correction, because they reappear after each one.
    """
    refresh, jobs = snapshot.refresh, JobLifecycle(snapshot)
    if refresh.metadata.deletion_timestamp:
        return Decision()
    if snapshot.namespace_terminating:
        return Decision(delete_jobs=jobs.active())
    spec = None if isinstance(refresh.spec, InvalidSpec) else refresh.spec
    timeouts = Timeouts(duration(spec.start_timeout) if spec else _START_TIMEOUT, settings.lost_after)
    analysis = analyse(snapshot, settings, timeouts, now)
    create, replace = plan_objects(snapshot, _wanted(snapshot, settings, analysis), tolerated)
    if any(each.reset_last_schedule_time for each in replace):
        # earlier times of the new schedule were never due
        analysis = dataclasses.replace(analysis, missed=dataclasses.replace(analysis.missed, evaluated_until=now))
    status = new_status(snapshot, analysis, now)
    drifts = drifted(refresh, create, replace)
    followed = [(each.item, fields) for each in replace if (fields := changed_defaults(snapshot, each))]
    # the operator's own writes cause no watch event: the next reconciliation observes their consequences
    is_changed = bool(create or analysis.request.job or analysis.project.run or analysis.project.job)
    return Decision(
        create=create,
        replace=replace,
        create_job=analysis.request.job or analysis.project.run,
        create_check=analysis.project.job,
        status=None if status == refresh.status else status,
        adopt_jobs=jobs.to_adopt(),
        delete_jobs=(*jobs.to_delete(analysis.ended), *analysis.project.delete),
        events=(
            *(drift_event(item, found) for item, found in drifts),
            *(defaults_event(*each) for each in followed),
            *_project_events(analysis),
            *events_of(refresh.status, status, analysis.ended, analysis.missed.runs, now),
        ),
        drifted_kinds=tuple(str(item["kind"]) for item, _ in drifts),
        notifications=tuple(_notices(refresh.status, status, analysis)) if spec and spec.notifications else (),
        requeue_after=timedelta(0) if is_changed else requeue_after(snapshot, analysis, status, timeouts, settings, now),
    )


def _notices(before: OperatorStatus, after: OperatorStatus, analysis: Analysis) -> Iterator[Notice]:
    yield from analysis.told.at_once
    yield from freshness_notices(freshness_change(before, after))
    yield from missed_notices(analysis.missed.change)


def _wanted(snapshot: Snapshot, settings: Settings, analysis: Analysis) -> tuple[Json, ...]:
    """Return the desired managed objects; none for an invalid spec, whose existing objects are left alone."""
    refresh = snapshot.refresh
    if isinstance(refresh.spec, InvalidSpec):
        return ()
    withheld = frozenset(snapshot.denied_secrets)
    return managed_objects(refresh, refresh.spec, settings, suspended=analysis.suspension is not None, withheld=withheld)


def _project_events(analysis: Analysis) -> tuple[Event, ...]:
    run, check = analysis.project.requested, analysis.project.check
    return (project_event(check.handled_revision, run),) if run and check and check.handled_revision else ()
