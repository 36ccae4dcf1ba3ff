"""What kopf watches for us. An event brings the mirror up to date, and says which refresh to look at."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import kopf

from refresh_api.names import GROUP, REFRESH_LABEL
from refresh_operator.kube.envelopes import kopf_session, unwrap
from refresh_operator.kube.kopf_storage import NoDifferences, NoProgress
from refresh_operator.kube.resources import REFRESHES, WATCHED, Kind
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue

SETTLE: Final = timedelta(milliseconds=100)
"""What comes of one change comes in several events: a Job, its pod, their states. They are answered together."""


def registry_of(agenda: WorkQueue, mirror: Store, started: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return the handlers; they keep the mirror, and put refreshes on the agenda. `started` is called once kopf has begun."""
    registry = kopf.OperatorRegistry()

    def watch(kind: Kind, settle: timedelta) -> None:
        async def changed(event: kopf.RawEvent, **_: object) -> None:
            item = unwrap(event["object"])
            ref = mirror.remove(kind, item) if event["type"] == "DELETED" else mirror.put(kind, item, from_watch=True)
            if ref:
                agenda.add(ref, settle)

        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"{kind.plural}_changed")(changed)

    for kind in WATCHED:
        watch(kind, timedelta(0) if kind == REFRESHES else SETTLE)

    @kopf.on.startup(registry=registry)
    async def begun(**_: object) -> None:
        # a moment later: kopf takes the signals over after this
        asyncio.get_running_loop().call_soon(started)

    @kopf.on.login(registry=registry)
    async def login(settings: kopf.OperatorSettings, **_: object) -> kopf.AiohttpSession | None:
        found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
        return kopf_session(found) if found else None

    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it watches, and writes nothing onto any object."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/none"
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDifferences()
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 240
    # a thousand refreshes are five thousand objects: neither all of them at once, nor a worker of kopf's that waits for more of each
    settings.watching.chunk_size = 100
    settings.queueing.idle_timeout = 0.1
    settings.networking.request_timeout = 30
    settings.execution.max_workers = 1
    for kind in WATCHED:
        if kind != REFRESHES:
            settings.watching.label_selectors[(kind.group, kind.version, kind.plural)] = REFRESH_LABEL
    return settings
