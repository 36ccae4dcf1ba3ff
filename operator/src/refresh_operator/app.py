"""The operator's process: connects the client, leader election, watches, work queue and probes."""

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

from refresh_api.names import KIND, PREVIEW_KIND
from refresh_operator.errors import ApiError, CrdMissing, CredentialsError, NotFound, PreviewsInstalled
from refresh_operator.kube.claims import Claims
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.leader_election import LeaderElector
from refresh_operator.kube.pause import GlobalPause
from refresh_operator.kube.store import Store
from refresh_operator.kube.watch import kopf_settings, registry_of
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref
from refresh_operator.observability.metrics import render
from refresh_operator.observability.probes import Health, serve_probes
from refresh_operator.previews.reconciler import Previews
from refresh_operator.reconcile.apply import Applier
from refresh_operator.reconcile.combined_messages import CombinedMessages
from refresh_operator.reconcile.observe import Observer
from refresh_operator.reconcile.quiet_hours import QuietHoursEnd
from refresh_operator.reconcile.reconciler import Services, reconcile, reconciler_of_refreshes
from refresh_operator.reconcile.shared_failures import SharedFailures
from refresh_operator.settings import Settings

log = logging.getLogger(__name__)

_REFUSED: Final = "the API server refuses the operator's credentials: does its ServiceAccount still exist?"
_RETRY_DELAY: Final = timedelta(seconds=2)
"""Time between two attempts while the API server does not respond."""
_MAX_REFUSED: Final = timedelta(minutes=1)
"""How long the API server may refuse the operator's token before it ends: an API server that starts also refuses valid ones."""
_SHUTDOWN_TIMEOUT: Final = timedelta(seconds=5)
"""Timeout of the clean-up when the operator stops."""


