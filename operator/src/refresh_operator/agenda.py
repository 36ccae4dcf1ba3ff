"""When which refresh is looked at: each by one worker at a time, events in the meantime count once, failures wait longer and longer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from refresh_operator.names import Ref

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0


class Agenda:
    """Refreshes and the times at which they are due."""

    def __init__(self, workers: int = 8) -> None:
        self._workers = workers
        self._due: dict[Ref, float] = {}
        self._at_work: set[Ref] = set()
        self._failures: dict[Ref, int] = {}
        self._changed = asyncio.Event()

    def add(self, ref: Ref, after: timedelta = timedelta(0)) -> None:
        """Have a refresh looked at after this time, or earlier where that was planned already."""
        moment = asyncio.get_running_loop().time() + max(0.0, after.total_seconds())
        if ref not in self._due or moment < self._due[ref]:
            self._due[ref] = moment
            self._changed.set()

    def failed(self, ref: Ref) -> None:
        """Have a refresh looked at again after a pause, which doubles with each failure in a row."""
        count = self._failures[ref] = self._failures.get(ref, 0) + 1
        self.add(ref, timedelta(seconds=min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (count - 1))))

    def succeeded(self, ref: Ref) -> None:
        """Forget the failures of a refresh."""
        self._failures.pop(ref, None)

    async def work(self, look: Callable[[Ref], Awaitable[None]]) -> None:
        """Call `look` for each refresh that is due, until cancelled; `look` raises nothing."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker(look))

    async def _worker(self, look: Callable[[Ref], Awaitable[None]]) -> None:
        while True:
            ref = await self._next()
            try:
                await look(ref)
            finally:
                self._at_work.discard(ref)
                self._changed.set()

    async def _next(self) -> Ref:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            free = {ref: moment for ref, moment in self._due.items() if ref not in self._at_work}
            ref = min(free, key=free.__getitem__, default=None)
            if ref is not None and free[ref] <= now:
                del self._due[ref]
                self._at_work.add(ref)
                return ref
            self._changed.clear()
            pause = None if ref is None else free[ref] - now
            # not wait_for, whose task kopf would wait for at the end
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
