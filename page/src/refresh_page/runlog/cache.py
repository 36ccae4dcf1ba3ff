"""Caches results of queries for a few seconds, and runs each query once however many readers wait for it. Errors are cached too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlightCache(Generic[T]):
    """Results by key. The oldest are evicted when there are too many."""

    def __init__(self, seconds: float, max_entries: int) -> None:
        self._seconds = seconds
        self._max_entries = max_entries
        self._entries: dict[Hashable, tuple[float, asyncio.Future[T]]] = {}

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return the cached result or raise the cached error; fetch it if it is older than `seconds`."""
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(key)
        if entry is None or (entry[1].done() and now - entry[0] > self._seconds):
            self._entries.pop(key, None)
            entry = self._entries[key] = (now, asyncio.ensure_future(fetch()))
            entry[1].add_done_callback(_retrieve_exception)
            while len(self._entries) > self._max_entries:
                del self._entries[next(iter(self._entries))]
        # a reader who disconnects must not cancel the query for the others
        return await asyncio.shield(entry[1])


def _retrieve_exception(future: asyncio.Future[T]) -> None:
    """Mark an error as handled, or asyncio warns when all readers have gone. It was logged where it occurred."""
    if not future.cancelled():
        future.exception()
