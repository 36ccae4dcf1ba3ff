"""Election of one holder among several operators by a Lease. The others wait until it is released or expires.

The replicas of a release use it to elect their leader, and the releases that watch one namespace to elect the one that acts there.

Clocks of different machines are never compared: a Lease has expired if the operator that waits for it has seen no change for its duration.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from pydantic import ValidationError

from refresh_api.names import GROUP
from refresh_api.objects import Json
from refresh_operator.errors import ApiError, Conflict, LeaseLost, NotFound
from refresh_operator.kube.client import KubeClient
from refresh_operator.kube.resources import LEASES
from refresh_operator.settings import LeaseRef
from refresh_operator.state.kube_types import KubeModel, Metadata, mapping

log = logging.getLogger(__name__)

DURATION: Final = timedelta(seconds=10)
"""How long the Lease of a leader is valid without renewal."""
_RENEWALS: Final = 5
"""Renewals, or attempts to acquire the Lease, in its duration. The holder stops writing one such interval before the expiry, so that none
of its requests is pending when another holder starts."""
REQUESTED_BY: Final = f"{GROUP}/requested-by"
"""Annotation of a Lease that names the operator that asks for it."""


class _Spec(KubeModel):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    lease_transitions: int = 0


class _Record(KubeModel):
    metadata: Metadata
    spec: _Spec = _Spec()


class LeaseAction(Enum):
    """What to do with the Lease."""

    WAIT = "wait"
    ACQUIRE = "take"
    LOST = "lost"


def next_action(holder: str, me: str, *, was_leader: bool, unchanged: timedelta, duration: timedelta) -> LeaseAction:
    """Return what to do with a Lease held by `holder`, which is empty for a released Lease."""
    if holder == me:
        return LeaseAction.ACQUIRE  # also after a restart in the same pod
    if was_leader:
        return LeaseAction.LOST
    return LeaseAction.ACQUIRE if not holder or unchanged >= duration else LeaseAction.WAIT


class Courtesy(Enum):
    """How an operator treats another one that wants the same Lease."""

    KEEP = "keep"
    """Keeps a Lease that it holds, and waits for one that it does not hold."""
    REQUEST = "request"
    """Also asks the holder for the Lease."""
    YIELD = "yield"
    """Stops renewing a Lease that another operator asks for, and gives that operator time to acquire it."""


@dataclass(frozen=True)
class _Observed:
    """A version of the Lease, and when it was first observed."""

    item: Json
    record: _Record
    since: float


class LeaderElector:
    """Acquires, renews and releases the Lease for this operator."""

    def __init__(
        self,
        client: KubeClient,
        at: LeaseRef,
        monotonic: Callable[[], float],
        duration: timedelta = DURATION,
        courtesy: Courtesy = Courtesy.KEEP,
    ) -> None:
        self._client = client
        self._at = at
        self._monotonic = monotonic
        self._duration = duration
        self._interval = duration / _RENEWALS
        self._courtesy = courtesy
        self._seen: _Observed | None = None
        self._renewed: float | None = None
        """When the last successful renewal was sent."""
        self._observed_at: float | None = None

    @property
    def may_write(self) -> bool:
        """Whether this operator is the leader and its Lease stays valid long enough for a write."""
        return self._renewed is not None and self._monotonic() - self._renewed < (self._duration - self._interval).total_seconds()

    @property
    def is_leader(self) -> bool:
        """Whether this operator has acquired the Lease, and has neither lost nor released it."""
        return self._renewed is not None

    @property
    def holder(self) -> str:
        """The last observed holder of the Lease; empty if nobody holds it."""
        return self._seen.record.spec.holder_identity if self._seen else ""

    def readiness_problem(self) -> str:
        """Return why this operator is ready neither to work nor to take over; empty if it is ready."""
        if self.is_leader:
            return "" if self.may_write else "cannot renew the Lease: writes are suspended"
        fresh = self._observed_at is not None and self._monotonic() - self._observed_at < self._duration.total_seconds()
        return "" if fresh else "cannot read the Lease"

    async def acquire(self) -> None:
        """Wait until this operator holds the Lease."""
        while True:
            await self._attempt()
            if self.is_leader:
                log.info("acquired the Lease %s/%s", self._at.namespace, self._at.name)
                return
            await asyncio.sleep(self._interval.total_seconds())

    async def renew(self) -> None:
        """Renew the Lease until cancelled. Raise LeaseLost once another operator holds it."""
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            await self._attempt()

    async def release(self) -> None:
        """Release the Lease, so that another operator can start at once. Call it once this operator no longer writes anything."""
        if self._renewed is None or self._seen is None:
            return
        self._renewed = None
        try:
            await self._write(self._seen, holder="")
        except ApiError as error:
            log.warning("cannot release the Lease, which will expire: %s", error)

    async def _attempt(self) -> None:
        """Try once to acquire or renew the Lease. Log errors of the API server; the next attempt follows."""
        try:
            async with asyncio.timeout(self._interval.total_seconds() * 2):
                if not self.is_leader:
                    await self._observe()
                try:
                    await self._acquire_or_renew()
                except (Conflict, NotFound):
                    # changed by another operator, or deleted: read it again
                    await self._observe()
                    await self._acquire_or_renew()
        except (ApiError, TimeoutError) as error:
            log.warning("cannot acquire or renew the Lease: %s", error or type(error).__name__)

    async def _observe(self) -> None:
        try:
            item = await self._client.get(LEASES.path(self._at.namespace, self._at.name))
        except NotFound:
            self._seen = None
        else:
            self._remember(item)
        self._observed_at = self._monotonic()

    def _remember(self, item: Json) -> None:
        try:
            record = _Record.model_validate(item)
        except ValidationError:  # edited by hand: treat it as released
            record = _Record(metadata=_Record.model_validate({"metadata": item["metadata"]}).metadata)
        same = self._seen is not None and self._seen.record.metadata.resource_version == record.metadata.resource_version
        self._seen = _Observed(item, record, self._seen.since if self._seen and same else self._monotonic())

    async def _acquire_or_renew(self) -> None:
        if self._seen is None:
            await self._write(None, holder=self._at.holder)
            return
        record = self._seen.record
        holder, duration = record.spec.holder_identity, timedelta(seconds=record.spec.lease_duration_seconds) or self._duration
        requested_by = record.metadata.annotations.get(REQUESTED_BY, "")
        if requested_by and self._courtesy is Courtesy.YIELD:
            # the operator that asks for the Lease acquires it when it expires; this operator does so only if the other one does not
            holder, duration = requested_by, 2 * duration
        action = next_action(
            holder,
            self._at.holder,
            was_leader=self.is_leader,
            unchanged=timedelta(seconds=self._monotonic() - self._seen.since),
            duration=duration,
        )
        if action is LeaseAction.LOST:
            # the Lease of another operator must not be released
            self._renewed = None
            raise LeaseLost(f"the Lease {self._at.namespace}/{self._at.name} is now held by {holder or 'nobody'}")
        if action is LeaseAction.ACQUIRE:
            await self._write(self._seen, holder=self._at.holder)
        elif not requested_by and self._courtesy is Courtesy.REQUEST:
            await self._request(self._seen)

    async def _request(self, before: _Observed) -> None:
        """Ask the holder for the Lease. Only one operator asks, because each change of the Lease delays its expiry."""
        metadata = mapping(before.item["metadata"])
        annotations: Json = {**mapping(metadata.get("annotations")), REQUESTED_BY: self._at.holder}
        body: Json = {**before.item, "metadata": {**metadata, "annotations": annotations}}
        self._remember(await self._client.replace(LEASES.path(self._at.namespace, self._at.name), body))

    async def _write(self, before: _Observed | None, holder: str) -> None:
        sent, now = self._monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = before.record.spec if before else _Spec()
        changes = holder != old.holder_identity
        spec: Json = {
            **mapping(before.item.get("spec") if before else {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._duration.total_seconds()),
            "renewTime": now,
            **({"acquireTime": now, "leaseTransitions": old.lease_transitions + 1} if changes else {}),
        }
        if before:
            metadata = mapping(before.item["metadata"])
            if changes or self._courtesy is Courtesy.YIELD:
                kept = {key: value for key, value in mapping(metadata.get("annotations")).items() if key != REQUESTED_BY}
                metadata = {**metadata, "annotations": kept}
            body: Json = {**before.item, "metadata": metadata, "spec": spec}
            item = await self._client.replace(LEASES.path(self._at.namespace, self._at.name), body)
        else:
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._at.name}, "spec": spec}
            item = await self._client.create(LEASES.path(self._at.namespace), body)
        self._remember(item)
        self._renewed = sent if holder else None
