"""Reconciles one refresh, whatever the trigger, and handles errors."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from refresh_api.model import time_text
from refresh_api.reasons import EventReason, ReadyReason
from refresh_operator.errors import ApiError, Conflict, Forbidden, NotFound, Unavailable, Unprocessable, Unreadable
from refresh_operator.kube.claims import LEASE_NAME, Claims
from refresh_operator.kube.pause import GlobalPause
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref
from refresh_operator.observability.logs import log_context
from refresh_operator.observability.metrics import OperatorMetrics
from refresh_operator.reconcile.apply import Applier
from refresh_operator.reconcile.decision import Decision, decide
from refresh_operator.reconcile.notifications import notify_people
from refresh_operator.reconcile.observe import Observer
from refresh_operator.reconcile.quiet_hours import QuietHoursEnd
from refresh_operator.reconcile.shared_failures import SharedFailures
from refresh_operator.runs.heartbeats import Heartbeats
from refresh_operator.settings import Settings
from refresh_operator.specs.diff import Difference
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.status.events import Event
from refresh_operator.status.status import problem_status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """The services that a reconciliation uses."""

    observer: Observer
    applier: Applier
    settings: Settings
    clock: Callable[[], datetime]
    """Returns the time without microseconds."""
    queue: WorkQueue
    pause: GlobalPause
    shared_failures: SharedFailures
    quiet_hours: QuietHoursEnd
    claims: Claims | None = None
    """If None, this operator acts in every namespace that it watches."""
    tolerated: dict[Ref, frozenset[Difference]] = field(default_factory=dict)
    """Differences that something else insists on, such as an admission webhook. Correcting them would never succeed."""
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    left_to: dict[Ref, tuple[str, datetime]] = field(default_factory=dict)
    """Refreshes on which another operator acts, each with that operator and the hour of the last event about it."""

    def acts_in(self, namespace: str) -> bool:
        """Return whether this operator, and no other one, acts on the refreshes of a namespace."""
        return self.claims is None or self.claims.holds(namespace)


@dataclass(frozen=True)
class Reconciler:
    """How objects of one kind are reconciled."""

    once: Callable[[Ref], Awaitable[timedelta | None]]
    """Reconcile one object; return after what time to do it again, or None if it is deleted."""
    refetch: Callable[[Ref], Awaitable[None]]
    """Get the object and what belongs to it from the API server, since the store may be outdated."""
    report_bug: Callable[[Ref], Awaitable[None]]
    """Report an unexpected error in the object's status."""


def reconciler_of_refreshes(services: Services) -> Reconciler:
    """Return how refreshes are reconciled."""
    return Reconciler(
        partial(reconcile_once, services=services), services.observer.refetch, partial(_report_operator_error, services=services)
    )


async def reconcile(ref: Ref, reconciler: Reconciler, services: Services) -> None:
    """Reconcile one object and requeue it. Never raises: a failed reconciliation is retried with backoff."""
    with log_context(ref):
        try:
            with services.metrics.time_reconcile():
                requeue_after = await reconciler.once(ref)
        except (Conflict, NotFound) as error:
            log.info("retrying because an object has changed: %s", error)
            with suppress(ApiError):
                await reconciler.refetch(ref)
            _requeue(ref, services)
        except ApiError as error:
            log.warning("retrying: %s", error)
            if isinstance(error, Unavailable):
                services.heartbeats.forget()
            _requeue(ref, services)
        except Exception:
            log.exception("retrying after an unexpected error, which is a bug of the operator")
            await reconciler.report_bug(ref)
            _requeue(ref, services)
        else:
            services.queue.forget(ref)
            if requeue_after is not None:
                services.queue.add(ref, requeue_after)


def _requeue(ref: Ref, services: Services) -> None:
    services.metrics.count_failure()
    services.queue.add_rate_limited(ref)