async def serve(settings: Settings, clock: Callable[[], datetime], kubeconfig: Path | None) -> None:
    """Reconcile refreshes until SIGTERM or SIGINT, once this operator is the leader.

    Raise CrdMissing if the CRD is not installed or is deleted, LeaseLost if another operator has become the leader, and
    CredentialsError if the API server refuses the operator's credentials, and there are no others.
    """
    store, queue = Store(), WorkQueue()
    leases = await KubeClient.connect(kubeconfig, clock)
    elector = LeaderElector(leases, settings.lease, time.monotonic) if settings.lease else None
    claims = Claims(leases, settings.lease, settings, time.monotonic, store, queue) if settings.lease else None
    client = await KubeClient.connect(kubeconfig, clock, partial(_may_write, elector, claims))
    services = _services(settings, client, clock, store, queue, claims)
    previews = Previews(client, store, services)
    health = Health(store, queue, elector, claims)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    tasks = [asyncio.create_task(_wait(stop), name="stop")]
    if settings.health_endpoint:
        metrics = partial(_metrics, services, previews, health)
        tasks.append(asyncio.create_task(serve_probes(settings.health_endpoint, health, metrics), name="probes"))
    try:
        if elector is None or await _acquire_lease(elector, tasks):
            tasks += [asyncio.create_task(elector.renew(), name="lease")] if elector else []
            tasks += [asyncio.create_task(claims.run(), name="claims")] if claims else []
            tasks += [
                asyncio.create_task(run_queue(services, previews, health), name="queue"),
                asyncio.create_task(resync(services, store), name="resync"),
                asyncio.create_task(poll_pause(services), name="pause"),
                asyncio.create_task(_end_when_refused(client, clock), name="credentials"),
                asyncio.create_task(_watch(services, store, stop), name="kopf"),
            ]
            await _first_of(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _shut_down(services, elector)
        await client.close()
        await leases.close()


def _may_write(elector: LeaderElector | None, claims: Claims | None, path: str) -> bool:
    return (elector is None or elector.may_write) and (claims is None or claims.may_write(path))


def _services(
    settings: Settings, client: KubeClient, clock: Callable[[], datetime], store: Store, queue: WorkQueue, claims: Claims | None
) -> Services:
    observer = Observer(client, store, settings.secret_rules, settings.code_rules, settings.dependency_rules)
    applier = Applier(client, store, observer.unlabelled)

    def now() -> datetime:
        # all times in the cluster are the API server's
        return clock() + client.clock_offset

    messages = CombinedMessages(observer, applier, settings, now, queue)
    return Services(
        observer=observer,
        applier=applier,
        settings=settings,
        clock=now,
        queue=queue,
        pause=GlobalPause(client, settings.pause),
        shared_failures=SharedFailures(messages),
        quiet_hours=QuietHoursEnd(messages),
        claims=claims,
    )


async def _shut_down(services: Services, elector: LeaderElector | None) -> None:
    """Delete unfinished Jobs of terminating namespaces, which would otherwise wait for their deadline, and release the Lease."""
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(_SHUTDOWN_TIMEOUT.total_seconds()):
            async for namespace, job in services.observer.unfinished_jobs_of_terminating_namespaces():
                if services.acts_in(namespace):
                    await services.applier.delete_job(namespace, job)
    if elector:
        # this operator writes nothing from here on
        await elector.release()


async def _acquire_lease(elector: LeaderElector, others: Sequence[asyncio.Task[None]]) -> bool:
    """Wait for the Lease. Return False if the process is stopped before."""
    log.info("waiting for the Lease")
    acquiring = asyncio.create_task(elector.acquire(), name="acquire")
    try:
        await _first_of([acquiring, *others])
    finally:
        acquiring.cancel()
        await asyncio.gather(acquiring, return_exceptions=True)
    return elector.is_leader


async def _first_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until a task ends, and raise its error. No task ends before the operator stops, unless it fails."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _watch(services: Services, store: Store, stop: asyncio.Event) -> None:
    namespaces = services.settings.namespaces
    log.info("watching %s", ", ".join(namespaces) or "all namespaces")
    try:
        await kopf.operator(
            # kopf replaces the signal handlers when it starts, and would stop only after waiting five seconds for other tasks
            registry=registry_of(services.queue, store, started=lambda: _stop_on_signals(stop)),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
    except kopf.LoginError as error:
        raise CredentialsError(_REFUSED) from error


async def _end_when_refused(client: KubeClient, clock: Callable[[], datetime]) -> None:
    """Raise CredentialsError once the API server has refused the credentials for too long; the watches notice it minutes later."""
    while True:
        await asyncio.sleep(_RETRY_DELAY.total_seconds())
        if client.refused_since and clock() - client.refused_since > _MAX_REFUSED:
            raise CredentialsError(_REFUSED)


def _metrics(services: Services, previews: Previews, health: Health) -> str:
    works = health.elector is None or health.elector.may_write
    refreshes = (each for each in services.observer.refreshes() if services.acts_in(each.ref.namespace))
    return render(refreshes, services.clock(), works, services.metrics, previews.numbers())


async def run_queue(services: Services, previews: Previews, health: Health) -> None:
    """Reconcile the refreshes and previews that are due, once all objects and the global pause are known."""
    await health.store.synced.wait()
    await services.pause.known.wait()
    health.initial.update(health.store.refreshes())
    for ref in health.initial:
        services.queue.add(ref)

    kinds = {KIND: reconciler_of_refreshes(services), PREVIEW_KIND: previews.reconciler}

    async def reconcile_and_count(ref: Ref) -> None:
        await reconcile(ref, kinds[ref.kind], services)
        health.initial.discard(ref)

    await services.queue.run(reconcile_and_count)


async def poll_pause(services: Services) -> None:
    """Poll the global pause, and reconcile all refreshes when it changes."""
    while True:
        if await services.pause.poll():
            for refresh in services.observer.refreshes():
                services.queue.add(refresh.ref)
        known = services.pause.known.is_set()
        await asyncio.sleep((services.settings.recheck if known else _RETRY_DELAY).total_seconds())


async def resync(services: Services, store: Store) -> None:
    """List all objects every `settings.resync`, to find what the watches have missed."""
    delay = timedelta(0)
    while True:
        await asyncio.sleep(delay.total_seconds())
        store.begin_resync()
        try:
            for namespace in services.settings.namespaces or ("",):
                for ref in await services.observer.resync(namespace):
                    services.queue.add(ref)
        except NotFound as error:
            # watches would wait for the CRD forever, without an error
            raise CrdMissing("the CRD DashboardRefresh is not installed: run `kubectl apply -f crds/`") from error
        except PreviewsInstalled:
            raise
        except ApiError as error:
            log.warning("retrying in %.0f s, since objects cannot be listed: %s", _RETRY_DELAY.total_seconds(), error)
            delay = min(services.settings.resync, _RETRY_DELAY)
        except Exception:
            # refreshes in the store are reconciled nevertheless
            log.exception("cannot list objects after an unexpected error, which is a bug of the operator")
            delay = min(services.settings.resync, _RETRY_DELAY)
        else:
            store.synced.set()
            delay = services.settings.resync
