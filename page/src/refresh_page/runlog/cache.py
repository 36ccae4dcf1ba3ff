"""Answers that many readers want at the same time are fetched once, and kept for a moment; so is the news that there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlightCache(Generic[T]):
    """The answers by key; the oldest go first when there are too many."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._answers: dict[Hashable, tuple[float, asyncio.Future[T]]] = {}

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return the answer, or raise the error, that is at most `seconds` old."""
        now = asyncio.get_running_loop().time()
        there = self._answers.get(key)
        if there is None or (there[1].done() and now - there[0] > self._seconds):
            self._answers.pop(key, None)
            there = self._answers[key] = (now, asyncio.ensure_future(fetch()))
            there[1].add_done_callback(_retrieve_exception)
            while len(self._answers) > self._most:
                del self._answers[next(iter(self._answers))]
        # a reader who leaves must not end it for the others
        return await asyncio.shield(there[1])


def _retrieve_exception(future: asyncio.Future[T]) -> None:
    """An error that nobody waits for any more is no news: it was logged where it happened."""
    if not future.cancelled():
        future.exception()
