"""Holds the newest known version of every refresh, and lets readers wait for the next change."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from refresh_page.kube.models import Ref, Refresh
from refresh_page.kube.previews import Previews


class Store:
    """The refreshes. Watches write it, request handlers read it."""

    def __init__(self, started: datetime, namespaces: Iterable[str]) -> None:
        self._refreshes: dict[Ref, Refresh] = {}
        self._unlisted = set(namespaces)
        self._unreachable: dict[str, tuple[datetime, str]] = {}
        self._changes = 0
        self._started = f"{started.timestamp():.0f}"
        self._changed = asyncio.Event()
        self.previews = Previews(self._notify)

    @property
    def is_synced(self) -> bool:
        """Whether every namespace has been listed: from then on, an unknown refresh does not exist."""
        return not self._unlisted

    @property
    def version(self) -> str:
        """A version that changes with every change of any refresh, and with every start of the page."""
        return f"{self._started}.{self._changes}"

    @property
    def unreachable_since(self) -> tuple[datetime, str] | None:
        """Since when a watch has failed, and why; None while all watches work."""
        return min(self._unreachable.values(), default=None)

    def all(self) -> list[Refresh]:
        """Return every refresh, sorted by namespace and name."""
        return [self._refreshes[ref] for ref in sorted(self._refreshes)]

    def get(self, ref: Ref) -> Refresh | None:
        """Return a refresh; None if it does not exist."""
        return self._refreshes.get(ref)

    def version_of(self, ref: Ref) -> str:
        """Return a version that changes with every change of one refresh and its previews, and when the API server is lost or found."""
        found = self._refreshes.get(ref)
        return f"{self._started}.{found.version if found else ''}.{self.previews.version_of(ref)}.{len(self._unreachable)}"

    def replace(self, namespace: str, refreshes: Iterable[Refresh]) -> None:
        """Replace all refreshes of a namespace (empty: of the cluster)."""
        found = {each.ref: each for each in refreshes}
        for ref in [each for each in self._refreshes if namespace in ("", each.namespace) and each not in found]:
            del self._refreshes[ref]
        self._refreshes |= found
        self._unlisted.discard(namespace)
        self._notify()

    def put(self, refresh: Refresh) -> None:
        """Add or replace a refresh."""
        self._refreshes[refresh.ref] = refresh
        self._notify()

    def remove(self, ref: Ref) -> None:
        """Remove a deleted refresh."""
        if self._refreshes.pop(ref, None):
            self._notify()

    def mark_reachable(self, namespace: str) -> None:
        """Record that the watch of a namespace works."""
        if self._unreachable.pop(namespace, None):
            self._notify()

    def mark_unreachable(self, namespace: str, now: datetime, reason: str) -> None:
        """Record that the watch of a namespace failed, and why."""
        if namespace not in self._unreachable:
            self._unreachable[namespace] = (now, reason)
            self._notify()

    async def wait_for_change(self) -> None:
        """Return after the next change."""
        await self._changed.wait()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.set()
        self._changed = asyncio.Event()
