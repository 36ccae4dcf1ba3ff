"""Puts the operator together: connection, agenda, watches, clock."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import kopf

from refresh_operator.agenda import Agenda
from refresh_operator.api import Api
from refresh_operator.cluster import Cluster
from refresh_operator.converge import Services, look
from refresh_operator.errors import ApiError, ContractMissing, NotFound
from refresh_operator.handlers import kopf_settings, registry_of
from refresh_operator.settings import Settings

log = logging.getLogger(__name__)


async def serve(settings: Settings, clock: Callable[[], datetime], kubeconfig: Path | None) -> None:
    """Keep refreshes until the process is told to end; ContractMissing where the CRD is not there, also later."""
    api = await Api.connect(kubeconfig)
    agenda = Agenda()
    services = Services(Cluster(api), settings, clock, agenda)
    own = [
        asyncio.create_task(agenda.work(partial(look, services=services)), name="agenda"),
        asyncio.create_task(resync(services), name="resync"),
    ]
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry_of(agenda),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            liveness_endpoint=settings.health_endpoint or None,
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


async def resync(services: Services) -> None:
    """Look at every refresh each `settings.resync`, evenly spread, so that what no event told comes to light."""
    while True:
        for namespace in services.settings.namespaces or ("",):
            try:
                refs = await services.cluster.refreshes(namespace)
            except NotFound as error:
                # the watches would wait for it in silence, and for good
                raise ContractMissing("the API server knows no DashboardRefreshes: `kubectl apply -f crds/`") from error
            except ApiError as error:
                log.warning("can't list the refreshes: %s", error)
                continue
            for number, ref in enumerate(refs):
                services.agenda.add(ref, services.settings.resync * number / len(refs))
        await asyncio.sleep(services.settings.resync.total_seconds())