async def _report_operator_error(ref: Ref, services: Services) -> None:
    """Report an unexpected error in the status, if that is possible."""
    with suppress(Exception):
        refresh = services.observer.refresh(ref)
        message = "the operator failed to reconcile this DashboardRefresh: see the operator's log"
        if refresh and not refresh.metadata.deletion_timestamp:
            await _report_problem(refresh, Problem(ReadyReason.OPERATOR_ERROR, message, stalled=False), services.clock(), services)


async def reconcile_once(ref: Ref, services: Services) -> timedelta | None:
    """Make the cluster match one refresh. Return the time after which to reconcile it again, or None if it is deleted."""
    refresh = services.observer.refresh(ref)
    if refresh is None:
        services.tolerated.pop(ref, None)
        services.heartbeats.forget(ref)
        services.metrics.forget(ref)
        services.left_to.pop(ref, None)
        services.shared_failures.forget(ref)
        services.quiet_hours.forget(ref)
        return None
    now = services.clock()
    if services.claims and not services.acts_in(ref.namespace):
        return await _leave(refresh, services.claims, now, services)
    try:
        snapshot = await services.observer.observe(refresh, services.heartbeats.age(refresh, now), services.pause.current(now))
        decision = decide(snapshot, services.settings, now, services.tolerated.get(ref, frozenset()))
        returned = await services.applier.apply(refresh, decision, now)
    except Forbidden as error:
        problem = Problem(ReadyReason.FORBIDDEN, f"the operator lacks a permission: {error}", stalled=False)
        return await _report_problem(refresh, problem, now, services)
    except Unprocessable as error:
        problem = Problem(ReadyReason.INVALID_SPEC, f"Kubernetes rejected an object of this DashboardRefresh: {error}", stalled=True)
        return await _report_problem(refresh, problem, now, services)
    except Unreadable as error:
        problem = Problem(ReadyReason.UNREADABLE, f"{error}: fix or delete it", stalled=False)
        return await _report_problem(refresh, problem, now, services)
    for kind in decision.drifted_kinds:
        services.metrics.count_drift(ref, kind)
    services.tolerated[ref] = services.tolerated.get(ref, frozenset()) | returned
    await _notify(refresh, decision, services)
    if not services.settings.notifies:
        return decision.requeue_after
    status = decision.status or refresh.status
    later = (await services.shared_failures.notify(refresh, status), await services.quiet_hours.notify(refresh, status))
    return min([decision.requeue_after, *(each for each in later if each is not None)])


async def _leave(refresh: Refresh, claims: Claims, now: datetime, services: Services) -> timedelta:
    """Report in an event that another operator acts on a refresh. Repeat it every hour, because the API server keeps events for an hour."""
    services.shared_failures.forget(refresh.ref)
    services.quiet_hours.forget(refresh.ref)
    namespace, other = refresh.ref.namespace, claims.other_holder(refresh.ref.namespace)
    report = other, now.replace(minute=0, second=0)
    if other and services.left_to.get(refresh.ref) != report:
        message = f"operator {claims.me} does not act on this DashboardRefresh: {other} holds Lease {LEASE_NAME} in {namespace}"
        log.warning(message)
        await services.applier.post_event(refresh, Event(EventReason.OTHER_OPERATOR, message, time_text(report[1]), warning=True), now)
        services.left_to[refresh.ref] = report
    return services.settings.recheck


async def _report_problem(refresh: Refresh, problem: Problem, now: datetime, services: Services) -> timedelta:
    """Write a problem to the status, unless it is already there. The generation counts as observed only if users must change the spec."""
    status = problem_status(refresh, problem, now)
    if problem.stalled:
        status = status.model_copy(update={"observed_generation": refresh.metadata.generation})
    if status != refresh.status:
        await services.applier.write_status(refresh, status)
    return services.settings.recheck


async def _notify(refresh: Refresh, decision: Decision, services: Services) -> None:
    """Send notifications after the status is written. If the operator stops in between, none is sent, rather than the same one twice."""
    if isinstance(refresh.spec, InvalidSpec) or not services.settings.notifies:
        return
    for notice in decision.notifications:
        for event in await notify_people(services.observer, refresh, refresh.spec, notice, services.settings, services.clock()):
            await services.applier.post_event(refresh, event, services.clock())
