"""What the cluster has, as far as its watches told: every refresh in its newest version, and a way to wait for the next change."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from refresh_page.kube.models import Ref, Refresh


class Store:
    """The refreshes; kept by the watches, read by the pages."""

    def __init__(self, started: datetime, namespaces: Iterable[str]) -> None:
        self._refreshes: dict[Ref, Refresh] = {}
        self._unlisted = set(namespaces)
        self._unreachable: dict[str, tuple[datetime, str]] = {}
        self._changes = 0
        self._started = f"{started.timestamp():.0f}"
        self._changed = asyncio.Event()

    @property
    def is_synced(self) -> bool:
        """Whether everything was listed once: what is not here by then is not there."""
        return not self._unlisted

    @property
    def version(self) -> str:
        """Changes with every change of anything, and with every start of the page."""
        return f"{self._started}.{self._changes}"

    @property
    def unreachable_since(self) -> tuple[datetime, str] | None:
        """Since when the API server has not told anything, and why; None while it does."""
        return min(self._unreachable.values(), default=None)

    def all(self) -> list[Refresh]:
        """Return every refresh, by namespace and name."""
        return [self._refreshes[ref] for ref in sorted(self._refreshes)]

    def get(self, ref: Ref) -> Refresh | None:
        """Return one refresh; None if there is none."""
        return self._refreshes.get(ref)

    def version_of(self, ref: Ref) -> str:
        """Return what changes with every change of one refresh, and of whether the cluster answers."""
        found = self._refreshes.get(ref)
        return f"{self._started}.{found.version if found else ''}.{len(self._unreachable)}"

    def replace(self, namespace: str, refreshes: Iterable[Refresh]) -> None:
        """Take a whole list of a namespace; empty: of the whole cluster."""
        found = {each.ref: each for each in refreshes}
        for ref in [each for each in self._refreshes if namespace in ("", each.namespace) and each not in found]:
            del self._refreshes[ref]
        self._refreshes |= found
        self._unlisted.discard(namespace)
        self._notify()

    def put(self, refresh: Refresh) -> None:
        """Take a newer version of one refresh."""
        self._refreshes[refresh.ref] = refresh
        self._notify()

    def remove(self, ref: Ref) -> None:
        """A refresh was deleted."""
        if self._refreshes.pop(ref, None):
            self._notify()

    def mark_reachable(self, namespace: str) -> None:
        """The API server answered for a namespace."""
        if self._unreachable.pop(namespace, None):
            self._notify()

    def mark_unreachable(self, namespace: str, now: datetime, why: str) -> None:
        """The API server did not answer for a namespace."""
        if namespace not in self._unreachable:
            self._unreachable[namespace] = (now, why)
            self._notify()

    async def wait_for_change(self) -> None:
        """Return after the next change of anything."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.set()
        self._changed = asyncio.Event()
