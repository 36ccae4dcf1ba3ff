"""Watches, with kopf: each event updates the store, and queues the refresh that the object belongs to.

kopf is used for its watches only, so it neither compares objects nor writes to them.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import kopf

from refresh_api.names import GROUP, REFRESH_LABEL
from refresh_operator.kube.envelopes import kopf_session, unwrap
from refresh_operator.kube.resources import RECONCILED, WATCHED, Kind
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue

SETTLE: Final = timedelta(milliseconds=100)
"""Delay before a refresh is reconciled, because one change causes several events: for a Job, its pod and their states."""


def registry_of(queue: WorkQueue, store: Store, started: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return the event handlers. `started` is called once kopf has started."""
    registry = kopf.OperatorRegistry()

    def watch(kind: Kind, settle: timedelta) -> None:
        async def changed(event: kopf.RawEvent, **_: object) -> None:
            item = unwrap(event["object"])
            ref = store.remove(kind, item) if event["type"] == "DELETED" else store.put(kind, item, from_watch=True)
            if ref:
                queue.add(ref, settle)

        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"{kind.plural}_changed")(changed)

    for kind in WATCHED:
        watch(kind, timedelta(0) if kind in RECONCILED else SETTLE)

    @kopf.on.startup(registry=registry)
    async def begun(**_: object) -> None:
        # deferred, because kopf replaces the signal handlers after this handler
        asyncio.get_running_loop().call_soon(started)

    sessions: list[tuple[kopf.ConnectionInfo, kopf.AiohttpSession]] = []

    @kopf.on.login(registry=registry)
    async def login(settings: kopf.OperatorSettings, **_: object) -> kopf.AiohttpSession | None:
        found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
        if found is None:
            return None
        # kopf logs in again once the API server has rejected a session. Equal credentials mean the same session, which kopf does not try
        # twice: it ends with LoginError.
        if not sessions or sessions[-1][0] != found:
            sessions[:] = [(found, kopf_session(found))]
        return sessions[-1][1]

    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings with which kopf writes to no object."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/none"
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDifferences()
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = 240
    # a thousand refreshes have five thousand objects: list them in chunks, and keep no idle kopf worker per object
    settings.watching.chunk_size = 100
    settings.queueing.idle_timeout = 0.1
    settings.networking.request_timeout = 30
    settings.execution.max_workers = 1
    for kind in WATCHED:
        if kind not in RECONCILED:
            settings.watching.label_selectors[(kind.group, kind.version, kind.plural)] = REFRESH_LABEL
    return settings


class NoDifferences(kopf.DiffBaseStorage):
    """Stores no previous state of objects. kopf would otherwise copy it at every event, which takes half of the operator's CPU time."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's interface
        """Return an empty essence: nothing is compared."""
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Return None: nothing is stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Do nothing."""


class NoProgress(kopf.ProgressStorage):
    """Stores no progress of handlers, which only update the store and the queue."""

    def fetch(self, *, key: str, body: kopf.Body) -> kopf.ProgressRecord | None:  # noqa: ARG002
        """Return None: nothing is stored."""
        return None

    def store(self, *, key: str, record: kopf.ProgressRecord, body: kopf.Body, patch: kopf.Patch) -> None:
        """Do nothing."""

    def purge(self, *, key: str, body: kopf.Body, patch: kopf.Patch) -> None:
        """Do nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Do nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return the essence unchanged."""
        return essence
