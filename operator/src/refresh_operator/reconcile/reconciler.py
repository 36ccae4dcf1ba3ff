"""Make the cluster match one refresh; the operator's one loop, whatever set it off."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from refresh_api.reasons import ReadyReason
from refresh_operator.errors import ApiError, Conflict, Forbidden, NotFound, Refused, Unavailable, Unreadable
from refresh_operator.kube.pause import PauseSign
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref
from refresh_operator.observability.logs import about
from refresh_operator.observability.work_metrics import Meters
from refresh_operator.reconcile.cluster import Cluster
from refresh_operator.reconcile.decision import Decision, decide
from refresh_operator.reconcile.notifications import tell
from refresh_operator.runs.heartbeats import Heartbeats
from refresh_operator.settings import Settings
from refresh_operator.specs.diff import Difference
from refresh_operator.state.problem import Problem
from refresh_operator.state.snapshot import Invalid, Refresh
from refresh_operator.status.status import not_ready

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What a convergence works with."""

    cluster: Cluster
    settings: Settings
    clock: Callable[[], datetime]
    """The time, to the second."""
    agenda: WorkQueue
    sign: PauseSign
    tolerated: dict[Ref, frozenset[Difference]] = field(default_factory=dict)
    """Differences that others insist on, such as an admission webhook of the cluster; correcting them would never end."""
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    meters: Meters = field(default_factory=Meters)


async def look(ref: Ref, services: Services) -> None:
    """Converge one refresh, and plan the next look at it. Raises nothing: what fails is tried again later."""
    with about(ref):
        try:
            with services.meters.look():
                again = await converge(ref, services)
        except (Conflict, NotFound) as error:
            log.info("somebody was faster, looking again: %s", error)
            with suppress(ApiError):
                await services.cluster.refetch(ref)
            _again_later(ref, services)
        except ApiError as error:
            log.warning("looking again later: %s", error)
            if isinstance(error, Unavailable):
                services.heartbeats.forget()
            _again_later(ref, services)
        except Exception:
            log.exception("this is a fault of the operator; looking again later")
            await _own_fault(ref, services)
            _again_later(ref, services)
        else:
            services.agenda.succeeded(ref)
            if again is not None:
                services.agenda.add(ref, again)


def _again_later(ref: Ref, services: Services) -> None:
    services.meters.failed()
    services.agenda.failed(ref)


async def _own_fault(ref: Ref, services: Services) -> None:
    """Say on a refresh that the operator fails at it, as far as that can be said."""
    with suppress(Exception):
        refresh = services.cluster.refresh(ref)
        problem = Problem(ReadyReason.OPERATOR_ERROR, "the operator fails at this refresh; its log says why", stalled=False)
        if refresh and not refresh.metadata.deletion_timestamp:
            await _stopped(refresh, problem, services.clock(), services)


async def converge(ref: Ref, services: Services) -> timedelta | None:
    """Make the cluster match one refresh; return after what time it is to be looked at again, None if it is gone."""
    refresh = services.cluster.refresh(ref)
    if refresh is None:
        services.tolerated.pop(ref, None)
        services.heartbeats.forget(ref)
        services.meters.forget(ref)
        return None
    now = services.clock()
    try:
        world = await services.cluster.observe(refresh, services.heartbeats.silence(refresh, now), services.sign.at(now))
        decision = decide(world, services.settings, now, services.tolerated.get(ref, frozenset()))
        returned = await services.cluster.apply(refresh, decision, now)
    except Forbidden as error:
        problem = Problem(ReadyReason.FORBIDDEN, f"the operator lacks a permission: {error}", stalled=False)
        return await _stopped(refresh, problem, now, services)
    except Refused as error:
        problem = Problem(ReadyReason.INVALID_SPEC, f"Kubernetes refuses what this spec asks for: {error}", stalled=True)
        return await _stopped(refresh, problem, now, services)
    except Unreadable as error:
        return await _stopped(refresh, Problem(ReadyReason.UNREADABLE, f"{error}: delete or mend it", stalled=False), now, services)
    for kind in decision.corrected:
        services.meters.corrected(ref, kind)
    await _tell(refresh, decision, services)
    services.tolerated[ref] = services.tolerated.get(ref, frozenset()) | returned
    return decision.again


async def _stopped(refresh: Refresh, problem: Problem, now: datetime, services: Services) -> timedelta:
    """Say what stands in the way, once; only where an edit alone helps is this generation the one that was judged."""
    share = not_ready(refresh, problem, now)
    if problem.stalled:
        share = share.model_copy(update={"observed_generation": refresh.metadata.generation})
    if share != refresh.share:
        await services.cluster.write(refresh, share)
    return services.settings.recheck


async def _tell(refresh: Refresh, decision: Decision, services: Services) -> None:
    """Tell people after the status is written: should the operator end in between, they are told never rather than twice."""
    if isinstance(refresh.spec, Invalid) or not services.settings.notifies:
        return
    for ended in decision.tell:
        for note in await tell(services.cluster, refresh, refresh.spec, ended.run, services.settings):
            await services.cluster.post(refresh, note, services.clock())
