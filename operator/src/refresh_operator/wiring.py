"""Puts the operator together: connection, agenda, watches, clock."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import kopf

from refresh_operator.agenda import Agenda
from refresh_operator.api import Api
from refresh_operator.cluster import Cluster
from refresh_operator.converge import Services, look
from refresh_operator.errors import ApiError, ContractMissing, NotFound
from refresh_operator.figures import text_of
from refresh_operator.handlers import kopf_settings, registry_of
from refresh_operator.mirror import Mirror
from refresh_operator.names import Ref
from refresh_operator.probes import Health, serve_probes
from refresh_operator.settings import Settings

log = logging.getLogger(__name__)

_PAUSE: Final = timedelta(seconds=2)
"""Until the API server is asked again after it did not answer."""


async def serve(settings: Settings, clock: Callable[[], datetime], kubeconfig: Path | None) -> None:
    """Keep refreshes until the process is told to end; ContractMissing where the CRD is not there, also later."""
    api = await Api.connect(kubeconfig)
    agenda = Agenda()
    mirror = Mirror()
    services = Services(Cluster(api, mirror), settings, clock, agenda)
    health = Health(mirror, agenda)
    own = [
        asyncio.create_task(work(services, health), name="agenda"),
        asyncio.create_task(resync(services, mirror), name="resync"),
    ]
    if settings.health_endpoint:
        figures = partial(_figures, services)
        own.append(asyncio.create_task(serve_probes(settings.health_endpoint, health, figures), name="probes"))
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry_of(agenda, mirror),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        ),
        name="kopf",
    )
    log.info("watching %s", ", ".join(settings.namespaces) or "all namespaces")
    try:
        # each of them lasts as long as the operator: one that ends takes the others with it, and Kubernetes starts all anew
        ended, _ = await asyncio.wait([*own, watching], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in (*own, watching):
            task.cancel()
        await asyncio.gather(*own, watching, return_exceptions=True)
        await api.close()


def _figures(services: Services) -> str:
    return text_of(services.cluster.refreshes(), services.clock())


async def work(services: Services, health: Health) -> None:
    """Look at what is due, once everything is known that is there."""
    await health.mirror.listed.wait()
    health.first.update(health.mirror.refreshes())
    for ref in health.first:
        services.agenda.add(ref)

    async def look_and_tell(ref: Ref) -> None:
        await look(ref, services)
        health.first.discard(ref)

    await services.agenda.work(look_and_tell)


async def resync(services: Services, mirror: Mirror) -> None:
    """Compare the mirror with what is there, each `settings.resync`, so that what no event told comes to light."""
    pause = timedelta(0)
    while True:
        await asyncio.sleep(pause.total_seconds())
        mirror.next_round()
        try:
            for namespace in services.settings.namespaces or ("",):
                for ref in await services.cluster.list(namespace):
                    services.agenda.add(ref)
        except NotFound as error:
            # the watches would wait for it in silence, and for good
            raise ContractMissing("the API server knows no DashboardRefreshes: `kubectl apply -f crds/`") from error
        except ApiError as error:
            log.warning("can't list what is there: %s", error)
            pause = min(services.settings.resync, _PAUSE)
        else:
            mirror.listed.set()
            pause = services.settings.resync
