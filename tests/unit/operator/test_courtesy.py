"""An operator that requests a Lease, and one that yields it."""

import asyncio
import copy
from collections.abc import Callable
from datetime import timedelta

import pytest

from refresh_operator.errors import Conflict, LeaseLost, NotFound
from refresh_operator.kube.leader_election import REQUESTED_BY, Courtesy, LeaderElector
from refresh_operator.settings import LeaseRef

DURATION = timedelta(seconds=0.25)
"""Attempts follow each other by a fifth of it; expiry is by the clock below."""


class OneLease:
    """An API server with one Lease, and a clock that tests advance."""

    def __init__(self) -> None:
        self.item: dict = {}
        self.seconds = 0.0

    async def get(self, _path: str) -> dict:
        if not self.item:
            raise NotFound(404, "not found")
        return copy.deepcopy(self.item)

    async def create(self, _path: str, body: dict) -> dict:
        return self._store(body, 1)

    async def replace(self, _path: str, body: dict) -> dict:
        version = self.item["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise Conflict(409, "changed")
        return self._store(body, int(version) + 1)

    def _store(self, body: dict, version: int) -> dict:
        metadata = {"creationTimestamp": "2026-01-01T00:00:00Z", **body["metadata"], "resourceVersion": str(version)}
        self.item = copy.deepcopy({**body, "metadata": metadata})
        return copy.deepcopy(self.item)

    def operator(self, name: str, courtesy: Courtesy) -> LeaderElector:
        """Return the elector of an operator."""
        return LeaderElector(self, LeaseRef("n", "l", name), lambda: self.seconds, DURATION, courtesy)  # type: ignore[arg-type]

    @property
    def requested_by(self) -> str:
        return self.item["metadata"].get("annotations", {}).get(REQUESTED_BY, "")


async def until(check: Callable[[], object]) -> None:
    """Wait for five seconds at most."""
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.01)


async def attempts(number: int) -> None:
    """Wait for so many attempts of each operator."""
    await asyncio.sleep(number * DURATION.total_seconds() / 5)


@pytest.fixture
async def yielded():
    """A Lease that one operator asked for, and the holder stopped renewing."""
    lease = OneLease()
    holder, other = lease.operator("wide", Courtesy.YIELD), lease.operator("own", Courtesy.REQUEST)
    await holder.acquire()
    waiting = asyncio.create_task(other.acquire())
    await until(lambda: lease.requested_by == "own")
    with pytest.raises(LeaseLost, match="own"):
        await holder.renew()
    assert (holder.may_write, other.may_write) == (False, False)
    again = asyncio.create_task(holder.acquire())
    yield lease, holder, other, waiting
    for task in (waiting, again):
        task.cancel()
    await asyncio.gather(waiting, again, return_exceptions=True)


async def test_the_operator_that_asked_gets_the_lease_once_it_has_expired(yielded):
    """Not before, since a request of the former holder may still be pending. The Lease no longer says that it is asked for."""
    lease, holder, other, _ = yielded
    await attempts(3)
    assert not other.is_leader
    lease.seconds += DURATION.total_seconds()
    await until(lambda: other.is_leader)
    assert (lease.item["spec"]["holderIdentity"], lease.requested_by, holder.is_leader) == ("own", "", False)


async def test_an_operator_that_asked_and_is_gone_keeps_nobody_away(yielded):
    """The former holder takes the Lease again after twice its duration, and then keeps it."""
    lease, holder, _, waiting = yielded
    waiting.cancel()
    await attempts(2)
    lease.seconds += DURATION.total_seconds()
    await attempts(3)
    assert not holder.is_leader
    lease.seconds += DURATION.total_seconds()
    await until(lambda: holder.is_leader)
    assert (lease.item["spec"]["holderIdentity"], lease.requested_by) == ("wide", "")


async def test_a_holder_that_does_not_yield_keeps_the_lease():
    """Of two operators that list one namespace, the first one acts. The other one asks once, since each change delays the expiry."""
    lease = OneLease()
    holder, other = lease.operator("first", Courtesy.REQUEST), lease.operator("second", Courtesy.REQUEST)
    await holder.acquire()
    tasks = [asyncio.create_task(other.acquire()), asyncio.create_task(holder.renew())]
    await until(lambda: lease.requested_by == "second")
    await attempts(4)
    assert (holder.may_write, other.is_leader, lease.requested_by) == (True, False, "second")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
