"""Puts the operator together: connection, Lease, agenda, watches, clock."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import kopf

from refresh_operator.errors import ApiError, CrdMissing, NotFound
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.leader_election import LeaderElector
from refresh_operator.kube.pause import GlobalPause
from refresh_operator.kube.store import Store
from refresh_operator.kube.watch import kopf_settings, registry_of
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref
from refresh_operator.observability.metrics import render
from refresh_operator.observability.probes import Health, serve_probes
from refresh_operator.reconcile.cluster import Cluster
from refresh_operator.reconcile.reconciler import Services, reconcile
from refresh_operator.settings import Settings

log = logging.getLogger(__name__)

_PAUSE: Final = timedelta(seconds=2)
"""Until the API server is asked again after it did not answer."""
_FAREWELL: Final = timedelta(seconds=5)
"""What may be done when this operator is told to end."""


async def serve(settings: Settings, clock: Callable[[], datetime], kubeconfig: Path | None) -> None:
    """Keep refreshes until the process is told to end, once this operator holds the Lease.

    ContractMissing where the CRD is not there, also later; LeaseLost when another operator has taken over.
    """
    seat = LeaderElector(await KubeClient.connect(kubeconfig, clock), settings.lease, time.monotonic) if settings.lease else None
    api = await KubeClient.connect(kubeconfig, clock, (lambda: seat.may_write) if seat else (lambda: True))
    agenda, mirror = WorkQueue(), Store()
    # all times in the cluster are the API server's
    services = Services(
        Cluster(api, mirror, settings.secret_rules), settings, lambda: clock() + api.clock_offset, agenda, GlobalPause(api, settings.pause)
    )
    health = Health(mirror, agenda, seat)
    told = asyncio.Event()
    _heed_signals(told)
    tasks = [asyncio.create_task(_wait(told), name="end")]
    if settings.health_endpoint:
        figures = partial(_figures, services, health)
        tasks.append(asyncio.create_task(serve_probes(settings.health_endpoint, health, figures), name="probes"))
    try:
        if seat is None or await _seated(seat, tasks):
            tasks += [asyncio.create_task(seat.renew(), name="lease")] if seat else []
            tasks += [
                asyncio.create_task(run_queue(services, health), name="agenda"),
                asyncio.create_task(resync(services, mirror), name="resync"),
                asyncio.create_task(poll_pause(services), name="pause"),
                asyncio.create_task(_watch(services, mirror, told), name="kopf"),
            ]
            await _first_of(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(_FAREWELL.total_seconds()):
                await services.cluster.delete_jobs_of_terminating_namespaces()
        if seat:
            # nothing of ours writes any more
            await seat.release()
            await seat.close()
        await api.close()


async def _seated(seat: LeaderElector, others: Sequence[asyncio.Task[None]]) -> bool:
    """Wait for the Lease; False where the process is told to end before."""
    log.info("waiting for the Lease")
    taking = asyncio.create_task(seat.acquire(), name="take")
    try:
        await _first_of([taking, *others])
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
    return seat.is_leader


async def _first_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until one of them ends: each lasts as long as the operator, and takes the others with it; Kubernetes starts all anew."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


def _heed_signals(told: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT tell that the process is to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)


async def _wait(told: asyncio.Event) -> None:
    await told.wait()


async def _watch(services: Services, mirror: Store, told: asyncio.Event) -> None:
    namespaces = services.settings.namespaces
    log.info("watching %s", ", ".join(namespaces) or "all namespaces")
    await kopf.operator(
        # kopf takes the signals over as it starts, and would end only when it has waited five seconds for our other tasks
        registry=registry_of(services.queue, mirror, started=lambda: _heed_signals(told)),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )


def _figures(services: Services, health: Health) -> str:
    works = health.elector is None or health.elector.may_write
    return render(services.cluster.refreshes(), services.clock(), works, services.metrics)


async def run_queue(services: Services, health: Health) -> None:
    """Look at what is due, once everything is known that is there."""
    await health.store.synced.wait()
    await services.pause.known.wait()
    health.initial.update(health.store.refreshes())
    for ref in health.initial:
        services.queue.add(ref)

    async def look_and_tell(ref: Ref) -> None:
        await reconcile(ref, services)
        health.initial.discard(ref)

    await services.queue.run(look_and_tell)


async def poll_pause(services: Services) -> None:
    """Ask again and again whether everything is paused; what that changes is looked at."""
    while True:
        if await services.pause.poll():
            for refresh in services.cluster.refreshes():
                services.queue.add(refresh.ref)
        known = services.pause.known.is_set()
        await asyncio.sleep((services.settings.recheck if known else _PAUSE).total_seconds())


async def resync(services: Services, mirror: Store) -> None:
    """Compare the mirror with what is there, each `settings.resync`, so that what no event told comes to light."""
    pause = timedelta(0)
    while True:
        await asyncio.sleep(pause.total_seconds())
        mirror.begin_resync()
        try:
            for namespace in services.settings.namespaces or ("",):
                for ref in await services.cluster.resync(namespace):
                    services.queue.add(ref)
        except NotFound as error:
            # the watches would wait for it in silence, and for good
            raise CrdMissing("the API server knows no DashboardRefreshes: `kubectl apply -f crds/`") from error
        except ApiError as error:
            log.warning("can't list what is there: %s", error)
            pause = min(services.settings.resync, _PAUSE)
        except Exception:
            # whatever it is: those that are known are served all the same
            log.exception("can't list what is there; this is a fault of the operator")
            pause = min(services.settings.resync, _PAUSE)
        else:
            mirror.synced.set()
            pause = services.settings.resync
