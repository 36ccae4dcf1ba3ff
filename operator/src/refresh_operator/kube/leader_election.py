"""Which of several operators works: the one that holds the Lease; the others wait until it is given back, or is not renewed in its time.

Nobody compares clocks of two machines: a Lease has run out when it was not changed for its time, by the waiting operator's own clock.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from pydantic import ValidationError

from refresh_api.objects import Json
from refresh_operator.errors import ApiError, Conflict, LeaseLost, NotFound
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import LEASES
from refresh_operator.settings import LeaseRef
from refresh_operator.state.kube_types import KubeModel, Metadata, mapping

log = logging.getLogger(__name__)

DURATION: Final = timedelta(seconds=10)
"""How long the Lease lasts unless it is renewed."""
_RENEWAL: Final = timedelta(seconds=2)
"""Between two renewals, and between two looks of one that waits."""
_MARGIN: Final = timedelta(seconds=2)
"""The holder stops to write so long before its Lease runs out, so that nothing of it is still under way when another one begins."""


class _Spec(KubeModel):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    lease_transitions: int = 0


class _Record(KubeModel):
    metadata: Metadata
    spec: _Spec = _Spec()


class LeaseAction(Enum):
    """What follows from a look at the Lease."""

    WAIT = "wait"
    ACQUIRE = "take"
    LOST = "lost"


def next_action(holder: str, me: str, *, was_leader: bool, unchanged: timedelta, duration: timedelta) -> LeaseAction:
    """Return what to do with a Lease that somebody, nobody (empty) or this operator holds; pure."""
    if holder == me:
        return LeaseAction.ACQUIRE  # also after a restart of this very pod
    if was_leader:
        return LeaseAction.LOST
    return LeaseAction.ACQUIRE if not holder or unchanged >= duration else LeaseAction.WAIT


@dataclass(frozen=True)
class _Look:
    """A version of the Lease, and since when it has been there."""

    item: Json
    record: _Record
    since: float


class LeaderElector:
    """This operator's place at the Lease."""

    def __init__(self, api: KubeClient, at: LeaseRef, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._at = at
        self._monotonic = monotonic
        self._seen: _Look | None = None
        self._renewed: float | None = None
        """When the last renewal that succeeded was sent."""
        self._looked: float | None = None

    @property
    def may_write(self) -> bool:
        """Whether this operator may write now."""
        return self._renewed is not None and self._monotonic() - self._renewed < (DURATION - _MARGIN).total_seconds()

    @property
    def is_leader(self) -> bool:
        """Whether this operator has taken the Lease, and not lost it since."""
        return self._renewed is not None

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen; empty where nobody does."""
        return self._seen.record.spec.holder_identity if self._seen else ""

    def readiness_problem(self) -> str:
        """Return why this operator is not ready to work, or to take over; nothing where it is."""
        if self.is_leader:
            return "" if self.may_write else "the Lease can't be renewed; nothing is written"
        fresh = self._looked is not None and self._monotonic() - self._looked < DURATION.total_seconds()
        return "" if fresh else "the API server does not tell of the Lease"

    async def acquire(self) -> None:
        """Wait until this operator holds the Lease."""
        while True:
            await self._try()
            if self.is_leader:
                log.info("took the Lease %s/%s", self._at.namespace, self._at.name)
                return
            await asyncio.sleep(_RENEWAL.total_seconds())

    async def renew(self) -> None:
        """Renew the Lease until cancelled; LeaseLost when another one has it."""
        while True:
            await asyncio.sleep(_RENEWAL.total_seconds())
            await self._try()

    async def close(self) -> None:
        """End the connection."""
        await self._api.close()

    async def release(self) -> None:
        """Let another one begin at once; to be called when this one writes nothing any more."""
        if self._renewed is None or self._seen is None:
            return
        self._renewed = None
        try:
            await self._write(self._seen, holder="")
        except ApiError as error:
            log.warning("the Lease was not given back, and will run out: %s", error)

    async def _try(self) -> None:
        """One look, and what follows from it. What the API server does not answer is tried again later."""
        try:
            async with asyncio.timeout(_RENEWAL.total_seconds() * 2):
                if not self.is_leader:
                    await self._look()
                try:
                    await self._claim()
                except (Conflict, NotFound):
                    # somebody was faster, or it was deleted by hand: what is there now decides
                    await self._look()
                    await self._claim()
        except (ApiError, TimeoutError) as error:
            log.warning("no answer about the Lease: %s", error or type(error).__name__)

    async def _look(self) -> None:
        try:
            item = await self._api.get(LEASES.path(self._at.namespace, self._at.name))
        except NotFound:
            self._seen = None
        else:
            self._note(item)
        self._looked = self._monotonic()

    def _note(self, item: Json) -> None:
        try:
            record = _Record.model_validate(item)
        except ValidationError:  # written by hand: as good as nobody's
            record = _Record(metadata=_Record.model_validate({"metadata": item["metadata"]}).metadata)
        same = self._seen is not None and self._seen.record.metadata.resource_version == record.metadata.resource_version
        self._seen = _Look(item, record, self._seen.since if self._seen and same else self._monotonic())

    async def _claim(self) -> None:
        if self._seen is None:
            await self._write(None, holder=self._at.holder)
            return
        spec = self._seen.record.spec
        claim = next_action(
            spec.holder_identity,
            self._at.holder,
            was_leader=self.is_leader,
            unchanged=timedelta(seconds=self._monotonic() - self._seen.since),
            duration=timedelta(seconds=spec.lease_duration_seconds) or DURATION,
        )
        if claim is LeaseAction.LOST:
            # What is another one's is not ours to give back.
            self._renewed = None
            raise LeaseLost(f"the Lease {self._at.namespace}/{self._at.name} is {spec.holder_identity or 'nobody'}'s by now")
        if claim is LeaseAction.ACQUIRE:
            await self._write(self._seen, holder=self._at.holder)

    async def _write(self, before: _Look | None, holder: str) -> None:
        sent, now = self._monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = before.record.spec if before else _Spec()
        changes = holder != old.holder_identity
        spec: Json = {
            **mapping(before.item.get("spec") if before else {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": int(DURATION.total_seconds()),
            "renewTime": now,
            **({"acquireTime": now, "leaseTransitions": old.lease_transitions + 1} if changes else {}),
        }
        if before:
            item = await self._api.replace(LEASES.path(self._at.namespace, self._at.name), {**before.item, "spec": spec})
        else:
            body: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._at.name}, "spec": spec}
            item = await self._api.create(LEASES.path(self._at.namespace), body)
        self._note(item)
        self._renewed = sent if holder else None
