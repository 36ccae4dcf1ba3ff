"""The work queue: refreshes and when they are due. A refresh is reconciled by one worker at a time, and failures back off."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from refresh_operator.names import Ref

_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 60.0


def backoff(failures: int) -> timedelta:
    """Return the delay after this number of failures in a row: 0.5 s, doubled each time, at most 60 s."""
    return timedelta(seconds=min(_MAX_DELAY, _FIRST_DELAY * 2 ** (failures - 1)))


class WorkQueue:
    """Refreshes with the times at which they are due."""

    def __init__(self, workers: int = 24) -> None:
        self._workers = workers
        self._due: dict[Ref, float] = {}
        self._queue: list[tuple[float, str, Ref]] = []
        """The same entries as a heap, earliest first. An entry that differs from `_due` is outdated."""
        self._in_progress: set[Ref] = set()
        self._failures: dict[Ref, int] = {}
        self._changed = asyncio.Event()

    def add(self, ref: Ref, after: timedelta = timedelta(0)) -> None:
        """Queue a refresh after this time, unless it is already queued for an earlier time."""
        moment = asyncio.get_running_loop().time() + max(0.0, after.total_seconds())
        if ref not in self._due or moment < self._due[ref]:
            self._due[ref] = moment
            if ref not in self._in_progress:
                self._enter(ref)

    def add_rate_limited(self, ref: Ref) -> None:
        """Queue a refresh after a failure, with a delay that doubles with each failure in a row."""
        count = self._failures[ref] = self._failures.get(ref, 0) + 1
        self.add(ref, backoff(count))

    def forget(self, ref: Ref) -> None:
        """Reset the failures of a refresh."""
        self._failures.pop(ref, None)

    def longest_delay(self) -> timedelta:
        """Return how long the longest waiting refresh has been due."""
        now = asyncio.get_running_loop().time()
        return timedelta(seconds=max((now - moment for moment in self._due.values()), default=0.0))

    async def run(self, reconcile: Callable[[Ref], Awaitable[None]]) -> None:
        """Call `reconcile`, which must not raise, for each refresh that is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker(reconcile))

    def _enter(self, ref: Ref) -> None:
        heapq.heappush(self._queue, (self._due[ref], str(ref), ref))
        self._changed.set()

    async def _worker(self, reconcile: Callable[[Ref], Awaitable[None]]) -> None:
        while True:
            ref = await self._next()
            try:
                await reconcile(ref)
            finally:
                self._in_progress.discard(ref)
                if ref in self._due:
                    self._enter(ref)

    async def _next(self) -> Ref:
        loop = asyncio.get_running_loop()
        while True:
            while self._queue and (self._queue[0][2] in self._in_progress or self._due.get(self._queue[0][2]) != self._queue[0][0]):
                heapq.heappop(self._queue)
            if self._queue and self._queue[0][0] <= loop.time():
                ref = heapq.heappop(self._queue)[2]
                del self._due[ref]
                self._in_progress.add(ref)
                return ref
            self._changed.clear()
            delay = self._queue[0][0] - loop.time() if self._queue else None
            # not wait_for: it creates a task, for which kopf would wait when it stops
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._changed.wait()
