"""What the cluster has, as far as its watches told: every refresh in its newest version, and a way to wait for the next change."""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from refresh_page.kube.models import Ref, Refresh


class Board:
    """The refreshes; kept by the watches, read by the pages."""

    def __init__(self, started: datetime, namespaces: Iterable[str]) -> None:
        self._refreshes: dict[Ref, Refresh] = {}
        self._unlisted = set(namespaces)
        self._silent: dict[str, tuple[datetime, str]] = {}
        self._changes = 0
        self._started = f"{started.timestamp():.0f}"
        self._changed = asyncio.Event()

    @property
    def is_complete(self) -> bool:
        """Whether everything was listed once: what is not here by then is not there."""
        return not self._unlisted

    @property
    def version(self) -> str:
        """Changes with every change of anything, and with every start of the page."""
        return f"{self._started}.{self._changes}"

    @property
    def silent_since(self) -> tuple[datetime, str] | None:
        """Since when the API server has not told anything, and why; None while it does."""
        return min(self._silent.values(), default=None)

    def all(self) -> list[Refresh]:
        """Return every refresh, by namespace and name."""
        return [self._refreshes[ref] for ref in sorted(self._refreshes)]

    def get(self, ref: Ref) -> Refresh | None:
        """Return one refresh; None if there is none."""
        return self._refreshes.get(ref)

    def version_of(self, ref: Ref) -> str:
        """Return what changes with every change of one refresh, and of whether the cluster answers."""
        found = self._refreshes.get(ref)
        return f"{self._started}.{found.version if found else ''}.{len(self._silent)}"

    def replace(self, namespace: str, refreshes: Iterable[Refresh]) -> None:
        """Take a whole list of a namespace; empty: of the whole cluster."""
        found = {each.ref: each for each in refreshes}
        for ref in [each for each in self._refreshes if namespace in ("", each.namespace) and each not in found]:
            del self._refreshes[ref]
        self._refreshes |= found
        self._unlisted.discard(namespace)
        self._tell()

    def put(self, refresh: Refresh) -> None:
        """Take a newer version of one refresh."""
        self._refreshes[refresh.ref] = refresh
        self._tell()

    def remove(self, ref: Ref) -> None:
        """A refresh was deleted."""
        if self._refreshes.pop(ref, None):
            self._tell()

    def heard(self, namespace: str) -> None:
        """The API server answered for a namespace."""
        if self._silent.pop(namespace, None):
            self._tell()

    def unheard(self, namespace: str, now: datetime, why: str) -> None:
        """The API server did not answer for a namespace."""
        if namespace not in self._silent:
            self._silent[namespace] = (now, why)
            self._tell()

    async def change(self) -> None:
        """Return after the next change of anything."""
        await self._changed.wait()

    def _tell(self) -> None:
        self._changes += 1
        self._changed.set()
        self._changed = asyncio.Event()
