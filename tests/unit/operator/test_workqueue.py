"""When refreshes are reconciled."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from refresh_operator.kube.workqueue import WorkQueue
from refresh_operator.names import Ref

A, B = Ref("n", "a"), Ref("n", "b")


async def worked(agenda: WorkQueue, look: Callable[[Ref], Awaitable[None]], until: Callable[[], bool]) -> None:
    """Work until a truth holds, for five seconds at most."""
    work = asyncio.create_task(agenda.run(look))
    async with asyncio.timeout(5):
        while not until():
            await asyncio.sleep(0)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_a_burst_of_events_causes_one_reconciliation():
    """A Job and its pod cause several events in a row."""
    agenda, seen = WorkQueue(), []

    async def look(ref: Ref) -> None:
        seen.append(ref)

    for _ in range(20):
        agenda.add(A)
    agenda.add(B)
    await worked(agenda, look, lambda: len(seen) >= 2)
    assert sorted(seen, key=str) == [A, B]


async def test_a_refresh_is_reconciled_by_one_worker_at_a_time():
    """An event during a reconciliation causes another one afterwards."""
    agenda, at_once, most, looks = WorkQueue(), 0, 0, 0

    async def look(ref: Ref) -> None:
        nonlocal at_once, most, looks
        at_once, looks = at_once + 1, looks + 1
        most = max(most, at_once)
        if looks < 3:
            agenda.add(ref)
        for _ in range(5):
            await asyncio.sleep(0)
        at_once -= 1

    agenda.add(A)
    await worked(agenda, look, lambda: looks == 3 and at_once == 0)
    assert most == 1


async def test_a_slow_reconciliation_delays_no_other_refresh():
    """One hanging API call must not stop all refreshes."""
    agenda, seen = WorkQueue(), []

    async def look(ref: Ref) -> None:
        if ref == A:
            await asyncio.Event().wait()
        seen.append(ref)

    agenda.add(A)
    agenda.add(B)
    await worked(agenda, look, lambda: B in seen)
    assert seen == [B]


async def test_the_earlier_of_two_times_counts():
    """An event precedes a planned reconciliation, which does not postpone it."""
    agenda, seen = WorkQueue(), []

    async def look(ref: Ref) -> None:
        seen.append(ref)

    agenda.add(A, timedelta(hours=1))
    agenda.add(A)
    agenda.add(A, timedelta(hours=2))
    await worked(agenda, look, lambda: bool(seen))
    assert seen == [A]


def test_failures_back_off_until_a_success():
    """0.5 s, doubled each time, at most 60 s."""
    pauses: list[float] = []

    class Noted(WorkQueue):
        def add(self, ref: Ref, after: timedelta = timedelta(0)) -> None:
            assert ref == A
            pauses.append(after.total_seconds())

    agenda = Noted()
    for _ in range(10):
        agenda.add_rate_limited(A)
    agenda.forget(A)
    agenda.add_rate_limited(A)
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[-2:] == [60, 0.5]
