"""Make the cluster match one refresh; the operator's one loop, whatever set it off."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from refresh_api.reasons import ReadyReason
from refresh_operator.errors import ApiError, Conflict, Forbidden, NotFound, Unavailable, Unprocessable, Unreadable
from refresh_operator.kube.pause import GlobalPause
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref
from refresh_operator.observability.logs import log_context
from refresh_operator.observability.work_metrics import OperatorMetrics
from refresh_operator.reconcile.cluster import Cluster
from refresh_operator.reconcile.decision import Decision, decide
from refresh_operator.reconcile.notifications import notify_failed_run
from refresh_operator.runs.heartbeats import Heartbeats
from refresh_operator.settings import Settings
from refresh_operator.specs.diff import Difference
from refresh_operator.state.problem import Problem
from refresh_operator.state.refresh import InvalidSpec, Refresh
from refresh_operator.status.status import problem_status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What a convergence works with."""

    cluster: Cluster
    settings: Settings
    clock: Callable[[], datetime]
    """The time, to the second."""
    queue: WorkQueue
    pause: GlobalPause
    tolerated: dict[Ref, frozenset[Difference]] = field(default_factory=dict)
    """Differences that others insist on, such as an admission webhook of the cluster; correcting them would never end."""
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)


async def reconcile(ref: Ref, services: Services) -> None:
    """Converge one refresh, and plan the next look at it. Raises nothing: what fails is tried again later."""
    with log_context(ref):
        try:
            with services.metrics.time_reconcile():
                again = await reconcile_once(ref, services)
        except (Conflict, NotFound) as error:
            log.info("somebody was faster, looking again: %s", error)
            with suppress(ApiError):
                await services.cluster.refetch(ref)
            _requeue(ref, services)
        except ApiError as error:
            log.warning("looking again later: %s", error)
            if isinstance(error, Unavailable):
                services.heartbeats.forget()
            _requeue(ref, services)
        except Exception:
            log.exception("this is a fault of the operator; looking again later")
            await _report_operator_error(ref, services)
            _requeue(ref, services)
        else:
            services.queue.forget(ref)
            if again is not None:
                services.queue.add(ref, again)


def _requeue(ref: Ref, services: Services) -> None:
    services.metrics.count_failure()
    services.queue.add_rate_limited(ref)


async def _report_operator_error(ref: Ref, services: Services) -> None:
    """Say on a refresh that the operator fails at it, as far as that can be said."""
    with suppress(Exception):
        refresh = services.cluster.refresh(ref)
        problem = Problem(
            ReadyReason.OPERATOR_ERROR, "the operator failed to reconcile this DashboardRefresh: see the operator's log", stalled=False
        )
        if refresh and not refresh.metadata.deletion_timestamp:
            await _report_problem(refresh, problem, services.clock(), services)


async def reconcile_once(ref: Ref, services: Services) -> timedelta | None:
    """Make the cluster match one refresh; return after what time it is to be looked at again, None if it is gone."""
    refresh = services.cluster.refresh(ref)
    if refresh is None:
        services.tolerated.pop(ref, None)
        services.heartbeats.forget(ref)
        services.metrics.forget(ref)
        return None
    now = services.clock()
    try:
        world = await services.cluster.observe(refresh, services.heartbeats.age(refresh, now), services.pause.current(now))
        decision = decide(world, services.settings, now, services.tolerated.get(ref, frozenset()))
        returned = await services.cluster.apply(refresh, decision, now)
    except Forbidden as error:
        problem = Problem(ReadyReason.FORBIDDEN, f"the operator lacks a permission: {error}", stalled=False)
        return await _report_problem(refresh, problem, now, services)
    except Unprocessable as error:
        problem = Problem(ReadyReason.INVALID_SPEC, f"Kubernetes rejected an object of this DashboardRefresh: {error}", stalled=True)
        return await _report_problem(refresh, problem, now, services)
    except Unreadable as error:
        return await _report_problem(refresh, Problem(ReadyReason.UNREADABLE, f"{error}: fix or delete it", stalled=False), now, services)
    for kind in decision.drifted_kinds:
        services.metrics.count_drift(ref, kind)
    await _notify(refresh, decision, services)
    services.tolerated[ref] = services.tolerated.get(ref, frozenset()) | returned
    return decision.requeue_after


async def _report_problem(refresh: Refresh, problem: Problem, now: datetime, services: Services) -> timedelta:
    """Say what stands in the way, once; only where an edit alone helps is this generation the one that was judged."""
    share = problem_status(refresh, problem, now)
    if problem.stalled:
        share = share.model_copy(update={"observed_generation": refresh.metadata.generation})
    if share != refresh.status:
        await services.cluster.write_status(refresh, share)
    return services.settings.recheck


async def _notify(refresh: Refresh, decision: Decision, services: Services) -> None:
    """Tell people after the status is written: should the operator end in between, they are told never rather than twice."""
    if isinstance(refresh.spec, InvalidSpec) or not services.settings.notifies:
        return
    for ended in decision.notifications:
        for note in await notify_failed_run(services.cluster, refresh, refresh.spec, ended.run, services.settings):
            await services.cluster.post_event(refresh, note, services.clock())
