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
from refresh_operator.kube.client import Api
from refresh_operator.kube.resources import LEASES
from refresh_operator.settings import LeaseRef
from refresh_operator.state.snapshot import Metadata, Seen, mapping

log = logging.getLogger(__name__)

DURATION: Final = timedelta(seconds=10)
"""How long the Lease lasts unless it is renewed."""
_RENEWAL: Final = timedelta(seconds=2)
"""Between two renewals, and between two looks of one that waits."""
_MARGIN: Final = timedelta(seconds=2)
"""The holder stops to write so long before its Lease runs out, so that nothing of it is still under way when another one begins."""


class _Spec(Seen):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    lease_transitions: int = 0


class _Record(Seen):
    metadata: Metadata
    spec: _Spec = _Spec()


class Claim(Enum):
    """What follows from a look at the Lease."""

    WAIT = "wait"
    TAKE = "take"
    LOST = "lost"


def claim_of(holder: str, me: str, *, was_mine: bool, unchanged: timedelta, duration: timedelta) -> Claim:
    """Return what to do with a Lease that somebody, nobody (empty) or this operator holds; pure."""
    if holder == me:
        return Claim.TAKE  # also after a restart of this very pod
    if was_mine:
        return Claim.LOST
    return Claim.TAKE if not holder or unchanged >= duration else Claim.WAIT


@dataclass(frozen=True)
class _Look:
    """A version of the Lease, and since when it has been there."""

    item: Json
    record: _Record
    since: float


class Seat:
    """This operator's place at the Lease."""

    def __init__(self, api: Api, at: LeaseRef, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._at = at
        self._monotonic = monotonic
        self._seen: _Look | None = None
        self._renewed: float | None = None
        """When the last renewal that succeeded was sent."""
        self._looked: float | None = None

    @property
    def held(self) -> bool:
        """Whether this operator may write now."""
        return self._renewed is not None and self._monotonic() - self._renewed < (DURATION - _MARGIN).total_seconds()

    @property
    def working(self) -> bool:
        """Whether this operator has taken the Lease, and not lost it since."""
        return self._renewed is not None

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen; empty where nobody does."""
        return self._seen.record.spec.holder_identity if self._seen else ""

    def ails(self) -> str:
        """Return why this operator is not ready to work, or to take over; nothing where it is."""
        if self.working:
            return "" if self.held else "the Lease can't be renewed; nothing is written"
        fresh = self._looked is not None and self._monotonic() - self._looked < DURATION.total_seconds()
        return "" if fresh else "the API server does not tell of the Lease"

    async def take(self) -> None:
        """Wait until this operator holds the Lease."""
        while True:
            await self._try()
            if self.working:
                log.info("took the Lease %s/%s", self._at.namespace, self._at.name)
                return
            await asyncio.sleep(_RENEWAL.total_seconds())

    async def keep(self) -> None:
        """Renew the Lease until cancelled; LeaseLost when another one has it."""
        while True:
            await asyncio.sleep(_RENEWAL.total_seconds())
            await self._try()

    async def close(self) -> None:
        """End the connection."""
        await self._api.close()

    async def give_back(self) -> None:
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
                if not self.working:
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
        claim = claim_of(
            spec.holder_identity,
            self._at.holder,
            was_mine=self.working,
            unchanged=timedelta(seconds=self._monotonic() - self._seen.since),
            duration=timedelta(seconds=spec.lease_duration_seconds) or DURATION,
        )
        if claim is Claim.LOST:
            # What is another one's is not ours to give back.
            self._renewed = None
            raise LeaseLost(f"the Lease {self._at.namespace}/{self._at.name} is {spec.holder_identity or 'nobody'}'s by now")
        if claim is Claim.TAKE:
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
