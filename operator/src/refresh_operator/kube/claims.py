"""Claims on namespaces: of all operators in a cluster, only the holder of a namespace's Lease acts on the refreshes there.

Several releases can watch one namespace without knowing of each other, for example a cluster-wide one and one that lists it. The holder is
the release, not the process: its next leader acts at once. The Lease is not released at shutdown, so that an upgrade moves no namespace.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from refresh_api.names import GROUP
from refresh_operator.errors import LeaseLost
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.leader_election import Courtesy, LeaderElector
from refresh_operator.kube.resources import EVENTS
from refresh_operator.kube.store import Store
from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.settings import LeaseRef, Settings

LEASE_NAME: Final = GROUP
"""Name of the Lease in each namespace, the same for all releases. No chart uses this name for an object of a release."""
_POLL: Final = timedelta(seconds=1)
"""Interval at which the namespaces that have refreshes are listed."""


class Claims:
    """The Leases of the namespaces that have refreshes."""

    def __init__(
        self, client: KubeClient, leader: LeaseRef, settings: Settings, monotonic: Callable[[], float], store: Store, queue: WorkQueue
    ) -> None:
        self.me = f"{leader.namespace}/{leader.name}"
        """The name of this release in the Leases."""
        self._client = client
        self._monotonic = monotonic
        self._duration = settings.claim_duration
        # a release that lists a namespace takes precedence, regardless of which was installed first
        self._courtesy = Courtesy.REQUEST if settings.namespaces else Courtesy.YIELD
        self._store = store
        self._queue = queue
        self._electors: dict[str, LeaderElector] = {}
        self._needed = asyncio.Event()

    def holds(self, namespace: str) -> bool:
        """Return whether this operator may act on the refreshes of a namespace."""
        elector = self._electors.get(namespace)
        if elector is None:
            self._needed.set()
        return elector is not None and elector.may_write

    def other_holder(self, namespace: str) -> str:
        """Return the other release that holds a namespace; empty if none is known."""
        elector = self._electors.get(namespace)
        return elector.holder if elector and elector.holder != self.me else ""

    def may_write(self, path: str) -> bool:
        """Return whether this operator may write to a path, which is that of an object in a namespace.

        Events are always allowed: an operator posts one to report that it does not act on a refresh.
        """
        namespace, plural = path.partition("/namespaces/")[2].split("/")[:2]
        return plural == EVENTS.plural or self.holds(namespace)

    def readiness_problem(self) -> str:
        """Return why this operator can neither act in a namespace nor take it over; empty if it can in all namespaces."""
        found = ((namespace, elector.readiness_problem()) for namespace, elector in self._electors.items())
        return next((f"{problem} (namespace {namespace})" for namespace, problem in found if problem), "")

    async def run(self) -> None:
        """Claim the namespaces that have refreshes or previews, until cancelled."""
        async with asyncio.TaskGroup() as group:
            tasks: dict[str, asyncio.Task[None]] = {}
            while True:
                used = self._store.namespaces()
                for namespace in used - tasks.keys():
                    tasks[namespace] = group.create_task(self._claim(namespace))
                for namespace in tasks.keys() - used:
                    tasks.pop(namespace).cancel()
                    self._electors.pop(namespace, None)
                self._needed.clear()
                # not wait_for: it creates a task, for which kopf would wait when it stops
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL.total_seconds()):
                        await self._needed.wait()

    async def _claim(self, namespace: str) -> None:
        at = LeaseRef(namespace, LEASE_NAME, self.me)
        elector = LeaderElector(self._client, at, self._monotonic, self._duration, self._courtesy)
        self._electors[namespace] = elector
        while True:
            await elector.acquire()
            for ref in self._store.refreshes():
                if ref.namespace == namespace:
                    self._queue.add(ref)
            with suppress(LeaseLost):
                await elector.renew()
