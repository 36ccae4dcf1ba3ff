"""When which refresh is looked at: each by one worker at a time, events in the meantime count once, failures wait longer and longer."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from refresh_operator.names import Ref

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0


class WorkQueue:
    """Refreshes and the times at which they are due."""

    def __init__(self, workers: int = 24) -> None:
        self._workers = workers
        self._due: dict[Ref, float] = {}
        self._queue: list[tuple[float, str, Ref]] = []
        """The same, earliest first; an entry that `_due` does not confirm is void."""
        self._at_work: set[Ref] = set()
        self._failures: dict[Ref, int] = {}
        self._changed = asyncio.Event()

    def add(self, ref: Ref, after: timedelta = timedelta(0)) -> None:
        """Have a refresh looked at after this time, or earlier where that was planned already."""
        moment = asyncio.get_running_loop().time() + max(0.0, after.total_seconds())
        if ref not in self._due or moment < self._due[ref]:
            self._due[ref] = moment
            if ref not in self._at_work:
                self._enter(ref)

    def add_rate_limited(self, ref: Ref) -> None:
        """Have a refresh looked at again after a pause, which doubles with each failure in a row."""
        count = self._failures[ref] = self._failures.get(ref, 0) + 1
        self.add(ref, timedelta(seconds=min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (count - 1))))

    def forget(self, ref: Ref) -> None:
        """Forget the failures of a refresh."""
        self._failures.pop(ref, None)

    def longest_delay(self) -> timedelta:
        """Return for how long the refresh that waits longest has been due."""
        now = asyncio.get_running_loop().time()
        return timedelta(seconds=max((now - moment for moment in self._due.values()), default=0.0))

    async def run(self, look: Callable[[Ref], Awaitable[None]]) -> None:
        """Call `look` for each refresh that is due, until cancelled; `look` raises nothing."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker(look))

    def _enter(self, ref: Ref) -> None:
        heapq.heappush(self._queue, (self._due[ref], str(ref), ref))
        self._changed.set()

    async def _worker(self, look: Callable[[Ref], Awaitable[None]]) -> None:
        while True:
            ref = await self._next()
            try:
                await look(ref)
            finally:
                self._at_work.discard(ref)
                if ref in self._due:
                    self._enter(ref)

    async def _next(self) -> Ref:
        loop = asyncio.get_running_loop()
        while True:
            while self._queue and (self._queue[0][2] in self._at_work or self._due.get(self._queue[0][2]) != self._queue[0][0]):
                heapq.heappop(self._queue)
            if self._queue and self._queue[0][0] <= loop.time():
                ref = heapq.heappop(self._queue)[2]
                del self._due[ref]
                self._at_work.add(ref)
                return ref
            self._changed.clear()
            pause = self._queue[0][0] - loop.time() if self._queue else None
            # not wait_for, whose task kopf would wait for at the end
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
